"""Resampling of sheared images (tilted gantry) onto the nearest orthogonal grid."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy import ndimage

from ..space import Grid

PERPENDICULAR = 1e-3
"""Cosine below which two axes count as perpendicular; the same bound as `Grid.is_orthogonal`."""


def orthogonal_grid(grid: Grid) -> Grid:
    """Return an orthogonal grid near a sheared one that covers its whole field of view (voxel bodies).

    Where two axes are perpendicular, the finest such plane is kept as it is and the third axis becomes its normal: with a tilted gantry
    every output slice then lies on an input slice. Otherwise the axes turn to the nearest orthogonal ones (polar decomposition).
    """
    direction, spacing = _orthogonal_axes(grid)
    bodies = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    along = grid.voxel_to_world(bodies) @ direction
    low, high = along.min(axis=0), along.max(axis=0)
    # A hundredth of a voxel of slack, so that rounding does not add a slice.
    counts = np.maximum(np.ceil((high - low) / spacing - 0.01), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = direction @ ((low + high) / 2 - (counts - 1) / 2 * spacing)
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)


def _orthogonal_axes(grid: Grid) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    unit, spacing = grid.direction, grid.spacing
    pairs = [pair for pair in combinations(range(3), 2) if abs(unit[:, pair[0]] @ unit[:, pair[1]]) < PERPENDICULAR]
    if not pairs:
        left, _, right = np.linalg.svd(unit)
        return np.asarray(left @ right), spacing
    first, second = min(pairs, key=lambda pair: float(spacing[pair[0]] * spacing[pair[1]]))
    third = 3 - first - second
    direction = np.empty((3, 3))
    direction[:, first] = unit[:, first]
    in_plane = unit[:, second] - unit[:, first] * (unit[:, first] @ unit[:, second])
    direction[:, second] = in_plane / np.linalg.norm(in_plane)
    normal = np.cross(direction[:, first], direction[:, second])
    cosine = float(normal @ unit[:, third])
    direction[:, third] = normal * np.sign(cosine)
    spacing = spacing.copy()
    spacing[third] *= abs(cosine)
    return direction, spacing


def resample_linear(data: Float[np.ndarray, "i j k"], grid: Grid, onto: Grid, fill: float) -> Float[np.ndarray, "a b c"]:
    """Interpolate linearly on another grid of the same world; `fill` beyond the old field of view."""
    return np.asarray(_resample(data, grid, onto, fill, order=1))


def resample_nearest(data: Integer[np.ndarray, "i j k"], grid: Grid, onto: Grid, fill: int) -> Integer[np.ndarray, "a b c"]:
    """Take the nearest voxel on another grid of the same world; `fill` beyond the old field of view."""
    return np.asarray(_resample(data, grid, onto, fill, order=0))


def _resample(data: Shaped[np.ndarray, "i j k"], grid: Grid, onto: Grid, fill: float, order: int) -> Shaped[np.ndarray, "a b c"]:
    matrix = grid.world_to_voxel_matrix @ onto.affine
    out = ndimage.affine_transform(data, matrix[:3, :3], matrix[:3, 3], output_shape=onto.shape, order=order, mode="nearest")
    out[~_inside(matrix, grid.shape, onto.shape)] = fill
    return np.asarray(out)


def _inside(matrix: Float[np.ndarray, "4 4"], shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Bool[np.ndarray, "a b c"]:
    i, j, k = np.ogrid[: out_shape[0], : out_shape[1], : out_shape[2]]
    inside = np.ones(out_shape, dtype=bool)
    for axis in range(3):
        voxel = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
        inside &= (voxel > -0.5 - 1e-6) & (voxel < shape[axis] - 0.5 + 1e-6)
    return inside
