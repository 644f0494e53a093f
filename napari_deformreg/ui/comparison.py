"""Two images of one lattice seen as one: checkerboard, wipe, absolute difference. Qt-free, and lazy: what is asked for is made.

napari asks for the displayed slice alone, so scrolling costs one slice, and no volume is made at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

Limits = tuple[float, float]
Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The voxel indices z, y, x of what is asked for, each of its shape."""


class Mode(StrEnum):
    """How fixed and moved (or moving as it was before) are seen together."""

    BLEND = "blend"
    FUSION = "fusion"
    CHECKERBOARD = "checkerboard"
    WIPE = "wipe"
    FLICKER = "flicker"
    DIFFERENCE = "difference"
    SIDE_BY_SIDE = "side by side"


@dataclass(frozen=True)
class Checkerboard:
    """Fields of fixed and of the other image in turn, the first one fixed.

    Fields alternate along the displayed axes alone: then they stay where they are while one scrolls.

    Parameters
    ----------
    tile_vox : tuple of int
        Side of a field along z, y, x.
    """

    tile_vox: tuple[int, int, int]

    def __call__(self, fixed: np.ndarray, other: np.ndarray, places: Places) -> np.ndarray:
        """Choose voxel by voxel."""
        return np.where(self.shows_other(places), other, fixed)

    def shows_other(self, places: Places) -> Bool[np.ndarray, "*shape"]:
        """Tell which voxels come from the other image."""
        fields = [place // tile for place, tile in zip(places, self.tile_vox, strict=True) if varies(place)]
        return np.asarray(sum(fields, np.zeros(places[0].shape, int)) % 2 == 1)


@dataclass(frozen=True)
class Wipe:
    """Fixed on one side of a plane, the other image beyond it, with a bright line between them.

    Parameters
    ----------
    axis : int
        Layer axis (0 z, 1 y, 2 x) across the plane.
    place : int
        Voxel index of the line; fixed lies above it: on the left or upper side of the screen, as napari's camera is turned for results.
    """

    axis: int
    place: int

    def __call__(self, fixed: np.ndarray, other: np.ndarray, places: Places) -> np.ndarray:
        """Choose voxel by voxel."""
        along = places[self.axis]
        mixed = np.where(along > self.place, fixed, other)
        return np.where(along == self.place, np.float32(1), mixed) if varies(along) else mixed


def difference(fixed: np.ndarray, other: np.ndarray, places: Places) -> np.ndarray:
    """Give |fixed - other| as a part of the contrast that both are shown in."""
    return np.asarray(np.abs(fixed - other))


Rule = Callable[[np.ndarray, np.ndarray, Places], np.ndarray]


@dataclass(eq=False)
class Composite:
    """An array made of two others when it is indexed; values from 0 to 1 within their contrast limits.

    Parameters
    ----------
    fixed, other : array
        Axes z, y, x, of one shape; numpy or anything that is indexed alike.
    fixed_limits, other_limits : tuple of float
        What is 0 and what is 1.
    rule : callable
        Makes one of both.
    """

    fixed: Any
    other: Any
    fixed_limits: Limits
    other_limits: Limits
    rule: Rule = difference
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y, x."""
        return tuple(int(n) for n in self.fixed.shape)

    @property
    def ndim(self) -> int:
        """Count the axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Count the voxels."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> Float[np.ndarray, "*shape"]:
        """Make what is asked for."""
        fixed = within(np.asarray(self.fixed[key]), self.fixed_limits)
        other = within(np.asarray(self.other[key]), self.other_limits)
        return np.asarray(self.rule(fixed, other, places_of(key, self.shape)), np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Make the whole volume."""
        return np.asarray(self[...], dtype)


def within(values: Shaped[np.ndarray, "*shape"], limits: Limits) -> Float[np.ndarray, "*shape"]:
    """Carry contrast limits to 0 and 1; what is beyond is cut off, as on the screen."""
    low, high = limits
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
    return np.asarray(np.clip(scaled, 0, 1))


def places_of(key: Any, shape: tuple[int, ...]) -> Places:
    """Give the indices of the voxels that ``array[key]`` holds; nothing of the array's size is made."""
    views = []
    for axis, n in enumerate(shape):
        along = np.arange(n).reshape([n if axis == other else 1 for other in range(len(shape))])
        views.append(np.asarray(np.broadcast_to(along, shape)[key]))
    z, y, x = views
    return z, y, x


def varies(place: np.ndarray) -> bool:
    """Tell whether an axis is among those that were asked for, not one index of it."""
    return bool(place.size) and bool(place.flat[0] != place.flat[-1])


def linked_limits(limits: Limits, own_start: Limits, other_start: Limits) -> Limits:
    """Carry a change of one image's contrast to another image: the same part of the contrast that each was first shown in.

    For two images on one scale this is the same window.
    """
    scale = (other_start[1] - other_start[0]) / max(own_start[1] - own_start[0], 1e-12)
    low, high = (other_start[0] + (limit - own_start[0]) * scale for limit in limits)
    return (low, high) if high > low else (low, low + 1e-6)
