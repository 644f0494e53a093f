"""A crosshair on the viewer's own canvas: two lines through a place, as a layer."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import numpy as np
from jaxtyping import Float
from napari.layers import Layer

from . import garbage
from .layers import AXIS_LABELS, METADATA_KEY, UNITS
from .result_layers import part_of
from .slice_view import CROSSHAIR_COLOR
from .slices import Place

CROSSHAIR = "crosshair"
GAP = 0.02
"""Of each line around the place, as a part of the image's longest side: the place itself must stay visible."""


_shown: WeakSet[Crosshair] = WeakSet()
"""Those that show their viewer's layer now; one whose window went away with everything in it is not kept."""


class Crosshair:
    """Keeps a viewer's one Vectors layer on a place while it is shown.

    There is one layer a viewer, known by its mark, however many docks there are (the menu and a result's panel may each open one): whoever
    comes second draws in the layer that is there, and who goes last takes it away.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer

    def draw(self, place: Place, extent: tuple[np.ndarray, np.ndarray], spacing: np.ndarray) -> None:
        """Show the lines through a place, within an extent (mm along z, y, x), for images of this spacing."""
        lines = lines_through(place, extent, spacing)
        _shown.add(self)
        present = crosshairs_of(self._viewer)
        for spare in present[1:]:  # a copy that the user made of it would stay behind
            garbage.remove(self._viewer.layers, spare)
        if present:
            _replace(present[0], lines, spacing)
        else:
            self._add(lines, spacing)

    def forget(self) -> None:
        """Take it away, unless somebody else shows it in this viewer."""
        if self in _shown:
            _shown.remove(self)
            kept = [layer for other in _shown for layer in crosshairs_of(other._viewer)]
            for layer in crosshairs_of(self._viewer):
                if layer not in kept:
                    garbage.remove(self._viewer.layers, layer)

    @property
    def present(self) -> bool:
        """Whether the viewer has one."""
        return bool(crosshairs_of(self._viewer))

    def is_gone_with(self, layer: Any) -> bool:
        """Tell whether this layer, just removed, was the crosshair that is shown now."""
        return self in _shown and part_of(layer) == CROSSHAIR and not crosshairs_of(self._viewer)

    def _add(self, lines: Float[np.ndarray, "6 2 3"], spacing: np.ndarray) -> None:
        layers = self._viewer.layers
        selected = set(layers.selection)
        metadata = {METADATA_KEY: {"role": "result", "part": CROSSHAIR}}
        look = {"edge_color": CROSSHAIR_COLOR, "vector_style": "line", "edge_width": 0.4, "opacity": 0.8}
        place_in = {"scale": _scale(spacing), "units": UNITS, "axis_labels": AXIS_LABELS}
        made = Layer.create(lines, {"name": CROSSHAIR, "metadata": metadata, **look, **place_in}, "vectors")
        # Another layer selected and the first one again: telling it would make all controls twice, for nothing.
        with garbage.put_off(), layers.selection.events.blocker_all():
            self._viewer.add_layer(made)
            layers.selection.clear()
            layers.selection.update(selected)


def crosshairs_of(viewer: Any) -> list[Any]:
    """Find the crosshair among a viewer's layers, and copies of it."""
    return [layer for layer in viewer.layers if part_of(layer) == CROSSHAIR]


def raise_crosshair(viewer: Any) -> None:
    """Show the crosshair above layers that came later."""
    for layer in crosshairs_of(viewer):
        viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
        layer.visible = True


def _scale(spacing: np.ndarray) -> tuple[float, ...]:
    return tuple(float(n) for n in spacing)


def _replace(layer: Any, lines: Float[np.ndarray, "6 2 3"], spacing: np.ndarray) -> None:
    """Show other lines; their extent is the same, and each event would make napari look at all layers again."""
    with layer.events.blocker_all():
        shown, layer.visible = layer.visible, False
        layer.data = lines
        layer.visible = shown
    if tuple(layer.scale) != _scale(spacing):  # of other images: the lines are in units of their spacing
        layer.scale = _scale(spacing)
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
