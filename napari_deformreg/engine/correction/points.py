"""The whole registration replaced by a fit through the landmark pairs alone, told as one more correction of the present one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ...result import RegistrationResult
from ...space import AffineTransform, DisplacementField, Grid
from ...space.jacobian import displacement_mm_to_vox
from ..kernels import cpu


def before_affine(
    wanted: RegistrationResult, affine: AffineTransform
) -> tuple[Float[np.ndarray, "3 i j k"], Float[np.ndarray, "3 i j k"]]:
    """Return the displacement, and that of its inverse, which before a given affine does what another registration does.

    With affine A, wanted W o (x + w) and M = A^-1 W: u(x) = M(x + w(x)) - x, and its inverse carries y to z + w'(z) with z = M^-1 y.

    Returns
    -------
    forward, backward
        In voxels of the fixed grid.
    """
    grid = wanted.displacement.grid
    to_voxels, to_world = _matrix(grid.world_to_voxel_matrix), _matrix(grid.affine)
    both = to_voxels @ affine.inverse().matrix @ wanted.affine.matrix @ to_world
    # Whole fields as one matrix product each: M(x + w) - x = (M - 1) x + m w.
    forward = _lattice(both - np.eye(4), grid) + np.einsum("ab,bijk->aijk", both[:3, :3].astype(np.float32), _voxels(wanted.displacement))
    backward = cpu.compose(_voxels(wanted.inverse_displacement), _lattice(np.linalg.inv(both) - np.eye(4), grid))
    return np.ascontiguousarray(forward), backward


def _matrix(matrix: np.ndarray) -> Float[np.ndarray, "4 4"]:
    return np.asarray(matrix, dtype=np.float64)


def _voxels(field: DisplacementField) -> Float[np.ndarray, "3 i j k"]:
    vectors = displacement_mm_to_vox(field.displacement_mm, field.grid)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=np.float32)


def _lattice(matrix: Float[np.ndarray, "4 4"], grid: Grid) -> Float[np.ndarray, "3 i j k"]:
    """Return what a matrix makes of every voxel index."""
    i, j, k = (np.arange(n, dtype=np.float32) for n in grid.shape)
    m = matrix.astype(np.float32)
    rows = [m[a, 0] * i[:, None, None] + m[a, 1] * j[None, :, None] + m[a, 2] * k[None, None, :] + m[a, 3] for a in range(3)]
    return np.ascontiguousarray(np.stack(rows), dtype=np.float32)
