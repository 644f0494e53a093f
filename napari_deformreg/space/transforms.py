"""Transforms of world points (RAS+ mm) and their inverses.

``fixed_to_moving`` carries fixed points to moving space; images are pulled with it. Moving points need its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import KDTree

from ..errors import InputError
from .grid import Grid

NEWTON_STEPS = 30
"""Newton needs under 6 steps on fields as wild as a maximum of 20 voxels; the rest is for damped ones."""

RESIDUAL_LIMIT_VOX = 0.01
"""A solved point that misses by more than this is flagged."""

RESTART_SAMPLES = 200_000
"""Voxel centers at most among which a point that got stuck looks for a better start; building their tree takes a tenth of a second."""


@runtime_checkable
class Transform(Protocol):
    """Anything that carries world points to world points."""

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to RAS+ mm points."""
        ...


@dataclass(frozen=True, eq=False)
class AffineTransform:
    """x -> A x + t.

    Parameters
    ----------
    matrix : (4, 4) float array
        Homogeneous world-to-world matrix, RAS+ mm on both sides.
    """

    matrix: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
            raise InputError(f"Expected an invertible, finite 4x4 matrix; got {matrix.tolist()}.")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> AffineTransform:
        """Return the transform that moves nothing."""
        return cls(np.eye(4))

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to RAS+ mm points."""
        return np.asarray(points @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def inverse(self) -> AffineTransform:
        """Return the exact inverse."""
        return AffineTransform(np.linalg.inv(self.matrix))


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """x -> x + u(x), with u sampled on a grid and interpolated linearly; outside the grid nothing moves (ITK's rule).

    Parameters
    ----------
    grid : Grid
        Where the vectors lie.
    displacement_mm : (i, j, k, 3) float array
        World vectors (x, y, z) in RAS+ mm.
    """

    grid: Grid
    displacement_mm: Float[np.ndarray, "i j k 3"]

    def __post_init__(self) -> None:
        if self.displacement_mm.shape != (*self.grid.shape, 3):
            raise InputError(f"Expected vectors of shape {(*self.grid.shape, 3)} on this grid; got {self.displacement_mm.shape}.")
        if not np.isfinite(self.displacement_mm).all():
            raise InputError("The displacement field has NaN or infinite vectors; expected finite millimeters.")

    def displacement_at(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Interpolate u (mm) at world points; zero outside the grid's voxel bodies, constant within half a voxel of its rim."""
        return self._interpolate(self.grid.world_to_voxel(points))

    def _interpolate(self, voxels: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        last = np.array(self.grid.shape) - 1
        # ITK's half-open voxel bodies: the lower face belongs to the field, the upper one does not.
        inside = np.asarray(((voxels >= -0.5) & (voxels < last + 0.5)).all(axis=1))
        coordinates = np.clip(voxels, 0, last).T
        out = np.empty((len(voxels), 3))
        for component in range(3):
            ndimage.map_coordinates(self.displacement_mm[..., component], coordinates, order=1, mode="nearest", output=out[:, component])
        out[~inside] = 0
        return out

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to RAS+ mm points."""
        return np.asarray(points + self.displacement_at(points))

    def displacement_gradient_at(self, points: Float[np.ndarray, "n 3"], within_cell: bool = False) -> Float[np.ndarray, "n 3 3"]:
        """Return du/dx at world points (unit-free; row: component, column: world axis).

        Parameters
        ----------
        points : (n, 3) float array
            RAS+ mm.
        within_cell : bool
            The slope of the interpolant itself, which jumps from cell to cell, instead of central differences over two voxels.
        """
        voxels = self.grid.world_to_voxel(points)
        last = np.array(self.grid.shape) - 1
        columns = []
        for axis in range(3):
            if self.grid.shape[axis] == 1:
                columns.append(np.zeros_like(points))
                continue
            ahead, behind = _neighbors(voxels, axis, within_cell)
            ahead, behind = np.clip(ahead, 0, last), np.clip(behind, 0, last)
            span = (ahead - behind)[:, [axis]]
            columns.append((self._interpolate(ahead) - self._interpolate(behind)) / np.maximum(span, 1e-9))
        per_voxel = np.stack(columns, -1)
        return np.asarray(per_voxel @ self.grid.world_to_voxel_matrix[:3, :3])


def _neighbors(voxels: Float[np.ndarray, "n 3"], axis: int, within_cell: bool) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    ahead, behind = voxels.copy(), voxels.copy()
    if within_cell:
        behind[:, axis] = np.floor(voxels[:, axis])
        ahead[:, axis] = behind[:, axis] + 1
    else:
        behind[:, axis] -= 1
        ahead[:, axis] += 1
    return ahead, behind


@dataclass(frozen=True)
class TransformChain:
    """Transforms applied one after the other, the first one first."""

    transforms: tuple[Transform, ...]

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to RAS+ mm points."""
        for transform in self.transforms:
            points = transform.map(points)
        return points


@dataclass(frozen=True, eq=False)
class InversePoints:
    """Points found by solving ``transform(x) = y`` for x.

    Attributes
    ----------
    points : (n, 3) float array
        The solutions x, RAS+ mm.
    residual_mm : (n,) float array
        Distance between ``transform(x)`` and y.
    outside_field : (n,) bool array
        The solution lies outside the displacement field, where nothing but the affine is known.
    """

    points: Float[np.ndarray, "n 3"]
    residual_mm: Float[np.ndarray, "n"]
    outside_field: Bool[np.ndarray, "n"]


def invert_points(
    field: DisplacementField, points: Float[np.ndarray, "n 3"], start: Float[np.ndarray, "n 3"] | None = None, steps: int = NEWTON_STEPS
) -> InversePoints:
    """Solve x + u(x) = y for each y by damped Newton steps on the interpolated field.

    The usual fixed-point iteration diverges where u's gradient exceeds one, which perfectly regular large deformations do; Newton does not.
    A point that gets stuck is tried once more from the voxel center that lands nearest to it.

    Parameters
    ----------
    field : DisplacementField
        u.
    points : (n, 3) float array
        y, RAS+ mm.
    start : (n, 3) float array, optional
        First guess, best from the integrated negative velocity; y - u(y) when left out.
    steps : int
        Newton steps at most.
    """
    target = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    x = np.array(target - field.displacement_at(target) if start is None else start, dtype=np.float64).reshape(-1, 3)
    x, size = _newton(field, target, x, steps)
    stuck = np.flatnonzero(size > RESIDUAL_LIMIT_VOX * field.grid.spacing.min())
    if len(stuck) and steps:
        again, left = _newton(field, target[stuck], _nearest_samples(field, target[stuck]), steps)
        better = left < size[stuck]
        x[stuck[better]], size[stuck[better]] = again[better], left[better]
    return InversePoints(x, size, ~field.grid.contains(x))


def _newton(
    field: DisplacementField, target: Float[np.ndarray, "n 3"], start: Float[np.ndarray, "n 3"], steps: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return the points reached from a start, and by how much they miss (mm)."""
    x = start.copy()
    miss = field.map(x) - target
    size = np.asarray(np.linalg.norm(miss, axis=1))
    limit = 1e-4 * RESIDUAL_LIMIT_VOX * float(field.grid.spacing.min())
    for count in range(steps):
        open_ = size > limit
        if not open_.any():
            break
        # The smooth slope gets across cells, the exact one ends in the right cell; where one of them stalls, the other goes on.
        slope = np.eye(3) + field.displacement_gradient_at(x[open_], within_cell=count % 2 == 1)
        step = np.linalg.solve(_regularized(slope), miss[open_][..., None])[..., 0]
        _line_search(field, target, x, miss, size, np.flatnonzero(open_), step)
    return x, size


def _nearest_samples(field: DisplacementField, target: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return for each target the voxel center that the field carries nearest to it, among evenly spread ones."""
    stride = max(1, int(np.ceil((np.prod(field.grid.shape) / RESTART_SAMPLES) ** (1 / 3))))
    axes = [np.arange(0, n, stride) for n in field.grid.shape]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    centers = field.grid.voxel_to_world(voxels.astype(np.float64))
    carried = centers + field.displacement_mm[tuple(voxels.T)]
    return np.asarray(centers[KDTree(carried).query(target)[1]])


def _regularized(slope: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Replace nearly singular slopes (at a fold) by the identity, so that the step stays finite."""
    bad = np.abs(np.linalg.det(slope)) < 1e-3
    return np.asarray(np.where(bad[:, None, None], np.eye(3), slope))


def _line_search(
    field: DisplacementField,
    target: Float[np.ndarray, "n 3"],
    x: Float[np.ndarray, "n 3"],
    miss: Float[np.ndarray, "n 3"],
    size: Float[np.ndarray, "n"],
    index: np.ndarray,
    step: Float[np.ndarray, "m 3"],
) -> None:
    """Take for each open point the largest of the steps 1, 1/2, 1/4, 1/8 that brings it nearer; changes x, miss and size in place."""
    for scale in (1.0, 0.5, 0.25, 0.125):
        trial = x[index] - scale * step
        trial_miss = field.map(trial) - target[index]
        trial_size = np.linalg.norm(trial_miss, axis=1)
        better = trial_size < size[index]
        done = index[better]
        x[done], miss[done], size[done] = trial[better], trial_miss[better], trial_size[better]
        index, step = index[~better], step[~better]
        if not len(index):
            return
