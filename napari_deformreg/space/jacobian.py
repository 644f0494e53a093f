"""Jacobian determinants of phi(x) = x + u(x) on a voxel lattice, and the digital test for folds.

Everything here works in voxels of one grid: scaling the axes changes no determinant, and the sign is what tells a fold.

The central-difference determinant does not look at the voxel itself and can be 1 where the map folds. The digital test does not have that
blind spot: a voxel passes when all ten determinants around it are positive, that is when the map, taken as linear on the tetrahedra between
voxel centers, keeps its orientation. Between voxel centers a trilinear map may still differ from it; hence the word *digital*.

References
----------
Liu, Chen, Wei, Carass, Prince: On Finite Difference Jacobian Computation in Deformable Image Registration. IJCV 2024,
doi 10.1007/s11263-024-02047-1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Float, Float32
from numba import njit

from ..errors import InputError
from . import planar_folds
from .grid import Grid
from .slabs import run_slabs

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    return cast(_F, njit(nogil=True, cache=True, error_model="numpy")(function))


def digital_fold_mask(displacement_vox: Float[np.ndarray, "i j k 3"], margin: float = 0.0) -> Bool[np.ndarray, "i j k"]:
    """Mark the voxels where the map folds by the digital test, on the whole grid.

    Beyond the rim the displacement is continued by its rim value, so that rim voxels are tested too.

    Parameters
    ----------
    displacement_vox : (i, j, k, 3) float array
        u in voxels. With one axis of length 1 the test is two-dimensional (four one-sided determinants) in the other two.
    margin : float
        A voxel is marked where the smallest determinant (identity: 1) is not greater than this; folds are at 0.

    Raises
    ------
    InputError
        If the array is no vector field on a 2-D or 3-D lattice, or not finite.
    """
    planes = planar_folds.as_planes(displacement_vox)
    if planes is not None:
        low, total = planar_folds.low_determinants(planes, margin)
        _check_finite(total)
        return low
    u = _prepared(displacement_vox)
    out = np.empty(u.shape[:-1], dtype=np.bool_)
    run_slabs(_fold_kernel_3d if u.ndim == 4 else _fold_kernel_2d, u.shape[0], u, float(margin), out)
    return out.reshape(displacement_vox.shape[:3])


def digital_minimum(displacement_vox: Float[np.ndarray, "i j k 3"]) -> Float32[np.ndarray, "i j k"]:
    """Give at each voxel the smallest of the ten (2-D: four) determinants; the identity has 1 everywhere, a fold 0 or less.

    The two star determinants, whose identity value is 2, are halved. The rim is treated as in `digital_fold_mask`.
    """
    planes = planar_folds.as_planes(displacement_vox)
    if planes is None:
        return _on_lattice(displacement_vox, _minimum_kernel_3d, _minimum_kernel_2d)
    smallest, total = planar_folds.smallest_determinants(planes)
    _check_finite(total)
    return smallest


def ndv(displacement_vox: Float[np.ndarray, "i j k 3"]) -> Float32[np.ndarray, "i j k"]:
    """Give at each voxel its non-diffeomorphic volume in voxels: sum over the ten of -min(J, 0) / 12 (2-D area: over the four, / 4).

    Its sum over a mask, divided by the mask's voxels, is the NDV percentage of the LUMIR challenge. The rim is treated as in
    `digital_fold_mask`.
    """
    return _on_lattice(displacement_vox, _ndv_kernel_3d, _ndv_kernel_2d)


def central_determinant(displacement_vox: Float[np.ndarray, "i j k 3"]) -> Float32[np.ndarray, "i j k"]:
    """Give at each voxel the determinant from central differences, one-sided at the rim (as `numpy.gradient`)."""
    return _on_lattice(displacement_vox, _central_kernel_3d, _central_kernel_2d)


def displacement_mm_to_vox(displacement_mm: Float[np.ndarray, "i j k 3"], grid: Grid) -> Float32[np.ndarray, "i j k 3"]:
    """Turn world vectors in mm (x, y, z) into vectors in voxels of `grid` (i, j, k)."""
    return _mapped(displacement_mm, grid.world_to_voxel_matrix[:3, :3])


def displacement_vox_to_mm(displacement_vox: Float[np.ndarray, "i j k 3"], grid: Grid) -> Float32[np.ndarray, "i j k 3"]:
    """Turn vectors in voxels of `grid` (i, j, k) into world vectors in mm (x, y, z)."""
    return _mapped(displacement_vox, grid.affine[:3, :3])


def _prepared(displacement_vox: Float[np.ndarray, "i j k 3"]) -> np.ndarray:
    """Check, make contiguous and drop a single-voxel axis with its component."""
    u = np.asarray(displacement_vox)
    if u.ndim != 4 or u.shape[3] != 3 or sum(n > 1 for n in u.shape[:3]) < 2:
        raise InputError(f"Expected vectors (i, j, k, 3) on a lattice with at most one axis of a single voxel; got shape {u.shape}.")
    axes = [axis for axis in range(3) if u.shape[axis] > 1]
    if len(axes) == 2:
        u = u.reshape(u.shape[axes[0]], u.shape[axes[1]], 3)[..., axes]
    u = np.ascontiguousarray(u, dtype=np.float32 if u.dtype == np.float32 else np.float64)
    _check_finite(float(u.sum(dtype=np.float64)))
    return u


def _check_finite(total: float) -> None:
    """Refuse a field by its sum: one NaN or infinity makes that NaN or infinite; cheaper than testing each of millions of numbers."""
    if not np.isfinite(total):
        raise InputError("The displacement has NaN or infinite vectors; expected finite voxels.")


def _on_lattice(displacement_vox: Float[np.ndarray, "i j k 3"], kernel_3d: Any, kernel_2d: Any) -> Float32[np.ndarray, "i j k"]:
    u = _prepared(displacement_vox)
    out = np.empty(u.shape[:-1], dtype=np.float32)
    run_slabs(kernel_3d if u.ndim == 4 else kernel_2d, u.shape[0], u, out)
    return out.reshape(displacement_vox.shape[:3])


def _mapped(vectors: Float[np.ndarray, "i j k 3"], matrix: Float[np.ndarray, "3 3"]) -> Float32[np.ndarray, "i j k 3"]:
    """Map every vector; the result is contiguous, however the given ones lie in memory (turned, or component by component)."""
    out = np.empty(vectors.shape, dtype=np.float32)
    matrix = np.ascontiguousarray(matrix, dtype=np.float64)
    if vectors.flags.c_contiguous:
        run_slabs(_linear_kernel, out.size // 3, vectors.reshape(-1, 3), matrix, out.reshape(-1, 3))
    else:
        run_slabs(_strided_linear_kernel, len(out), vectors, matrix, out)
    return out


@_compiled
def _linear_kernel(first: int, stop: int, vectors: Any, matrix: Any, out: Any) -> None:
    for n in range(first, stop):
        x, y, z = vectors[n, 0], vectors[n, 1], vectors[n, 2]
        for row in range(3):
            out[n, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z


_PLANES = 16  # numbers of a line of the cache: whichever axis lies densely in memory, a line is used up before it is given away


@_compiled
def _strided_linear_kernel(first: int, stop: int, vectors: Any, matrix: Any, out: Any) -> None:
    nj, nk = out.shape[1:3]
    for block in range(first, stop, _PLANES):
        for j in range(nj):
            for i in range(block, min(block + _PLANES, stop)):
                for k in range(nk):
                    x, y, z = vectors[i, j, k, 0], vectors[i, j, k, 1], vectors[i, j, k, 2]
                    for row in range(3):
                        out[i, j, k, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z


@_compiled
def _determinant(a: Any, b: Any, c: Any) -> Any:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@_compiled
def _step(u: Any, i: int, j: int, k: int, x: int, y: int, z: int, sign: float) -> Any:
    """Give sign * (u(x, y, z) - u(i, j, k)) in float64."""
    a = np.float64(u[x, y, z, 0]) - np.float64(u[i, j, k, 0])
    b = np.float64(u[x, y, z, 1]) - np.float64(u[i, j, k, 1])
    c = np.float64(u[x, y, z, 2]) - np.float64(u[i, j, k, 2])
    return sign * a, sign * b, sign * c


@_compiled
def _plus(vector: Any, x: float, y: float, z: float) -> Any:
    return vector[0] + x, vector[1] + y, vector[2] + z


@_compiled
def _ten(u: Any, i: int, j: int, k: int) -> Any:
    """Give the ten determinants at a voxel, the star ones last (identity: eight times 1, twice 2)."""
    ni, nj, nk = u.shape[0], u.shape[1], u.shape[2]
    im, ip = max(i - 1, 0), min(i + 1, ni - 1)
    jm, jp = max(j - 1, 0), min(j + 1, nj - 1)
    km, kp = max(k - 1, 0), min(k + 1, nk - 1)
    ap, am = _plus(_step(u, i, j, k, ip, j, k, 1.0), 1.0, 0.0, 0.0), _plus(_step(u, i, j, k, im, j, k, -1.0), 1.0, 0.0, 0.0)
    bp, bm = _plus(_step(u, i, j, k, i, jp, k, 1.0), 0.0, 1.0, 0.0), _plus(_step(u, i, j, k, i, jm, k, -1.0), 0.0, 1.0, 0.0)
    cp, cm = _plus(_step(u, i, j, k, i, j, kp, 1.0), 0.0, 0.0, 1.0), _plus(_step(u, i, j, k, i, j, km, -1.0), 0.0, 0.0, 1.0)
    behind = _determinant(
        _plus(_step(u, i, j, k, im, jm, k, 1.0), -1.0, -1.0, 0.0),
        _plus(_step(u, i, j, k, im, j, km, 1.0), -1.0, 0.0, -1.0),
        _plus(_step(u, i, j, k, i, jm, km, 1.0), 0.0, -1.0, -1.0),
    )
    ahead = _determinant(
        _plus(_step(u, i, j, k, ip, jp, k, 1.0), 1.0, 1.0, 0.0),
        _plus(_step(u, i, j, k, i, jp, kp, 1.0), 0.0, 1.0, 1.0),
        _plus(_step(u, i, j, k, ip, j, kp, 1.0), 1.0, 0.0, 1.0),
    )
    return (
        _determinant(ap, bp, cp), _determinant(ap, bp, cm), _determinant(ap, bm, cp), _determinant(ap, bm, cm),
        _determinant(am, bp, cp), _determinant(am, bp, cm), _determinant(am, bm, cp), _determinant(am, bm, cm),
        behind, ahead,
    )  # fmt: skip


@_compiled
def _smallest_3d(u: Any, i: int, j: int, k: int) -> Any:
    ten = _ten(u, i, j, k)
    smallest = min(0.5 * ten[8], 0.5 * ten[9])
    for n in range(8):
        smallest = min(smallest, ten[n])
    return smallest


@_compiled
def _four(u: Any, i: int, j: int) -> Any:
    """Give the four one-sided determinants at a pixel."""
    im, ip = max(i - 1, 0), min(i + 1, u.shape[0] - 1)
    jm, jp = max(j - 1, 0), min(j + 1, u.shape[1] - 1)
    x, y = np.float64(u[i, j, 0]), np.float64(u[i, j, 1])
    apx, apy = 1.0 + u[ip, j, 0] - x, u[ip, j, 1] - y
    amx, amy = 1.0 + x - u[im, j, 0], y - u[im, j, 1]
    bpx, bpy = u[i, jp, 0] - x, 1.0 + u[i, jp, 1] - y
    bmx, bmy = x - u[i, jm, 0], 1.0 + y - u[i, jm, 1]
    return apx * bpy - apy * bpx, apx * bmy - apy * bmx, amx * bpy - amy * bpx, amx * bmy - amy * bmx


@_compiled
def _fold_kernel_3d(first: int, stop: int, u: Any, margin: float, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            for k in range(u.shape[2]):
                out[i, j, k] = _smallest_3d(u, i, j, k) <= margin


@_compiled
def _fold_kernel_2d(first: int, stop: int, u: Any, margin: float, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            out[i, j] = min(_four(u, i, j)) <= margin


@_compiled
def _minimum_kernel_3d(first: int, stop: int, u: Any, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            for k in range(u.shape[2]):
                out[i, j, k] = _smallest_3d(u, i, j, k)


@_compiled
def _minimum_kernel_2d(first: int, stop: int, u: Any, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            out[i, j] = min(_four(u, i, j))


@_compiled
def _ndv_kernel_3d(first: int, stop: int, u: Any, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            for k in range(u.shape[2]):
                total = 0.0
                for value in _ten(u, i, j, k):
                    total -= min(value, 0.0)
                out[i, j, k] = total / 12.0


@_compiled
def _ndv_kernel_2d(first: int, stop: int, u: Any, out: Any) -> None:
    for i in range(first, stop):
        for j in range(u.shape[1]):
            total = 0.0
            for value in _four(u, i, j):
                total -= min(value, 0.0)
            out[i, j] = total / 4.0


@_compiled
def _slope(u: Any, i: int, j: int, k: int, x: int, y: int, z: int, span: int) -> Any:
    """Give (u(i, j, k) - u(x, y, z)) / span in float64."""
    scale = 1.0 / max(span, 1)
    return _step(u, x, y, z, i, j, k, scale)


@_compiled
def _central_kernel_3d(first: int, stop: int, u: Any, out: Any) -> None:
    ni, nj, nk = u.shape[0], u.shape[1], u.shape[2]
    for i in range(first, stop):
        im, ip = max(i - 1, 0), min(i + 1, ni - 1)
        for j in range(nj):
            jm, jp = max(j - 1, 0), min(j + 1, nj - 1)
            for k in range(nk):
                km, kp = max(k - 1, 0), min(k + 1, nk - 1)
                a = _plus(_slope(u, ip, j, k, im, j, k, ip - im), 1.0, 0.0, 0.0)
                b = _plus(_slope(u, i, jp, k, i, jm, k, jp - jm), 0.0, 1.0, 0.0)
                c = _plus(_slope(u, i, j, kp, i, j, km, kp - km), 0.0, 0.0, 1.0)
                out[i, j, k] = _determinant(a, b, c)


@_compiled
def _central_kernel_2d(first: int, stop: int, u: Any, out: Any) -> None:
    ni, nj = u.shape[0], u.shape[1]
    for i in range(first, stop):
        im, ip = max(i - 1, 0), min(i + 1, ni - 1)
        for j in range(nj):
            jm, jp = max(j - 1, 0), min(j + 1, nj - 1)
            di, dj = 1.0 / (ip - im), 1.0 / (jp - jm)
            ax, ay = 1.0 + di * (np.float64(u[ip, j, 0]) - u[im, j, 0]), di * (np.float64(u[ip, j, 1]) - u[im, j, 1])
            bx, by = dj * (np.float64(u[i, jp, 0]) - u[i, jm, 0]), 1.0 + dj * (np.float64(u[i, jp, 1]) - u[i, jm, 1])
            out[i, j] = ax * by - ay * bx
