"""Keeps what is drawn of a result's field on the displayed slice and within the chosen region: arrows, deformed grid, maps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QObject, QTimer, Signal

from . import overlays
from . import result_layers as parts
from .deformed_grid import grid_lines
from .drawn_arrays import Bounded
from .kept_shaders import keep_shaders
from .overlays import DrawnField, View
from .regions import EVERYWHERE, Region
from .several_changes import DrawnOnce, changed_at_once

REDRAW_MS = 30

AT_ONCE_MS = 20
"""What takes less is drawn together with the slice; what takes more follows when the slider rests."""


class FieldOverlays(QObject):
    """Redraws a result's Vectors layers when slice, axis, spacing, scale, slab or region change, and bounds its maps.

    Parameters
    ----------
    viewer : napari viewer
        Its dims tell what is displayed.
    field : DrawnField
        What is sampled.
    quiver, lines : Vectors layer or None
        The arrows and the deformed grid, as far as they exist.
    maps : tuple of Image layers
        What is shown within the region only.
    """

    drawn = Signal(int, float)

    def __init__(
        self,
        viewer: Any,
        field: DrawnField,
        quiver: Any | None,
        lines: Any | None,
        maps: tuple[Any, ...] = (),
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        keep_shaders()
        self._viewer, self._field = viewer, field
        self._quiver, self._lines = quiver, lines
        self._maps = {layer: layer.data for layer in maps}
        self.spacing_mm = field.typical_spacing()
        self.slab, self.scale, self.region = 1, 1.0, EVERYWHERE
        self._cost_ms = 0.0
        self._once = DrawnOnce(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        self._dims = viewer.dims
        self._dims.events.current_step.connect(self._on_step)
        for event in (self._dims.events.order, self._dims.events.ndisplay):
            event.connect(self.schedule)
        for layer in self._layers():
            layer.events.visible.connect(self.schedule)

    def stop(self) -> None:
        """Follow the viewer no more."""
        self._timer.stop()
        self._once.release()
        self._dims.events.current_step.disconnect(self._on_step)
        for event in (self._dims.events.order, self._dims.events.ndisplay):
            event.disconnect(self.schedule)
        for layer in self._layers():
            layer.events.visible.disconnect(self.schedule)
        self._quiver = self._lines = None
        self._maps = {}

    def schedule(self, event: Any = None) -> None:
        """Redraw soon, once for many changes."""
        self._once.release()
        self._timer.start()

    def set_spacing(self, spacing_mm: float) -> None:
        """Choose the distance between arrows and between grid lines."""
        self.spacing_mm = spacing_mm
        self.schedule()

    def set_slab(self, slab: int) -> None:
        """Choose how many slices around the displayed one give arrows; 0 for all."""
        self.slab = slab
        self.schedule()

    def set_scale(self, scale: float) -> None:
        """Choose how many times as long as they are the arrows are drawn."""
        self.scale = scale
        self.schedule()

    def set_region(self, region: Region) -> None:
        """Choose where the field is shown."""
        self.region = region
        for layer, values in self._maps.items():
            if layer in self._viewer.layers:
                layer.data = values if region is EVERYWHERE else Bounded(values, region)
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
        began = time.thread_time()
        view = self.view()
        if self._quiver is not None and self._shown(self._quiver):
            found = overlays.arrows(self._field, view, self.spacing_mm, scale=self.scale, region=self.region)
            features = pd.DataFrame({"length_mm": found.length_mm.astype(np.float64)})
            _replace(self._quiver, found.vectors, features, self._field.width(overlays.ARROW_WIDTH, found.spacing_mm))
            self.drawn.emit(len(found.vectors), found.spacing_mm)
        if self._lines is not None and self._shown(self._lines):
            lines = grid_lines(self._field, view, self.spacing_mm, self.region)
            width = self._field.width(overlays.LINE_WIDTH, lines.spacing_mm)
            features = pd.DataFrame({"length_mm": lines.length_mm})
            # In the plane the image is beneath; in space colors tell what is near from what is far.
            color = parts.GRID_COLOR if view.flat else "length_mm"
            _replace(self._lines, lines.segments, features, width, color)
        self._cost_ms = 1000 * (time.thread_time() - began)

    def _on_step(self, event: Any = None) -> None:
        if self._cost_ms > AT_ONCE_MS:
            self.schedule()
        else:
            self.redraw()
            self._once.hold(layer for layer in self._layers() if self._shown(layer))

    def _shown(self, layer: Any) -> bool:
        return bool(layer.visible) and layer in self._viewer.layers

    def _layers(self) -> list[Any]:
        return [layer for layer in (self._quiver, self._lines) if layer is not None]


def _replace(layer: Any, vectors: np.ndarray, features: pd.DataFrame, width: float, color: str | None = None) -> None:
    """Show other vectors; the colors follow the new features, or become one."""
    with changed_at_once(layer, extent=False):
        layer.data = vectors
        layer.features = features
        if color is not None and len(vectors):
            layer.edge_color = color
        layer.refresh_colors()
        layer.edge_width = width
