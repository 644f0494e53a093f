"""What of a result is drawn: blend, arrows, grid, Jacobian, labels, points; bound to the layers in both directions."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from . import result_layers as parts
from .buttons import switch
from .field_controls import FieldControls

TOGGLES = {
    parts.QUIVER: ("Arrows", "From each point of fixed to the place of its tissue in moving; the affine part is left out."),
    parts.DEFORMED_GRID: ("Grid", "Lines of the fixed image, carried along by the displacement; in 3-D as a lattice."),
    parts.MAGNITUDE: ("Length", "How far each point of fixed is moved, in mm, as a map; the affine part is left out."),
    parts.JACOBIAN: ("Jacobian", "Local volume change: blue shrinks from fixed to moving, red grows, violet is folded."),
    parts.FOLDS: ("Folds", "Places where the deformation folds over itself, in violet."),
    parts.FIXED_LABELS: ("Fixed labels", "Structures of the fixed image, filled."),
    parts.MOVED_LABELS: ("Moved labels", "Structures of the moving image, carried into fixed space, as outlines."),
    parts.FIXED_LANDMARKS: ("Fixed points", "Landmarks of the fixed image: blue circles."),
    parts.MOVED_LANDMARKS: ("Moved points", "Landmarks of the moving image, carried into fixed space: amber crosses with their error."),
}


class DisplayControls(QWidget):
    """Sliders and switches for the layers of one result."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers: dict[str, Any] = {}
        self.blend = QSlider(Qt.Orientation.Horizontal)
        self.blend.setRange(0, 100)
        self.blend.setValue(50)
        self.blend.valueChanged.connect(self._on_blend)
        self.toggles = {part: switch(title, tip) for part, (title, tip) in TOGGLES.items()}
        for part, button in self.toggles.items():
            button.toggled.connect(partial(self._show_part, part))
        self.field = FieldControls()
        self._lay_out()
        self.setEnabled(False)

    def bind(self, found: dict[str, Any]) -> None:
        """Take control of these layers (part -> layer, with the fixed image's layer as ``"fixed"``)."""
        self.release()
        self._layers = dict(found)
        self.setEnabled(True)
        for part, button in self.toggles.items():
            layer = found.get(part)
            button.setVisible(layer is not None)
            if layer is not None:
                layer.events.visible.connect(self._refresh)
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
        outer.addWidget(self.field)

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
