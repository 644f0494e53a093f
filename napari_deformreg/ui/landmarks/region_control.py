"""Connects what the dock shows of regions with the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QSignalBlocker, QTimer
from qtpy.QtWidgets import QWidget

from .. import result_layers as parts
from ..layers import Placement
from .pair_desk import PairDesk
from .pair_page import PairPage
from .region_desk import REGION, RegionDesk

if TYPE_CHECKING:
    from ...engine.correction.regions import RegionKind

DRAWING = "region drawing"


class RegionControl(QObject):
    """One page of regions over one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the case is shown.
    desk : PairDesk
        Whose case it is.
    pairs_page : PairPage
        Whose region part this is; clicks are for the region or for pairs, never for both.
    """

    def __init__(self, viewer: Any, desk: PairDesk, pairs_page: PairPage, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._pairs, self._pairs_page = viewer, desk, pairs_page
        self.page = pairs_page.region
        self.desk = RegionDesk(viewer, desk, parent)
        page = self.page
        page.opened.connect(self._on_opened)
        page.chosen.connect(self._choose)
        page.picking.connect(self._on_picking)
        page.drawing.connect(self._draw)
        page.solved.connect(self._solve)
        page.before.connect(self.desk.show_before)
        page.difference.connect(self.desk.show_difference)
        page.kept.connect(self.desk.keep)
        page.undone.connect(self.desk.undo)
        self._drawn = QTimer(self)
        self._drawn.setSingleShot(True)
        self._drawn.setInterval(0)
        self._drawn.timeout.connect(self._after_drawing)
        self.desk.changed.connect(self.refresh)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._list_layers)

    def refresh(self) -> None:
        """Show what the desk says."""
        with QSignalBlocker(self.page.pick_button):
            self.page.pick_button.setChecked(self.desk.picking)
        self._pairs.mouse.active = self.desk.picking or self._pairs_page.place_button.isChecked()
        self.page.show_ready(self._pairs.corrector.ready)
        self.page.show_solved(self.desk.solved is not None)
        self.page.said.setText(self._words())

    def stop(self) -> None:
        """Follow the viewer no more."""
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.disconnect(self._list_layers)
        self._drawn.stop()
        self.desk.stop()

    def _words(self) -> str:
        solved = self.desk.solved
        figures = None if solved is None else solved.figures
        if figures is None:
            return self.desk.said
        said = (
            f"Solved again: largest change {figures.largest_change_mm:.1f} mm, folds {figures.folds_before} → {figures.folds_after}, "
            f"image match {figures.similarity_before:.4f} → {figures.similarity_after:.4f} (lower is better). Keep it?"
        )
        return "<br>".join([said, *figures.notices])

    def _on_opened(self, on: bool) -> None:
        if on:
            self._list_layers()
            self._choose()
        else:
            self.desk.hide()

    def _choose(self) -> None:
        page = self.page
        if page.is_open:
            self._list_layers()
            self.desk.choose(page.chosen_shape, page.size.value(), page.margin.value(), page.chosen_layer)

    def _on_picking(self, on: bool) -> None:
        if on:
            # A place is picked on what is seen, and a click means one thing at a time.
            self._pairs_page.place_button.setChecked(False)
        self.desk.pick(on)

    def _solve(self, kind: RegionKind) -> None:
        self._choose()  # The label may be another one since, or the shape larger.
        self.desk.solve(kind)

    def _list_layers(self, event: Any = None) -> None:
        wanted = self.page.chosen_shape.layer_kind
        own = (REGION, parts.FOLDS)
        found = [one for one in self._viewer.layers if wanted and type(one).__name__.lower() == wanted and parts.part_of(one) not in own]
        self.page.show_layers(found)

    def _draw(self) -> None:
        """Let the user draw a rectangle in a Shapes layer of ours, or in the one that was made before."""
        known = [layer for layer in self._viewer.layers if layer.name == DRAWING and type(layer).__name__ == "Shapes"]
        now = self._pairs.case.now
        if now is None:
            return
        layer = known[0] if known else self._new_drawing(now.placement)
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"
        self._list_layers()
        self.page.layer.setCurrentIndex(self.page.layer.findText(DRAWING))

    def _new_drawing(self, placement: Placement) -> Any:
        look = {"edge_color": "#ffee58", "edge_width": 1, "face_color": "transparent"}
        layer = self._viewer.add_shapes(ndim=3, name=DRAWING, **look, **placement.layer_arguments)
        layer.events.data.connect(lambda event: self._on_drawn(str(event.action)))
        return layer

    def _on_drawn(self, action: str) -> None:
        """Show the region of what was drawn, a turn later, once napari is done with it; the mouse is for looking and clicking again."""
        if "added" in action.lower() and self.page.is_open:
            self._drawn.start()

    def _after_drawing(self) -> None:
        for layer in self._viewer.layers:
            if layer.name == DRAWING and type(layer).__name__ == "Shapes":
                layer.mode = "pan_zoom"
        self._choose()
