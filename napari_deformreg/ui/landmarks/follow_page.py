"""What the Landmarks dock shows of annotations that follow from one image to the other. It knows no viewer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from ..buttons import button
from ..review.tab import in_a_row, note
from .directions import Side
from .folding_box import FoldingBox


class FollowPage(FoldingBox):
    """Widgets for annotations."""

    chosen = Signal()
    """Another layer."""
    followed = Signal()
    stopped = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Annotations: follow to the other image", parent)
        self.layer, self.side = QComboBox(), QComboBox()
        self.layer.setToolTip("<p>A Points, Shapes or Labels layer that you drew.</p>")
        for side in Side:
            self.side.addItem(f"the {side} image", side)
        self.side.setToolTip("<p>On which image it was drawn; it is carried to the other one.</p>")
        tip = "Show it on the other image, and keep that up to date while you draw and while the registration is corrected."
        self.follow_button = button("Follow", tip, self.followed.emit)
        self.stop_button = button("Stop", "Follow no more; what was carried stays as it is.", self.stopped.emit)
        self.said = note()
        form = QFormLayout()
        form.addRow("layer", self.layer)
        form.addRow("drawn on", self.side)
        column = QVBoxLayout(self.inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addLayout(in_a_row(self.follow_button, self.stop_button))
        column.addWidget(self.said)
        self.layer.currentIndexChanged.connect(lambda row: self.chosen.emit())

    @property
    def chosen_layer(self) -> Any | None:
        """The layer that is meant."""
        return self.layer.currentData()

    @property
    def chosen_side(self) -> Side:
        """Which image it was drawn on."""
        return Side(self.side.currentData())

    def show_layers(self, layers: Iterable[Any]) -> None:
        """Offer these layers; the chosen one stays chosen if it is still among them."""
        offered, before = list(layers), self.chosen_layer
        with QSignalBlocker(self.layer):
            self.layer.clear()
            for layer in offered:
                self.layer.addItem(layer.name, layer)
            if before in offered:
                self.layer.setCurrentIndex(offered.index(before))
        if self.chosen_layer != before:
            self.chosen.emit()

    def show_state(self, side: Side | None, following: bool, ready: bool) -> None:
        """Show whether the chosen layer is followed, and which image it is taken to be drawn on; nobody is told."""
        if side is not None:
            with QSignalBlocker(self.side):
                self.side.setCurrentIndex(self.side.findData(side))
        self.follow_button.setEnabled(ready and self.chosen_layer is not None)
        self.stop_button.setEnabled(following)
