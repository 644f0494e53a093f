"""What of a result is drawn: blend, arrows, grid, Jacobian, labels, points; bound to the layers in both directions."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from . import legends
from . import result_layers as parts
from .overlays import ARROW_LIMIT

TOGGLES = {
    parts.QUIVER: ("Arrows", "From each point of fixed to the place of its tissue in moving; the affine part is left out."),
    parts.DEFORMED_GRID: ("Grid", "Lines of the fixed image, carried along by the displacement."),
    parts.JACOBIAN: ("Jacobian", "Local volume change: blue shrinks from fixed to moving, red grows, magenta is folded."),
    parts.FOLDS: ("Folds", "Places where the deformation folds over itself."),
    parts.FIXED_LABELS: ("Fixed labels", "Structures of the fixed image, filled."),
    parts.MOVED_LABELS: ("Moved labels", "Structures of the moving image, carried into fixed space, as outlines."),
    parts.FIXED_LANDMARKS: ("Fixed points", "Landmarks of the fixed image: blue circles."),
    parts.MOVED_LANDMARKS: ("Moved points", "Landmarks of the moving image, carried into fixed space: amber crosses with their error."),
}


class DisplayControls(QWidget):
    """Sliders and switches for the layers of one result."""

    spacing_chosen = Signal(float)
    slab_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers: dict[str, Any] = {}
        self.blend = QSlider(Qt.Orientation.Horizontal)
        self.blend.setRange(0, 100)
        self.blend.setValue(50)
        self.blend.valueChanged.connect(self._on_blend)
        self.toggles = {part: _switch(title, tip) for part, (title, tip) in TOGGLES.items()}
        for part, button in self.toggles.items():
            button.toggled.connect(partial(self._show_part, part))
        self.spacing = QDoubleSpinBox()
        self.spacing.setRange(0.1, 100.0)
        self.spacing.setDecimals(1)
        self.spacing.setSuffix(" mm")
        self.spacing.setToolTip(f"Distance between arrows and between grid lines; never more than {ARROW_LIMIT} arrows are drawn.")
        self.spacing.valueChanged.connect(self.spacing_chosen)
        self.slab = QSpinBox()
        self.slab.setRange(0, 999)
        self.slab.setSpecialValueText("all slices")
        self.slab.setToolTip("Arrows of this many slices around the displayed one are drawn, projected onto it.")
        self.slab.setValue(1)
        self.slab.valueChanged.connect(self._on_slab)
        self.arrow_note = QLabel("")
        self.arrow_legend = legends.arrow_legend()
        self.jacobian_legend = legends.jacobian_legend()
        self._lay_out()
        self.setEnabled(False)

    def bind(self, found: dict[str, Any], longest_mm: float, spacing_mm: float) -> None:
        """Take control of these layers (part -> layer, with the fixed image's layer as ``"fixed"``)."""
        self.release()
        self._layers = dict(found)
        self.setEnabled(True)
        for part, button in self.toggles.items():
            layer = found.get(part)
            button.setVisible(layer is not None)
            if layer is not None:
                layer.events.visible.connect(self._refresh)
        for widget, value in ((self.spacing, spacing_mm), (self.slab, 1)):
            with QSignalBlocker(widget):
                widget.setValue(value)
        self._on_slab(1)
        legends.show_longest(self.arrow_legend, longest_mm)
        self._refresh()
        self._on_blend(self.blend.value())

    def release(self) -> None:
        """Let go of the layers."""
        for part, layer in self._layers.items():
            if part in TOGGLES:
                layer.events.visible.disconnect(self._refresh)
        self._layers = {}
        self.setEnabled(False)

    def forget(self, layer: Any) -> None:
        """Let go of one layer that was removed from the viewer."""
        for part, known in list(self._layers.items()):
            if known == layer:
                del self._layers[part]
                if part in self.toggles:
                    layer.events.visible.disconnect(self._refresh)
                    self.toggles[part].setVisible(False)

    def note_arrows(self, count: int, spacing_mm: float) -> None:
        """Tell how many arrows are drawn, and how far apart where that is not what was asked for."""
        thinned = f", every {spacing_mm:.1f} mm to stay below {ARROW_LIMIT}" if spacing_mm > self.spacing.value() + 0.05 else ""
        self.arrow_note.setText(f"{count} arrows{thinned}")

    def _lay_out(self) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        blending = QHBoxLayout()
        for widget, stretch in ((QLabel("fixed"), 0), (self.blend, 1), (QLabel("moved"), 0)):
            blending.addWidget(widget, stretch)
        outer.addLayout(blending)
        switches = QGridLayout()
        switches.setSpacing(4)
        for n, button in enumerate(self.toggles.values()):
            switches.addWidget(button, n // 4, n % 4)
        outer.addLayout(switches)
        form = QFormLayout()
        arrows = QHBoxLayout()
        arrows.addWidget(self.spacing)
        arrows.addWidget(self.slab)
        form.addRow("arrows every", arrows)
        form.addRow("length", self.arrow_legend)
        form.addRow("volume change", self.jacobian_legend)
        outer.addLayout(form)
        outer.addWidget(self.arrow_note)

    def _refresh(self, event: Any = None) -> None:
        for part, button in self.toggles.items():
            layer = self._layers.get(part)
            if layer is not None:
                with QSignalBlocker(button):
                    button.setChecked(bool(layer.visible))

    def _show_part(self, part: str, shown: bool) -> None:
        if part in self._layers:
            self._layers[part].visible = shown

    def _on_blend(self, percent: int) -> None:
        for part in (parts.MOVED, parts.MOVING_BEFORE):
            if part in self._layers:
                self._layers[part].opacity = percent / 100

    def _on_slab(self, slices: int) -> None:
        self.slab.setSuffix("" if slices == 0 else " slice" if slices == 1 else " slices")
        self.slab_chosen.emit(slices)


def _switch(title: str, tip: str) -> QPushButton:
    button = QPushButton(title)
    button.setCheckable(True)
    button.setToolTip(f"<p>{tip}</p>")
    return button
