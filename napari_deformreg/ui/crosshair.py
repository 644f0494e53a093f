"""A crosshair on the viewer's own canvas: two lines through a place, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from napari.layers import Layer

from . import garbage
from .layers import AXIS_LABELS, METADATA_KEY, UNITS
from .slice_view import CROSSHAIR_COLOR
from .slices import Place

CROSSHAIR = "crosshair"
GAP = 0.02
"""Of each line around the place, as a part of the image's longest side: the place itself must stay visible."""


class Crosshair:
    """Keeps one Vectors layer on a place while it is shown.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any | None = None

    def draw(self, place: Place, extent: tuple[np.ndarray, np.ndarray], spacing: np.ndarray) -> None:
        """Show the lines through a place, within an extent (mm along z, y, x), for images of this spacing."""
        lines = lines_through(place, extent, spacing)
        if self._layer is not None and self._layer in self._viewer.layers:
            _replace(self._layer, lines)
            return
        layers = self._viewer.layers
        active = layers.selection.active
        metadata = {METADATA_KEY: {"role": "result", "part": CROSSHAIR}}
        look = {"edge_color": CROSSHAIR_COLOR, "vector_style": "line", "edge_width": 0.4, "opacity": 0.8}
        place_in = {"scale": tuple(float(n) for n in spacing), "units": UNITS, "axis_labels": AXIS_LABELS}
        self._layer = Layer.create(lines, {"name": CROSSHAIR, "metadata": metadata, **look, **place_in}, "vectors")
        self._viewer.add_layer(self._layer)
        if active is not None and active in layers:
            layers.selection.active = active

    def forget(self) -> None:
        """Take it away."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            garbage.remove(self._viewer.layers, layer)

    def holds(self, layer: Any) -> bool:
        """Tell whether a layer is the crosshair that is shown now."""
        return self._layer is not None and bool(layer == self._layer)


def _replace(layer: Any, lines: Float[np.ndarray, "6 2 3"]) -> None:
    """Show other lines; their extent is the same, and each event would make napari look at all layers again."""
    with layer.events.blocker_all():
        shown, layer.visible = layer.visible, False
        layer.data = lines
        layer.visible = shown
    layer.refresh(thumbnail=False, extent=False)


def lines_through(place: Place, extent: tuple[np.ndarray, np.ndarray], spacing: np.ndarray) -> Float[np.ndarray, "6 2 3"]:
    """Give two pieces a line along each axis, as starts and directions in units of the spacing, with a gap around the place."""
    low, high = (np.asarray(end, dtype=np.float64) for end in extent)
    # Half a voxel inside the rim: an extent beyond the image's would move napari's sliders off the slices.
    low, high = low + spacing / 2, high - spacing / 2
    gap = GAP * float((high - low).max())
    pieces = []
    for axis in range(3):
        for start, end in ((low[axis], place[axis] - gap), (place[axis] + gap, high[axis])):
            begin, direction = np.array(place, dtype=np.float64), np.zeros(3)
            begin[axis], direction[axis] = (start, end - start) if end > start else (place[axis], 0.0)
            pieces.append((begin / spacing, direction / spacing))
    return np.asarray(pieces, dtype=np.float64)
