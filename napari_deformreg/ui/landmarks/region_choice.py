"""Which voxels of the fixed image a region is: around a place, of one label, or within the box of a drawn shape."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ...errors import InputError
from ...space import LabelMap, Region
from ..layers import Placement, snapshot
from .pair_list import Point


class RegionShape(StrEnum):
    """Where a region comes from."""

    BALL = "sphere"
    BOX = "box"
    LABEL = "label"
    DRAWN = "drawn shape"

    @property
    def needs_layer(self) -> bool:
        """Whether it is read from a layer, not from a place and a size."""
        return self in (RegionShape.LABEL, RegionShape.DRAWN)

    @property
    def layer_kind(self) -> str:
        """What kind of layer it is read from; empty for none."""
        return {RegionShape.LABEL: "labels", RegionShape.DRAWN: "shapes"}.get(self, "")


def region_around(shape: RegionShape, center_mm: Point, size_mm: float, placement: Placement) -> Region:
    """Return a sphere or a box of this width (mm) around a place of the fixed image (RAS+ mm)."""
    center = np.array(center_mm, dtype=np.float64)
    if shape is RegionShape.BALL:
        return Region.ball(placement.grid, center, size_mm / 2)
    drawn = placement.to_drawn(center[None])[0]
    return region_between(drawn - size_mm / 2, drawn + size_mm / 2, placement)


def region_between(first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"], placement: Placement) -> Region:
    """Return the box between two places of the viewer's world (mm along z, y, x), which has the grid's own axes."""
    return Region.between(placement.grid, *placement.to_world(np.stack([first, second])))


def region_of_label(layer: Any, placement: Placement) -> Region:
    """Return the voxels of a Labels layer's selected label; a layer with other voxels is read at the fixed image's.

    Raises
    ------
    InputError
        If the label is the background or occurs nowhere on the fixed image.
    """
    number = int(layer.selected_label)
    if number == 0:
        raise InputError(f"Label 0 of layer {layer.name!r} is the background; choose the label of a structure in its controls.")
    labels = snapshot(layer).label_map()
    there = labels.data == number
    mask = there if labels.grid == placement.grid else _read_at(placement, there, labels)
    if not mask.any():
        raise InputError(f"Label {number} of layer {layer.name!r} occurs nowhere on the fixed image; choose another one, or draw it there.")
    return Region.of_mask(mask)


def _read_at(placement: Placement, there: Bool[np.ndarray, "a b c"], labels: LabelMap) -> Bool[np.ndarray, "i j k"]:
    """Read a mask on other voxels at those of the fixed grid, at the nearest one of each."""
    out = np.zeros(placement.grid.shape, bool)
    places = labels.grid.voxel_to_world(np.argwhere(there).astype(np.float64))
    if not len(places):
        return out
    voxels = placement.grid.world_to_voxel(places)
    width = np.ceil(labels.grid.spacing.max() / placement.grid.spacing)  # What lies between the label's voxel centers.
    low = np.clip(np.floor(voxels.min(axis=0) - width), 0, np.array(out.shape)).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + width) + 1, 0, np.array(out.shape)).astype(int)
    if (high <= low).any():
        return out
    inside = np.argwhere(np.ones(high - low, bool)) + low
    read = np.rint(labels.grid.world_to_voxel(placement.grid.voxel_to_world(inside.astype(np.float64)))).astype(int)
    known = ((read >= 0) & (read < there.shape)).all(axis=1)
    marked = np.zeros(len(inside), bool)
    marked[known] = there[tuple(read[known].T)]
    out[tuple(inside[marked].T)] = True
    return out


def region_of_shape(layer: Any, placement: Placement, thickness_mm: float, slice_mm: float) -> Region:
    """Return the box around the selected shape of a Shapes layer, or around its last one.

    Parameters
    ----------
    thickness_mm : float
        Across the slice in which the shape was drawn.
    slice_mm : float
        Where the displayed slice lies along the viewer's first axis, for a layer of two dimensions.

    Raises
    ------
    InputError
        If the layer is empty.
    """
    if not len(layer.data):
        raise InputError(f"Shapes layer {layer.name!r} is empty; draw a rectangle around the region on a slice of the fixed image.")
    which = max(layer.selected_data) if layer.selected_data else len(layer.data) - 1
    corners = np.array([layer.data_to_world(tuple(vertex)) for vertex in layer.data[which]], dtype=np.float64)[:, -3:]
    if corners.shape[1] == 2:
        corners = np.concatenate([np.full((len(corners), 1), slice_mm), corners], axis=1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    flat = high - low < 1e-6 * max(float((high - low).max()), 1.0)
    return region_between(low - flat * thickness_mm / 2, high + flat * thickness_mm / 2, placement)
