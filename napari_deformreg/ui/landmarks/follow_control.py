"""Lets annotations of a viewer follow from one image of the case to the other."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels, Points
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from ...errors import DeformregError
from .carried_labels import LabelsUpdate
from .corrections import Update
from .directions import Side
from .drawn_layers import BothImages, is_annotation
from .follow_page import FollowPage
from .follower import Follower
from .labels_follower import LabelsFollower
from .pair_desk import PairDesk
from .vector_followers import PointsFollower, ShapesFollower


class FollowControl(QObject):
    """All annotations of one viewer that follow.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the case is shown.
    desk : PairDesk
        Whose case it is.
    page : FollowPage
        Where the user asks for it.
    """

    def __init__(self, viewer: Any, desk: PairDesk, page: FollowPage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._desk, self.page = viewer, desk, page
        self.followers: list[Follower] = []
        self._asked = 0
        page.opened.connect(lambda on: self._list_layers())
        page.chosen.connect(self._on_chosen)
        page.side.currentIndexChanged.connect(lambda row: self._on_side())
        page.followed.connect(lambda: self.follow(page.chosen_layer, page.chosen_side))
        page.stopped.connect(lambda: self.release(page.chosen_layer, "stopped; what was carried stays as it is"))
        # The desk hears of an update first, and has written it into the registration then.
        desk.corrector.updated.connect(self._on_updated)
        desk.corrector.opened.connect(self._on_opened)
        desk.corrector.turned.connect(self._show)
        desk.case.began.connect(self._on_case)
        for event in self._listing():
            event.connect(self._list_layers)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def busy(self) -> bool:
        """Whether a partner is not up to date yet."""
        return self._asked > 0 or any(one.busy for one in self.followers)

    def follow(self, layer: Any, side: Side) -> None:
        """Let a layer follow to the other image; one that does already begins anew, from the side that is asked for."""
        if layer is None or not is_annotation(layer):
            return
        for old in [one for one in self.followers if one.source == layer]:
            self._drop(old)
            old.freeze("begun anew")
            if old.partner is not None and old.partner in self._viewer.layers:
                self._viewer.layers.remove(old.partner)
        made = self._make(layer, side)
        made.changed.connect(self._show)
        made.refused.connect(self._desk.told)
        self.followers.append(made)
        made.touch_now()
        self._show()

    def release(self, layer: Any, why: str) -> None:
        """Let a layer follow no more; its partner stays."""
        for one in [one for one in self.followers if one.source == layer]:
            one.freeze(why)
        self._show()

    def stop(self) -> None:
        """Follow nothing more, for a dock that goes away."""
        for event in self._listing():
            event.disconnect(self._list_layers)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for one in self.followers:
            one.freeze("the dock was closed")
        self.followers.clear()
        self._asked = 0

    def _listing(self) -> tuple[Any, Any]:
        """Return the viewer's events after which other layers, or other names, are to be chosen from."""
        return self._viewer.layers.events.inserted, self._viewer.layers.events.renamed

    def _make(self, layer: Any, side: Side) -> Follower:
        if isinstance(layer, Labels):
            return LabelsFollower(self._viewer, layer, side, self._images, self._desk.corrector, self)
        kind = PointsFollower if isinstance(layer, Points) else ShapesFollower
        return kind(self._viewer, layer, side, self._images, self)

    def _images(self) -> BothImages | None:
        now, moving_grid = self._desk.case.now, self._desk.corrector.moving_grid
        return None if now is None or moving_grid is None else BothImages(now, moving_grid)

    def _drop(self, follower: Follower) -> None:
        self.followers.remove(follower)
        follower.changed.disconnect(self._show)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _on_updated(self, update: Update) -> None:
        for one in self.followers:
            if not isinstance(one, LabelsFollower):
                one.touch_now()
        if any(isinstance(one, LabelsFollower) and one.live for one in self.followers):
            self._asked += 1
            self._desk.corrector.ask("carried_now", then=self._on_carried, failed=self._on_not_carried)

    def _on_not_carried(self, error: DeformregError) -> None:
        self._asked -= 1
        self._desk.told.emit(str(error))

    def _on_carried(self, updates: dict[int, LabelsUpdate]) -> None:
        self._asked -= 1
        for one in self.followers:
            if isinstance(one, LabelsFollower):
                one.take(updates.get(one.key))

    def _on_opened(self) -> None:
        self._on_chosen()
        for one in self.followers:
            one.touch()

    def _on_case(self) -> None:
        """Begin anew with another case, which lies on other grids; nothing that was asked of the last one is answered any more."""
        self._asked = 0
        for one in self.followers:
            if one.live:
                one.begin_anew()

    def _on_removed(self, event: Any) -> None:
        for one in list(self.followers):
            if event.value == one.source:
                one.freeze("its layer was removed; what was carried stays as it is")
            elif one.partner is not None and event.value == one.partner:
                one.freeze("what was carried was removed")
                self._drop(one)
        self._list_layers()

    def _list_layers(self, event: Any = None) -> None:
        self.page.show_layers(layer for layer in self._viewer.layers if is_annotation(layer))
        self._show()

    def _following(self, layer: Any) -> Follower | None:
        return next((one for one in self.followers if one.source == layer and one.live), None)

    def _on_chosen(self) -> None:
        """Show the chosen layer's side: as it is followed, or as it looks."""
        layer, images = self.page.chosen_layer, self._images()
        known = self._following(layer)
        guessed = None if layer is None or images is None else images.guessed_side(layer)
        self.page.show_state(guessed if known is None else known.side, known is not None, images is not None)

    def _on_side(self) -> None:
        """Carry a layer that is followed the other way."""
        layer = self.page.chosen_layer
        known = self._following(layer)
        if known is not None and known.side is not self.page.chosen_side:
            self.follow(layer, self.page.chosen_side)

    def _show(self) -> None:
        known = self._following(self.page.chosen_layer)
        self.page.show_state(None, known is not None, self._images() is not None)
        self.page.said.setText("<br>".join(f"<b>{one.source.name}</b> (drawn on {one.side}): {one.said}" for one in self.followers))
