"""Keeps the arrows and the deformed grid of a result on the displayed slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QObject, QTimer, Signal

from . import overlays
from .overlays import DrawnField, View

REDRAW_MS = 30


class FieldOverlays(QObject):
    """Redraws a result's Vectors layers when slice, axis, spacing or slab change.

    Parameters
    ----------
    viewer : napari viewer
        Its dims tell what is displayed.
    field : DrawnField
        What is sampled.
    quiver, lines : Vectors layer or None
        The arrows and the deformed grid, as far as they exist.
    """

    drawn = Signal(int, float)

    def __init__(self, viewer: Any, field: DrawnField, quiver: Any | None, lines: Any | None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._field = viewer, field
        self._quiver, self._lines = quiver, lines
        self.spacing_mm = field.typical_spacing()
        self.slab = 1
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        self._dims = viewer.dims
        for event in (self._dims.events.current_step, self._dims.events.order, self._dims.events.ndisplay):
            event.connect(self.schedule)
        for layer in self._layers():
            layer.events.visible.connect(self.schedule)

    def stop(self) -> None:
        """Follow the viewer no more."""
        self._timer.stop()
        for event in (self._dims.events.current_step, self._dims.events.order, self._dims.events.ndisplay):
            event.disconnect(self.schedule)
        for layer in self._layers():
            layer.events.visible.disconnect(self.schedule)
        self._quiver = self._lines = None

    def schedule(self, event: Any = None) -> None:
        """Redraw soon, once for many changes."""
        self._timer.start()

    def set_spacing(self, spacing_mm: float) -> None:
        """Choose the distance between arrows and between grid lines."""
        self.spacing_mm = spacing_mm
        self.schedule()

    def set_slab(self, slab: int) -> None:
        """Choose how many slices around the displayed one give arrows; 0 for all."""
        self.slab = slab
        self.schedule()

    def view(self) -> View:
        """Tell what is displayed, in the layers' own axes."""
        dims = self._dims
        displayed = dims.ndim - 3
        axis = next((a - displayed for a in dims.order if a >= displayed), 0)
        placement = self._field.placement
        place = (dims.point[axis + displayed] - placement.origin[::-1][axis]) / self._field.spacing_mm[axis]
        index = int(np.clip(round(place), 0, self._field.shape[axis] - 1))
        return View(axis, index, self.slab, flat=dims.ndisplay == 2)

    def redraw(self) -> None:
        """Draw what is visible anew."""
        if self._dims.ndim < 3:
            return
        view = self.view()
        if self._quiver is not None and self._shown(self._quiver):
            found = overlays.arrows(self._field, view, self.spacing_mm)
            features = pd.DataFrame({"length_mm": found.length_mm.astype(np.float64)})
            _replace(self._quiver, found.vectors, features, self._field.width(overlays.ARROW_WIDTH, found.spacing_mm))
            self.drawn.emit(len(found.vectors), found.spacing_mm)
        if self._lines is not None and self._shown(self._lines):
            lines = overlays.grid_lines(self._field, view, self.spacing_mm)
            width = self._field.width(overlays.LINE_WIDTH, self.spacing_mm)
            _replace(self._lines, lines, pd.DataFrame(index=range(len(lines))), width)

    def _shown(self, layer: Any) -> bool:
        return bool(layer.visible) and layer in self._viewer.layers

    def _layers(self) -> list[Any]:
        return [layer for layer in (self._quiver, self._lines) if layer is not None]


def _replace(layer: Any, vectors: np.ndarray, features: pd.DataFrame, width: float) -> None:
    """Show other vectors; the colors follow the new features."""
    # Each of these would draw all vectors anew. A hidden layer draws nothing; as nobody is told, it stays on the screen meanwhile.
    with layer.events.blocker_all():
        layer.visible = False
        layer.data = vectors
        layer.features = features
        layer.refresh_colors()
        layer.edge_width = width
        layer.visible = True
    layer.refresh(thumbnail=False)
