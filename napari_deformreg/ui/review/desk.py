"""The desk: the one case that all tabs of the Review dock show, and where they go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from ...qa import Review, Tolerances
from ...workflow import Outcome
from .. import result_layers as parts
from ..layers import LayerTuple, name_features
from ..result_panel import ResultPanel
from ..shown import ShownResult
from .places import Places, Point

SEEN_PART, RING_PART = 0.27, 0.035
"""Width of what is seen around a place, and of the ring around it, as parts of the fixed image's longest side."""


class Desk(QObject):
    """Holds what is under review.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    """

    opened = Signal()
    """Another case."""
    exchanged = Signal()
    """The same case after a repair, or after one was taken back."""
    judged = Signal()
    """The same case by other tolerances, or with another opinion."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.dock = parent
        self.places = Places(viewer, parent)
        self.shown: ShownResult | None = None
        self.review: Review | None = None
        self.outcome: Outcome | None = None
        self._names: dict[int, str] = {}
        self.result_changed = False
        """Whether the result differs from what its folder holds."""
        self.panel: ResultPanel | None = None
        """Shows the case's layers."""

    def open(self, shown: ShownResult | None, review: Review | None, outcome: Outcome | None) -> None:
        """Put a case on the desk; `outcome` is None until someone needs more than the review's figures."""
        self.places.forget()
        self.shown, self.review, self.outcome = shown, review, outcome
        self.result_changed = False
        self._names = {}
        self.opened.emit()

    def exchange(self, shown: ShownResult, review: Review, outcome: Outcome | None, entries: list[LayerTuple], changed: bool) -> None:
        """Go on with another version of the case's result, in the layers that are there."""
        self.shown, self.review, self.outcome, self.result_changed = shown, review.named(self._names), outcome, changed
        if self.panel is not None:
            self.panel.exchange(outcome, shown.picture, entries)
        self.exchanged.emit()

    def name_structures(self, names: Mapping[int, str]) -> int:
        """Name the case's structures, in its tables and under the mouse, as long as it is open; tells how many got a name."""
        if self.review is None:
            return 0
        self._names = dict(names)
        self.review = self.review.named(names)
        for part in (parts.FIXED_LABELS, parts.MOVED_LABELS):
            layer = self.layer(part)
            if layer is not None:
                layer.features = name_features(names)
        if self.panel is not None:
            self.panel.name_structures(names)
        self.exchanged.emit()
        return sum(row.label in names for row in self.review.structures)

    def replace(self, review: Review) -> None:
        """Go on with another version of the review."""
        self.review = review
        self.judged.emit()

    def judge_by(self, tolerances: Tolerances) -> None:
        """Grade the case by other tolerances."""
        if self.review is not None:
            self.replace(self.review.graded_by(tolerances))

    @property
    def seen_mm(self) -> float:
        """Width of what is seen around a small place: of a head 6 cm, of a mouse's less."""
        return SEEN_PART * self._longest_mm()

    @property
    def ring_mm(self) -> float:
        """Diameter of the ring around a small place."""
        return RING_PART * self._longest_mm()

    def go_to_fold(self, point_mm: Point, volume_mm3: float) -> None:
        """Show a fold region with some of its surroundings, and a ring that leaves it free."""
        size_mm = volume_mm3 ** (1 / 3)
        self.go_to(point_mm, max(self.seen_mm, 8 * size_mm), max(self.ring_mm, 2.5 * size_mm))

    def go_to(self, point_mm: Point, across_mm: float | None = None, ring_mm: float | None = None) -> None:
        """Show a world point of the case; see `Places.go_to`."""
        if self.shown is not None:
            self.places.go_to(point_mm, self.shown.placement, across_mm, ring_mm)

    def _longest_mm(self) -> float:
        placement = None if self.shown is None else self.shown.placement
        return 0.0 if placement is None else float((placement.spacing * placement.canonical.shape).max())

    def layer(self, part: str) -> Any | None:
        """Return the case's layer of a part (a name of `result_layers`), if it is there."""
        found = None if self.shown is None else self.shown.layers.get(part)
        return found if found is not None and found in self.viewer.layers else None

    def show(self, *some: str) -> None:
        """Make layers of the case visible."""
        for part in some:
            layer = self.layer(part)
            if layer is not None and not layer.visible:
                layer.visible = True
