"""Going to a place of the world in the viewer: slices, camera, and a ring around the place."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer

from ...space import Landmarks
from .. import compat, result_layers
from ..layers import LayerTuple, Placement, points_layer

PLACE = "review place"
RING_COLOR = "#ffee58"

Point = tuple[float, float, float]


class Places:
    """Moves one viewer to places, and marks the last one with a ring.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._ring: Any | None = None

    def go_to(self, point_mm: Point, placement: Placement, across_mm: float | None = None, ring_mm: float | None = None) -> None:
        """Show the slices through a world point, with the point in the middle.

        Parameters
        ----------
        point_mm : tuple of float
            RAS+ mm.
        placement : Placement
            How the fixed grid is drawn.
        across_mm : float, optional
            Width of what is to be seen; the zoom stays without it.
        ring_mm : float, optional
            Diameter of a ring around the point; no ring is left without it.
        """
        drawn = drawn_place(point_mm, placement)
        dims = self._viewer.dims
        dims.set_point(range(dims.ndim - 3, dims.ndim), drawn)
        camera = compat.camera(self._viewer)
        camera.center = drawn
        if across_mm is not None:
            camera.zoom = min(compat.canvas_size(self._viewer)) / across_mm
        if ring_mm is None:
            self.forget()
        else:
            self._encircle(point_mm, placement, ring_mm)

    def forget(self) -> None:
        """Take the ring away."""
        ring, self._ring = self._ring, None
        if ring is not None and ring in self._viewer.layers:
            self._viewer.layers.remove(ring)

    def _encircle(self, point_mm: Point, placement: Placement, ring_mm: float) -> None:
        entry = _ring_layer(point_mm, placement, ring_mm)
        layers = self._viewer.layers
        if self._ring is not None and self._ring in layers:
            self._ring.data, self._ring.scale = entry[0], entry[1]["scale"]
            self._ring.translate = entry[1]["translate"]
            return
        active = layers.selection.active
        self._ring = Layer.create(*entry)
        self._viewer.add_layer(self._ring)
        if active is not None and active in layers:
            layers.selection.active = active


def drawn_place(point_mm: Point, placement: Placement) -> Point:
    """Carry a world point to where it is drawn (mm along z, y, x)."""
    voxel = placement.to_layer_points(np.array([point_mm]))[0]
    z, y, x = voxel * placement.spacing[::-1] + placement.origin[::-1]
    return float(z), float(y), float(x)


def _ring_layer(point_mm: Point, placement: Placement, ring_mm: float) -> LayerTuple:
    look: dict[str, Any] = {"symbol": "disc", "face_color": "transparent", "border_color": RING_COLOR, "border_width": 0.05}
    entry = points_layer(Landmarks(np.array([point_mm]), ("place",)), placement, ring_mm, name=PLACE, **look)
    return result_layers.marked_as_result(entry)
