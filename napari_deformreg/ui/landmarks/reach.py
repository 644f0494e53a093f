"""How far a correction of the chosen pair reaches: circles around its fixed end on every slice that the radius meets."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from napari.layers import Layer

from .. import result_layers as parts
from ..layers import Placement
from ..several_changes import changed_at_once

REACH = "reach of the correction"

SEGMENTS = 48
"""Of each circle."""

WIDTH = 0.35
OPACITY = 0.7

NOTHING = np.zeros((1, 2, 3))
"""A piece without length: napari cannot color a layer that has none."""

Drawn = tuple[float, float, float]


class Reach:
    """Keeps one Vectors layer on the sphere outside which a correction moves nothing.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any | None = None
        self._placement: Placement | None = None
        self._shown: tuple[Drawn, float, str] | None = None

    @property
    def layer(self) -> Any | None:
        """The layer, if it is still there."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def show(self, placement: Placement) -> None:
        """Add the layer, with nothing in it, over images that are drawn this way."""
        self.remove()
        self._placement = placement
        metadata = {**placement.layer_arguments, "edge_width": WIDTH, "vector_style": "line", "opacity": OPACITY}
        entry = parts.marked_as_result((NOTHING, {**metadata, "name": REACH, "edge_color": "white"}, "vectors"))
        self._layer = self._viewer.add_layer(Layer.create(*entry))

    def draw(self, place: Drawn | None, radius_mm: float, color: str) -> None:
        """Show the sphere around a place (mm along z, y, x of the viewer's world), or none."""
        wanted = None if place is None else (place, radius_mm, color)
        layer = self.layer
        if layer is None or self._placement is None or wanted == self._shown:
            return
        self._shown = wanted
        pieces = NOTHING if place is None else circles(place, radius_mm, self._placement)
        # Its eye is the user's; and each turn of it would make napari draw everything anew.
        with changed_at_once(layer):
            layer.data = pieces if len(pieces) else NOTHING
            layer.edge_color = color

    def remove(self) -> None:
        """Take the layer away."""
        layer = self.layer
        self._layer, self._placement, self._shown = None, None, None
        if layer is not None:
            self._viewer.layers.remove(layer)


def circles(place: Drawn, radius_mm: float, placement: Placement) -> Float[np.ndarray, "n 2 3"]:
    """Cut a sphere by the slices of all three orientations.

    Parameters
    ----------
    place : tuple of float
        Its center, mm along z, y, x of the viewer's world.
    radius_mm : float
        Its radius.
    placement : Placement
        How the image is drawn.

    Returns
    -------
    (n, 2, 3) array
        Start and direction of each piece within the image, in its drawn voxels z, y, x.
    """
    spacing, origin = placement.spacing[::-1], placement.origin[::-1]
    shape = np.array(placement.canonical.shape)[::-1]
    angles = np.linspace(0, 2 * np.pi, SEGMENTS + 1)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pieces = [np.zeros((0, 2, 3))]
    for axis in range(3):
        planes = np.arange(shape[axis]) * spacing[axis] + origin[axis]
        away = planes - place[axis]
        others = [other for other in range(3) if other != axis]
        for plane in planes[np.abs(away) < radius_mm]:
            points = np.empty((SEGMENTS + 1, 3))
            points[:, axis] = plane
            points[:, others] = np.array(place)[others] + np.sqrt(radius_mm**2 - (plane - place[axis]) ** 2) * around
            voxels = (points - origin) / spacing
            # What lies beyond the image would let napari's sliders go there, off the slices.
            inside = ((voxels >= 0) & (voxels <= shape - 1)).all(axis=1)
            pieces.append(np.stack([voxels[:-1], np.diff(voxels, axis=0)], axis=1)[inside[:-1] & inside[1:]])
    return np.concatenate(pieces)
