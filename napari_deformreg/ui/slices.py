"""Slices of layers as pictures, in any of the three planes, as radiologists look at them. Qt-free.

What is growing along z, y and x is above and on the left, like napari's camera shows results: S, A and R for layers placed in the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from napari.layers import Image, Labels, Points

from .comparison import Composite, within
from .layers import METADATA_KEY

Place = tuple[float, float, float]
"""A place of the viewer's world: mm along z, y, x."""

SIDES = {0: ("S", "I"), 1: ("A", "P"), 2: ("R", "L")}
"""Where growing and where falling z, y, x lead to."""


@dataclass(frozen=True)
class Plane:
    """One of the three planes.

    Attributes
    ----------
    across, vertical, horizontal : int
        Axes (0 z, 1 y, 2 x) across it and along the screen.
    """

    name: str
    across: int
    vertical: int
    horizontal: int


PLANES = (Plane("axial", 0, 1, 2), Plane("coronal", 1, 0, 2), Plane("sagittal", 2, 0, 1))


@dataclass(frozen=True, eq=False)
class SlicePicture:
    """One layer's slice, ready to be painted.

    Attributes
    ----------
    rgba : (rows, columns, 4) uint8 array
        The first row is the uppermost, the first column the leftmost.
    top_mm, left_mm : float
        World coordinates of the upper and of the left rim; both fall towards the other side.
    height_mm, width_mm : float
        Size.
    additive : bool
        Whether it is added to what lies below, instead of covering it.
    """

    rgba: UInt8[np.ndarray, "rows columns 4"]
    top_mm: float
    left_mm: float
    height_mm: float
    width_mm: float
    additive: bool


@dataclass(frozen=True)
class Mark:
    """One point near a plane.

    Attributes
    ----------
    vertical_mm, horizontal_mm, diameter_mm : float
        In the world.
    color : tuple of float
        Red, green, blue, opacity.
    """

    vertical_mm: float
    horizontal_mm: float
    diameter_mm: float
    color: tuple[float, ...]


def is_sliceable(layer: Any) -> bool:
    """Tell whether a layer is a 3-D array that lies along the world's axes."""
    if not isinstance(layer, Image | Labels | Points) or layer.ndim != 3:
        return False
    if getattr(layer, "rgb", False) or getattr(layer, "multiscale", False):
        return False
    affine = layer.affine.affine_matrix if hasattr(layer.affine, "affine_matrix") else np.eye(4)
    return bool(np.allclose(layer.rotate, np.eye(3)) and not np.any(layer.shear) and np.allclose(affine, np.eye(len(affine))))


def picture_of(layer: Any, plane: Plane, place: Place) -> SlicePicture | None:
    """Draw an Image or Labels layer's slice through a place; None beside the image."""
    index = index_at(layer, plane, place)
    if index is None:
        return None
    key = tuple(index if axis == plane.across else slice(None) for axis in range(3))
    values = np.asarray(layer.data[key])
    values = values if plane.vertical < plane.horizontal else values.T
    colors = _image_colors(layer, values) if isinstance(layer, Image) else _label_colors(layer, values)
    scale, translate = np.asarray(layer.scale), np.asarray(layer.translate)
    ends = translate + (np.array(layer.data.shape) - 0.5) * scale
    sizes = np.array(layer.data.shape) * scale
    return SlicePicture(
        rgba=np.ascontiguousarray(colors[::-1, ::-1]),
        top_mm=float(ends[plane.vertical]),
        left_mm=float(ends[plane.horizontal]),
        height_mm=float(sizes[plane.vertical]),
        width_mm=float(sizes[plane.horizontal]),
        additive=str(layer.blending) == "additive",
    )


def index_at(layer: Any, plane: Plane, place: Place) -> int | None:
    """Give the index of the slice that holds a place; None beside the image."""
    along = (place[plane.across] - layer.translate[plane.across]) / layer.scale[plane.across]
    index = int(np.floor(along + 0.5))
    return index if 0 <= index < layer.data.shape[plane.across] else None


def look_of(layer: Any, plane: Plane, place: Place) -> tuple[Any, ...]:
    """Give all that a layer's picture depends on: equal looks are equal pictures; who writes into its array notes another version."""
    data = layer.data
    version = layer.metadata.get(METADATA_KEY, {}).get("version", 0) if isinstance(layer.metadata, dict) else 0
    made = (data.fixed_limits, data.other_limits, data.rule) if isinstance(data, Composite) else ()
    shared = (id(data), version, made, index_at(layer, plane, place), plane.name, layer.opacity, str(layer.blending), layer.colormap.name)
    return (*shared, tuple(layer.contrast_limits), layer.gamma) if isinstance(layer, Image) else (*shared, layer.contour)


def marks_of(layer: Any, plane: Plane, place: Place) -> list[Mark]:
    """List a Points layer's points that lie on the plane, i.e. no farther from it than their radius."""
    if not len(layer.data):
        return []
    points = np.asarray(layer.data) * layer.scale + layer.translate
    diameters = np.broadcast_to(np.asarray(layer.size, dtype=float), len(points)) * float(np.mean(layer.scale))
    near = np.abs(points[:, plane.across] - place[plane.across]) <= diameters / 2
    near &= np.asarray(layer.shown)
    return [
        Mark(float(points[n, plane.vertical]), float(points[n, plane.horizontal]), float(diameters[n]), tuple(layer.border_color[n]))
        for n in np.flatnonzero(near)
    ]


def _image_colors(layer: Image, values: Shaped[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 4"]:
    table = _as_bytes(layer.colormap.map(np.linspace(0, 1, 256)), layer.opacity)
    scaled = within(values, tuple(layer.contrast_limits))
    return np.asarray(table[(scaled**layer.gamma * 255).astype(np.uint8)])


def _label_colors(layer: Labels, values: Shaped[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 4"]:
    colors = _as_bytes(layer.colormap.map(values), layer.opacity)
    colors[values == 0, 3] = 0
    if layer.contour:
        colors[~rims(values), 3] = 0
    return colors


def rims(labels: Shaped[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Tell which pixels have another label beside them."""
    rim = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    rim[:, 1:] |= across
    rim[:, :-1] |= across
    rim[1:] |= down
    rim[:-1] |= down
    return rim


def _as_bytes(colors: Float[np.ndarray, "*shape 4"], opacity: float) -> UInt8[np.ndarray, "*shape 4"]:
    factors = np.array([255, 255, 255, 255 * opacity])
    return np.asarray(np.clip(np.asarray(colors) * factors + 0.5, 0, 255), np.uint8)


def whole_extent(layers: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Give the lowest and the highest corner (mm along z, y, x) of all Image and Labels layers; None without any."""
    boxes = [(np.asarray(n.translate) - n.scale / 2, np.asarray(n.translate) + (np.array(n.data.shape) - 0.5) * n.scale) for n in layers]
    if not boxes:
        return None
    return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
