"""Whether the two directions of a transform belong together, and whether the result still lies in the moving image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Float, Float32
from numba import njit

from ..result import RegistrationResult
from ..space import Grid
from ..space.slabs import run_slabs

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    return cast(_F, njit(nogil=True, cache=True)(function))


@dataclass(frozen=True, eq=False)
class Consistency:
    """Errors at the voxels of a domain, and everywhere as a map.

    Attributes
    ----------
    error_mm : (n,) float array
        |moving_to_fixed(fixed_to_moving(x)) - x| at the domain's voxel centers that stay on the fixed grid; may be empty.
    points : int
        Voxels of the domain.
    outside_moving_percent, outside_moving_before_percent : float
        Share of them that leave the moving image's field of view, by the registration and by the headers alone.
    map_mm : (i, j, k) float32 array
        The error at every voxel of the fixed grid; NaN where it leaves the grid.
    """

    error_mm: Float[np.ndarray, "n"]
    points: int
    outside_moving_percent: float
    outside_moving_before_percent: float
    map_mm: Float32[np.ndarray, "i j k"]


def inverse_consistency(result: RegistrationResult, mask: Bool[np.ndarray, "i j k"], moving_grid: Grid) -> Consistency:
    """Go to moving space and back with the exported fields, from every voxel center of the fixed grid; judge those of a mask."""
    grid, back = result.displacement.grid, result.inverse_displacement
    errors, places = np.empty(grid.shape, dtype=np.float32), np.empty(grid.shape, dtype=np.uint8)
    run_slabs(
        _consistency_kernel, grid.shape[0], result.displacement.displacement_mm, back.displacement_mm,
        _rows(grid.affine), _rows(back.grid.world_to_voxel_matrix), _rows(moving_grid.world_to_voxel_matrix),
        _rows(moving_grid.world_to_voxel_matrix @ result.affine.matrix), np.array(moving_grid.shape), errors, places,
    )  # fmt: skip
    inside, where = errors[mask], places[mask]
    return Consistency(
        error_mm=inside[~np.isnan(inside)],
        points=len(inside),
        outside_moving_percent=100 * float(np.mean(where & _OUTSIDE > 0)),
        outside_moving_before_percent=100 * float(np.mean(where & _OUTSIDE_BEFORE > 0)),
        map_mm=errors,
    )


_OUTSIDE, _OUTSIDE_BEFORE = 1, 2


def _rows(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix[:3], dtype=np.float64)


@_compiled
def _applied(matrix: Any, x: float, y: float, z: float) -> Any:
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3],
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3],
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3],
    )


@_compiled
def _within(voxel: Any, shape: Any) -> Any:
    """Tell whether a position lies in the voxel bodies, as `Grid.contains`."""
    inside = True
    for axis in range(3):
        inside = inside and -0.5 <= voxel[axis] <= shape[axis] - 0.5
    return inside


@_compiled
def _split(position: float, length: int) -> Any:
    """Give the voxels on both sides of a position along an axis, and the share of the upper one; clamped to the outer centers."""
    position = min(max(position, 0.0), length - 1.0)
    lower = int(position)
    return lower, min(lower + 1, length - 1), position - lower


@_compiled
def _vector_at(field: Any, voxel: Any) -> Any:
    """Interpolate a vector linearly; beyond the outer voxel centers it stays as there."""
    i0, i1, s = _split(voxel[0], field.shape[0])
    j0, j1, t = _split(voxel[1], field.shape[1])
    k0, k1, r = _split(voxel[2], field.shape[2])
    x, y, z = 0.0, 0.0, 0.0
    for corner in range(8):
        i, weight = (i1, s) if corner & 1 else (i0, 1.0 - s)
        j, share = (j1, t) if corner & 2 else (j0, 1.0 - t)
        k, part = (k1, r) if corner & 4 else (k0, 1.0 - r)
        weight = weight * share * part
        x += weight * field[i, j, k, 0]
        y += weight * field[i, j, k, 1]
        z += weight * field[i, j, k, 2]
    return x, y, z


@_compiled
def _consistency_kernel(
    first: int, stop: int, there: Any, back: Any, to_world: Any, to_back: Any, to_moving: Any, carried: Any, moving_shape: Any,
    errors: Any, places: Any,
) -> None:  # fmt: skip
    for i in range(first, stop):
        for j in range(there.shape[1]):
            for k in range(there.shape[2]):
                x, y, z = _applied(to_world, i, j, k)
                u, v, w = float(there[i, j, k, 0]), float(there[i, j, k, 1]), float(there[i, j, k, 2])
                before = _within(_applied(to_moving, x, y, z), moving_shape)
                after = _within(_applied(carried, x + u, y + v, z + w), moving_shape)
                places[i, j, k] = (0 if after else 1) + (0 if before else 2)
                voxel = _applied(to_back, x + u, y + v, z + w)
                if not _within(voxel, back.shape):
                    errors[i, j, k] = np.nan
                    continue
                p, q, r = _vector_at(back, voxel)
                errors[i, j, k] = np.sqrt((u + p) ** 2 + (v + q) ** 2 + (w + r) ** 2)
