"""What the Landmarks dock shows of regions: which one, how it is solved again, and what came of it. It knows no viewer."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from ...settings import CorrectionSettings
from ..buttons import button, switch
from ..review.tab import in_a_row, note
from .folding_box import FoldingBox
from .region_choice import RegionShape
from .region_desk import SIZE_MM

if TYPE_CHECKING:
    from ...engine.correction.regions import RegionKind

SOLVING: tuple[tuple[RegionKind, str, str], ...] = (
    ("harder", "Harder", "More steps and less smoothing: where the match is not good enough."),
    ("softer", "Softer", "Even the deformation out, and solve again with more smoothing: where it is wilder than the anatomy."),
    ("rigid", "Rigid", "Let the region move as one stiff piece, affine included: bone, tooth, implant."),
)


class RegionPage(FoldingBox):
    """Widgets for one region."""

    chosen = Signal()
    """Another shape, size, margin or layer."""
    solved = Signal(object)
    """To be solved again: harder, softer or rigid."""
    picking = Signal(bool)
    drawing = Signal()
    before = Signal(bool)
    difference = Signal(bool)
    kept = Signal()
    undone = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Region: solve it again", parent)
        self.shape = QComboBox()
        for shape in RegionShape:
            self.shape.addItem(str(shape), shape)
        self.size = _millimeters(2.0, 400.0, SIZE_MM, "Width of the sphere or box; of a drawn shape, how far it reaches across its slice.")
        self.margin = _millimeters(1.0, 100.0, CorrectionSettings().margin_mm, "What around the region is blended with the rest.")
        self.layer = QComboBox()
        self.layer.setToolTip("<p>The Labels layer whose selected label is meant, or the Shapes layer whose selected or last shape is.</p>")
        self.pick_button = switch("Pick center", "The next click on the canvas is the center.", self.picking.emit)
        self.draw_button = button("Draw", "Draw a rectangle around the region on this slice.", self.drawing.emit)
        self.solve_buttons = {kind: button(title, tip, partial(self.solved.emit, kind)) for kind, title, tip in SOLVING}
        self.before_button = switch("Before", "Show the moved image as it was before.", self.before.emit)
        tip = "Show by how many millimeters each place is carried elsewhere than before."
        self.difference_button = switch("Difference", tip, self.difference.emit)
        self.keep_button = button("Keep", "Leave it so; it can still be undone step by step.", self.kept.emit)
        self.undo_button = button("Undo", "Take it back.", self.undone.emit)
        self.said = note()
        self._lay_out()
        self.shape.currentIndexChanged.connect(lambda row: self._on_shape())
        self.layer.currentIndexChanged.connect(lambda row: self.chosen.emit())
        self.size.valueChanged.connect(lambda value: self.chosen.emit())
        self.margin.valueChanged.connect(lambda value: self.chosen.emit())
        self._on_shape()
        self.show_solved(False)

    @property
    def chosen_shape(self) -> RegionShape:
        """Where the region comes from."""
        return RegionShape(self.shape.currentData())

    @property
    def chosen_layer(self) -> Any | None:
        """The layer that it is read from."""
        return self.layer.currentData()

    def show_layers(self, layers: Iterable[Any]) -> None:
        """Offer these layers; the chosen one stays chosen if it is still among them."""
        with QSignalBlocker(self.layer):
            before = self.layer.currentData()
            self.layer.clear()
            for layer in layers:
                self.layer.addItem(layer.name, layer)
                if layer is before:
                    self.layer.setCurrentIndex(self.layer.count() - 1)

    def show_ready(self, ready: bool) -> None:
        """Let a region be solved again, or not yet."""
        for solving in self.solve_buttons.values():
            solving.setEnabled(ready)

    def show_solved(self, solved: bool) -> None:
        """Ask whether what came of it is kept, or ask no more."""
        for one in (self.before_button, self.difference_button):
            if not solved:
                with QSignalBlocker(one):
                    one.setChecked(False)
        for one in (self.before_button, self.difference_button, self.keep_button, self.undo_button):
            one.setVisible(solved)

    def _on_shape(self) -> None:
        shape = self.chosen_shape
        self.layer.setVisible(shape.needs_layer)
        self.pick_button.setVisible(not shape.needs_layer)
        self.draw_button.setVisible(shape is RegionShape.DRAWN)
        self.size.setEnabled(shape is not RegionShape.LABEL)
        self.chosen.emit()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self.inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(in_a_row(self.shape, self.pick_button, self.draw_button))
        column.addWidget(self.layer)
        form = QFormLayout()
        form.addRow("size", self.size)
        form.addRow("margin", self.margin)
        column.addLayout(form)
        column.addLayout(in_a_row(QLabel("solve again"), *self.solve_buttons.values()))
        column.addWidget(self.said)
        column.addLayout(in_a_row(self.before_button, self.difference_button, self.keep_button, self.undo_button))


def _millimeters(low: float, high: float, value: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(1)
    box.setSuffix(" mm")
    box.setKeyboardTracking(False)
    box.setValue(value)
    box.setToolTip(f"<p>{tip}</p>")
    return box
