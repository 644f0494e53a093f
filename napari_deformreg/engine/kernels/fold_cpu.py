"""Compiled kernels against folds: push single determinants over a margin by the smallest change of the field.

They work on the few voxels that fold and run on the CPU for either device. Fields are float32 (3, i, j, k) in voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}


def corner_offsets(axes: tuple[int, ...]) -> np.ndarray:
    """Offsets (n, axes, 3) whose edge vectors span each determinant of the digital test, in an order that gives the identity plus."""
    rows = []
    for signs in np.ndindex(*([2] * len(axes))):
        corner = np.zeros((len(axes), 3), np.int64)
        for row, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            corner[row, axis] = 1 - 2 * sign
        rows.append(corner)
    if len(axes) == 3:
        rows.append(np.array([(-1, -1, 0), (-1, 0, -1), (0, -1, -1)]))
        rows.append(np.array([(1, 1, 0), (0, 1, 1), (1, 0, 1)]))
    return np.stack(rows)


@njit(**_JIT)
def _edge(field, voxel, offset, axes, vector, source):  # type: ignore[no-untyped-def]
    """Edge vector phi(voxel + offset) - phi(voxel) along the active axes; beyond the rim the displacement is that of the rim."""
    for d in range(3):
        n = field.shape[d + 1]
        source[d] = min(max(voxel[d] + offset[d], 0), n - 1)
    for row in range(len(axes)):
        a = axes[row]
        vector[row] = offset[a] + field[a, source[0], source[1], source[2]] - field[a, voxel[0], voxel[1], voxel[2]]


@njit(**_JIT)
def _determinant_and_cofactors(m, cofactors):  # type: ignore[no-untyped-def]
    """Return the determinant of the 2x2 or 3x3 matrix m and fill in its derivative by each entry."""
    if m.shape[0] == 2:
        cofactors[0, 0], cofactors[0, 1] = m[1, 1], -m[1, 0]
        cofactors[1, 0], cofactors[1, 1] = -m[0, 1], m[0, 0]
        return m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    for r in range(3):
        for c in range(3):
            r1, r2, c1, c2 = (r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3
            cofactors[r, c] = m[r1, c1] * m[r2, c2] - m[r1, c2] * m[r2, c1]
    return m[0, 0] * cofactors[0, 0] + m[0, 1] * cofactors[0, 1] + m[0, 2] * cofactors[0, 2]


@njit(**_JIT)
def _push(field, voxel, corner, axes, sign, identity, target, relax):  # type: ignore[no-untyped-def]
    """Raise one determinant to the target by the smallest change of the displacements it hangs on; returns how far it was below."""
    size = len(axes)
    m = np.empty((size, size))
    cofactors = np.empty((size, size))
    vector = np.empty(size)
    source = np.empty((size, 3), np.int64)
    for column in range(size):
        _edge(field, voxel, corner[column], axes, vector, source[column])
        for row in range(size):
            m[column, row] = vector[row]
    det = sign * _determinant_and_cofactors(m, cofactors) / identity
    if det >= target:
        return 0.0
    squared = 0.0
    for row in range(size):
        center = 0.0
        for column in range(size):
            squared += cofactors[column, row] ** 2
            center += cofactors[column, row]
        squared += center**2
    squared /= identity**2
    # A collapsed cell has no direction to go; the cap keeps a nearly collapsed one from being thrown far away.
    step = relax * (target - det) / max(squared, 0.05)
    for column in range(size):
        s = source[column]
        for row in range(size):
            change = step * sign * cofactors[column, row] / identity
            field[axes[row], s[0], s[1], s[2]] += change
            field[axes[row], voxel[0], voxel[1], voxel[2]] -= change
    return target - det


@njit(**_JIT)
def _push_all(field, voxels, corners, axes, signs, identities, target, relax):  # type: ignore[no-untyped-def]
    worst = 0.0
    for index in range(voxels.shape[0]):
        for which in range(corners.shape[0]):
            short = _push(field, voxels[index], corners[which], axes, signs[which], identities[which], target, relax)
            worst = max(worst, short)
    return worst


def push_folds(field: np.ndarray, voxels: np.ndarray, target: float, relax: float = 1.0) -> float:
    """Go once over the given voxels and raise every determinant below the target by the smallest change of the field, in place.

    One pass of Kaczmarz's projection on the linearized constraints.

    Parameters
    ----------
    field : (3, i, j, k) float32 array
        Displacement in voxels; changed in place.
    voxels : (n, 3) int array
        Where to look.
    target : float
        Smallest determinant wanted (identity: 1).
    relax : float
        Part of the correction that is made.

    Returns
    -------
    float
        By how much the worst determinant was below the target before it was raised.
    """
    return float(_push_all(field, _as_list(voxels), *_corners(field), float(target), float(relax)))


@njit(**_JIT)
def _mark_all(mask, voxels, steps):  # type: ignore[no-untyped-def]
    ni, nj, nk = mask.shape
    for index in range(voxels.shape[0]):
        for step in range(steps.shape[0]):
            i, j, k = voxels[index, 0] + steps[step, 0], voxels[index, 1] + steps[step, 1], voxels[index, 2] + steps[step, 2]
            if 0 <= i < ni and 0 <= j < nj and 0 <= k < nk:
                mask[i, j, k] = True


def mark_steps(mask: np.ndarray, voxels: np.ndarray, steps: np.ndarray) -> None:
    """Set a mask, in place, at all voxels that are some step away from any of the given ones, as far as they lie in it."""
    _mark_all(mask, _as_list(voxels), _as_list(steps))


def _as_list(voxels: np.ndarray) -> np.ndarray:
    """Return voxels in one layout, whatever numpy's own is: a kernel is compiled for each, which takes seconds."""
    return np.ascontiguousarray(voxels, dtype=np.int64)


@njit(**_JIT)
def _smallest_all(first, stop, field, voxels, corners, axes, signs, identities, out):  # type: ignore[no-untyped-def]
    size = len(axes)
    m = np.empty((size, size))
    cofactors = np.empty((size, size))
    source = np.empty(3, np.int64)
    for index in range(first, stop):
        smallest = np.inf
        for which in range(corners.shape[0]):
            for column in range(size):
                _edge(field, voxels[index], corners[which, column], axes, m[column], source)
            smallest = min(smallest, signs[which] * _determinant_and_cofactors(m, cofactors) / identities[which])
        out[index] = smallest


def smallest_determinants(field: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Return the smallest determinant of the digital test (identity: 1) at each of the given voxels.

    Parameters
    ----------
    field : (3, i, j, k) float32 array
        Displacement in voxels.
    voxels : (n, 3) int array
        Where to look.
    """
    out = np.empty(len(voxels))
    run_slabs(_smallest_all, len(voxels), field, _as_list(voxels), *_corners(field), out)
    return out


def _corners(field: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the determinants' offsets, the active axes, and each determinant's sign and size for the identity."""
    axes = tuple(d for d in range(3) if field.shape[d + 1] > 1)
    corners = corner_offsets(axes)
    determinants = np.array([np.linalg.det(corner[:, list(axes)].astype(float)) for corner in corners])
    return corners, np.array(axes), np.sign(determinants), np.abs(determinants)
