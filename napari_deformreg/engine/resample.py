"""Pulling images and labels through any transform, by ITK's rules, so that other tools reproduce the same voxels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int32, Integer
from scipy import ndimage

from ..space import DisplacementField, Grid, LabelMap, Transform, TransformChain, Volume

_SLAB_POINTS = 400_000
"""Points mapped at a time: keeps the float64 temporaries near 50 MB."""


def default_background(volume: Volume) -> float:
    """Choose what lies outside the field of view: 0, or the smallest intensity where that is below 0 (air in CT)."""
    return min(0.0, float(volume.data.min()))


def resample(volume: Volume, grid: Grid, transform: Transform, *, background: float | None = None) -> Volume:
    """Pull a volume onto a grid: out(x) = volume(transform(x)), linear.

    Parameters
    ----------
    volume : Volume
        What is sampled.
    grid : Grid
        Where the result lies.
    transform : Transform
        Carries points of `grid`'s world to points of the volume's world (for the moving image: fixed_to_moving).
    background : float, optional
        Value outside the volume's voxel bodies; `default_background` when left out.
    """
    fill = default_background(volume) if background is None else background
    out = np.empty(grid.shape, np.float32)
    last = np.array(volume.grid.shape) - 1
    for rows, voxels in _mapped_voxels(volume.grid, grid, transform):
        values = ndimage.map_coordinates(volume.data, np.clip(voxels, 0, last).T, order=1, mode="nearest", output=np.float32)
        values[~_inside(voxels, last)] = fill
        out[rows] = values.reshape(out[rows].shape)
    return Volume(out, grid, volume.name)


def resample_labels(labels: LabelMap, grid: Grid, transform: Transform) -> LabelMap:
    """Pull labels onto a grid, nearest neighbor (halves rounded up, as ITK does); 0 outside."""
    out = labels_at(labels.data, nearest_voxels(labels.grid, grid, transform)).astype(np.int32, copy=False)
    return LabelMap(out, grid, labels.name, labels.label_names)


def nearest_voxels(sampled: Grid, grid: Grid, transform: Transform) -> Int32[np.ndarray, "i j k"]:
    """Tell which voxel of the sampled grid each voxel of a grid shows: its number in C order, -1 outside.

    Who keeps it can resample labels again in no time as they are painted.
    """
    out = np.empty(grid.shape, np.int32)
    last = np.array(sampled.shape) - 1
    for rows, voxels in _mapped_voxels(sampled, grid, transform):
        nearest = np.clip(np.floor(voxels + 0.5), 0, last).astype(np.intp)
        numbers = np.ravel_multi_index(tuple(nearest.T), sampled.shape)
        numbers[~_inside(voxels, last)] = -1
        out[rows] = numbers.reshape(out[rows].shape)
    return out


def labels_at(labels: Integer[np.ndarray, "a b c"], numbers: Int32[np.ndarray, "i j k"]) -> Integer[np.ndarray, "i j k"]:
    """Return the labels of numbered voxels; 0 where there is none."""
    out: Integer[np.ndarray, "i j k"] = labels.reshape(-1)[np.maximum(numbers, 0)]
    out[numbers < 0] = 0
    return out


def _inside(voxels: Float[np.ndarray, "n 3"], last: np.ndarray) -> np.ndarray:
    """Tell which positions lie in the image's voxel bodies (half open as ITK's, with a tolerance for rounding at the rim)."""
    return np.asarray(((voxels >= -0.5 - 1e-6) & (voxels < last + 0.5 + 1e-6)).all(axis=1))


def _mapped_voxels(sampled: Grid, grid: Grid, transform: Transform) -> Iterator[tuple[slice, Float[np.ndarray, "n 3"]]]:
    """Yield, slab by slab, where the grid's voxels land in the sampled image (continuous voxel indices)."""
    per_slab = max(1, _SLAB_POINTS // (grid.shape[1] * grid.shape[2]))
    for first in range(0, grid.shape[0], per_slab):
        rows = slice(first, min(first + per_slab, grid.shape[0]))
        slab = Grid((rows.stop - first, grid.shape[1], grid.shape[2]), _shifted(grid, first))
        points = slab.voxel_to_world(slab.voxel_indices())
        yield rows, sampled.world_to_voxel(_map_slab(points, rows, grid, transform))


def _shifted(grid: Grid, first: int) -> np.ndarray:
    affine = grid.affine.copy()
    affine[:3, 3] += first * affine[:3, 0]
    return affine


def _map_slab(points: Float[np.ndarray, "n 3"], rows: slice, grid: Grid, transform: Transform) -> Float[np.ndarray, "n 3"]:
    """Map grid points; a displacement that lies on this very grid is read off instead of interpolated."""
    chain = transform.transforms if isinstance(transform, TransformChain) else (transform,)
    for part in chain:
        if isinstance(part, DisplacementField) and part.grid == grid and part is chain[0]:
            points = points + part.displacement_mm[rows].reshape(-1, 3)
        else:
            points = part.map(points)
    return points
