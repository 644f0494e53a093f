"""Box: a block of voxels of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ..errors import InputError
from .grid import Grid
from .volume import LabelMap


@dataclass(frozen=True)
class Box:
    """Voxels start <= (i, j, k) < stop of some grid.

    Raises
    ------
    InputError
        If it holds no voxel or begins before voxel 0.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    def __post_init__(self) -> None:
        if not all(0 <= low < high for low, high in zip(self.start, self.stop, strict=True)):
            raise InputError(f"Expected a box of at least one voxel an axis, from voxel 0 on; got {self.start} to {self.stop}.")

    @classmethod
    def around(cls, voxels: Float[np.ndarray, "n 3"], reach_vox: Float[np.ndarray, "3"], shape: tuple[int, int, int]) -> Box | None:
        """Return the voxels of a grid of this shape within a reach of given places along each axis; None if there are none."""
        low = np.maximum(np.floor(voxels.min(axis=0) - reach_vox).astype(int), 0)
        high = np.minimum(np.ceil(voxels.max(axis=0) + reach_vox).astype(int) + 1, shape)
        if (high <= low).any():
            return None
        return cls((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))

    @classmethod
    def whole(cls, shape: tuple[int, int, int]) -> Box:
        """Return the box of all voxels of a grid of this shape."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return d - a, e - b, f - c

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What cuts the box out of an (i, j, k) or (i, j, k, 3) array."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return slice(a, d), slice(b, e), slice(c, f)

    def grid(self, whole: Grid) -> Grid:
        """Return the grid of the box's voxels."""
        affine = whole.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array(self.start)
        return Grid(self.shape, affine)

    def widened(self, voxels: int, shape: tuple[int, int, int]) -> Box:
        """Return the box with some voxels more on each side, within a grid of this shape."""
        low = [max(n - voxels, 0) for n in self.start]
        high = [min(n + voxels, size) for n, size in zip(self.stop, shape, strict=True)]
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def joined(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        low = [min(pair) for pair in zip(self.start, other.start, strict=True)]
        high = [max(pair) for pair in zip(self.stop, other.stop, strict=True)]
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def within(self, outer: Box) -> tuple[slice, slice, slice]:
        """Return what cuts this box out of an array of a box around it."""
        a, b, c = (slice(s - o, e - o) for s, e, o in zip(self.start, self.stop, outer.start, strict=True))
        return a, b, c


@dataclass(frozen=True, eq=False)
class Region:
    """Some voxels of a grid: those of a mask inside a box.

    Attributes
    ----------
    box : Box
        Holds all voxels of the region.
    mask : (i, j, k) bool array
        Which voxels of the box belong to it.
    """

    box: Box
    mask: Bool[np.ndarray, "i j k"]

    def __post_init__(self) -> None:
        if self.mask.shape != self.box.shape or not self.mask.any():
            raise InputError(f"Expected a mask of shape {self.box.shape} with at least one voxel; got {self.mask.shape}.")

    @classmethod
    def of_mask(cls, mask: Bool[np.ndarray, "i j k"]) -> Region:
        """Take the voxels of a mask on the whole grid.

        Raises
        ------
        InputError
            If the mask is empty.
        """
        found = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        if not all(len(at) for at in found):
            raise InputError("The region is empty; expected at least one voxel. Draw it, or choose a label that occurs.")
        (a, b, c), (d, e, f) = (int(at[0]) for at in found), (int(at[-1]) + 1 for at in found)
        box = Box((a, b, c), (d, e, f))
        return cls(box, np.ascontiguousarray(mask[box.slices]))

    @classmethod
    def of_label(cls, labels: LabelMap, label: int) -> Region:
        """Take the voxels of one structure."""
        return cls.of_mask(labels.data == label)

    @classmethod
    def between(cls, grid: Grid, first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"]) -> Region:
        """Take the voxels between two opposite corners (RAS+ mm), along the grid's own axes."""
        corners = grid.world_to_voxel(np.stack([first, second]))
        low = np.maximum(np.ceil(corners.min(axis=0) - 0.5), 0).astype(int)
        high = np.minimum(np.floor(corners.max(axis=0) + 0.5), np.array(grid.shape) - 1).astype(int) + 1
        if (high <= low).any():
            raise InputError(f"The box from {first} to {second} mm holds no voxel of the image. Draw it inside the image.")
        box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        return cls(box, np.ones(box.shape, bool))

    @classmethod
    def ball(cls, grid: Grid, center: Float[np.ndarray, "3"], radius_mm: float) -> Region:
        """Take the voxels whose centers lie within a radius of a world point (RAS+ mm)."""
        box = Box.around(grid.world_to_voxel(np.asarray(center, float)[None]), radius_mm * voxels_per_mm(grid), grid.shape)
        distance = None if box is None else distance_mm(box.grid(grid), np.asarray(center, float)[None])
        if box is None or distance is None or not (distance <= radius_mm).any():
            raise InputError(f"The ball of {radius_mm:g} mm around {center} holds no voxel of the image. Place it inside the image.")
        return cls(box, distance <= radius_mm)


def voxels_per_mm(grid: Grid) -> Float[np.ndarray, "3"]:
    """Return how many voxels along i, j, k a ball of 1 mm reaches at most (sheared grids included)."""
    return np.asarray(np.linalg.norm(grid.world_to_voxel_matrix[:3, :3], axis=1))


def distance_mm(grid: Grid, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "i j k"]:
    """Return each voxel center's distance in mm to the nearest of some world points (RAS+ mm)."""
    nearest: np.ndarray | None = None
    for voxel in grid.world_to_voxel(np.asarray(points, dtype=np.float64).reshape(-1, 3)):
        square = _squared_distance(grid, voxel)
        nearest = square if nearest is None else np.minimum(nearest, square)
    if nearest is None:
        raise InputError("Expected at least one point to measure distances from; got none.")
    return np.asarray(np.sqrt(np.maximum(nearest, 0)))


def _squared_distance(grid: Grid, voxel: Float[np.ndarray, "3"]) -> Float[np.ndarray, "i j k"]:
    metric = grid.affine[:3, :3].T @ grid.affine[:3, :3]
    steps = [np.arange(n, dtype=np.float64) - at for n, at in zip(grid.shape, voxel, strict=True)]
    i, j, k = steps[0][:, None, None], steps[1][None, :, None], steps[2][None, None, :]
    square = metric[0, 0] * i * i + metric[1, 1] * j * j + metric[2, 2] * k * k
    if not grid.is_orthogonal:
        square = square + 2 * (metric[0, 1] * i * j + metric[0, 2] * i * k + metric[1, 2] * j * k)
    return np.asarray(square, dtype=np.float32)
