"""One annotation and its partner on the other image, which follows it and the registration."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from ...errors import DeformregError, InputError
from ...result import Control, Step
from ..layers import METADATA_KEY
from ..worker import Runner
from .directions import Side
from .drawn_layers import BothImages

FOLLOW_MS = 50
"""So long after a change the partner follows; what changes meanwhile is taken together."""

TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine")


class Follower(QObject):
    """Keeps the partner of one layer up to date, in pieces: read on the GUI thread, worked on off it, shown on it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where both layers are.
    source : layer
        What was drawn.
    side : Side
        Which image it was drawn on.
    images : callable
        Gives both images as they are; None while no case is ready.
    """

    changed = Signal()
    """There is something else to be said, or it ended."""
    refused = Signal(str)
    """Why it cannot follow."""

    EVENTS: tuple[str, ...] = ()
    """Of the source: those that say that it is another one."""

    def __init__(
        self, viewer: Any, source: Any, side: Side, images: Callable[[], BothImages | None], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.viewer, self.source, self.side, self.images = viewer, source, side, images
        self.partner: Any | None = None
        self.said = ""
        self.live = True
        self._again = False
        self._read: tuple[np.ndarray, ...] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self._begin)
        self._runner = Runner(self)
        self._runner.succeeded.connect(self._on_done)
        self._runner.failed.connect(self._on_failed)
        self._listeners = [
            *((getattr(source.events, name), partial(self._on_event, name)) for name in self.EVENTS),
            *((getattr(source.events, name), self._on_placed_anew) for name in TRANSFORM_EVENTS),
        ]
        for event, listener in self._listeners:
            event.connect(listener)

    @property
    def busy(self) -> bool:
        """Whether the partner is not up to date yet."""
        return self.live and (self._timer.isActive() or self._runner.busy)

    def touch(self) -> None:
        """Follow soon; what is under way already is not put off."""
        if self.live and not self._timer.isActive():
            self._timer.start()

    def touch_now(self) -> None:
        """Follow at once: the registration is another one."""
        self._read = None
        if self.live:
            self._timer.stop()
            self._begin()

    def begin_anew(self) -> None:
        """Follow in another case: the partner lies on another grid."""
        partner, self.partner, self._read = self.partner, None, None
        if partner is not None and partner in self.viewer.layers:
            self.viewer.layers.remove(partner)
        self.touch()

    def freeze(self, why: str) -> None:
        """Follow no more; the partner stays as it is, and says so."""
        if not self.live:
            return
        self.live = False
        self._timer.stop()
        self._runner.drop()
        for event, listener in self._listeners:
            event.disconnect(listener)
        partner = self.partner
        if partner is not None and partner in self.viewer.layers:
            partner.metadata[METADATA_KEY]["live"] = False
            partner.name = f"{partner.name} (frozen)"
            partner.editable = True
        self._say(why)

    # --- what the kinds of layers do --------------------------------------------------------------------------------

    def read(self, images: BothImages) -> Callable[[], Any] | None:
        """Read the source on the GUI thread; returns what is to be done off it, if anything.

        Raises
        ------
        DeformregError
            If it cannot be followed.
        """
        raise NotImplementedError

    def show(self, found: Any) -> None:
        """Show what was found, on the GUI thread."""
        raise NotImplementedError

    def is_new(self, *values: np.ndarray) -> bool:
        """Tell whether the source is another one than was read last: napari also says that its data are set when they are drawn anew."""
        before, self._read = self._read, values
        return before is None or len(before) != len(values) or not all(map(np.array_equal, before, values))

    def _on_placed_anew(self, event: Any) -> None:
        self.touch()

    def _on_event(self, name: str, event: Any) -> None:
        self.touch()

    # --- one after the other ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._runner.busy:
            self._again = True
            return
        self._again = False
        images = self.images()
        if images is None:
            self._say("waits until the correction is prepared")
            return
        try:
            work = self.read(images)
        except DeformregError as error:
            self._refuse(error)
            return
        if work is not None:
            self._runner.start(lambda: _steps(work))

    def _on_done(self, found: Any) -> None:
        try:
            self.show(found)
        except DeformregError as error:
            self._refuse(error)
        if self._again:
            self.touch()

    def _on_failed(self, error: DeformregError) -> None:
        self._refuse(error)
        if self._again:
            self.touch()

    def _refuse(self, error: DeformregError) -> None:
        self._say(str(error))
        self.refused.emit(f"Layer {self.source.name!r}: {error}")

    def _say(self, text: str) -> None:
        self.said = text
        self.changed.emit()

    def _add(self, layer: Any) -> None:
        """Put the partner above its source; the user goes on drawing in the layer that was selected."""
        layers = self.viewer.layers
        active = layers.selection.active
        self.partner = layer
        layers.insert(layers.index(self.source) + 1 if self.source in layers else len(layers), layer)
        if active is not None:
            layers.selection.active = active


def _steps(work: Callable[[], Any]) -> Generator[Step, Control | None, Any]:
    yield Step("prepare", message="carrying annotations")
    return work()


def outside_words(outside: np.ndarray, what: str) -> str:
    """Say how many places lie where nothing but the affine is known.

    Raises
    ------
    InputError
        If all of them do.
    """
    count = int(np.count_nonzero(outside))
    if count and count == len(outside):
        raise InputError(
            f"nothing of it lies on the fixed image, where the deformation is known; got {count} {what} outside. "
            "Draw on the image that is registered, or choose the other image as the one it was drawn on."
        )
    return f", {count} {what} outside the fixed image go by the affine alone" if count else ""
