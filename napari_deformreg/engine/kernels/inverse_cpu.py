"""Compiled kernels that invert a displacement field (numba). Fields are float32 (3, i, j, k) in voxels.

One step takes the inverse displacement w to w - (I + Dw) r, with the residual r(x) = w(x) + u(x + w(x)) of the displacement u:
(I + Du)^-1 at x + w(x) equals I + Dw(x) for the true inverse, so no matrix has to be solved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import between_eight, cell

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _residual_row(i, j, field, inverse, a, b, c):  # type: ignore[no-untyped-def]
    """Fill in the components of w(x) + u(x + w(x)) along a row."""
    ni, nj, nk = inverse.shape[1:]
    size = np.uintp(ni * nj * nk)
    flat = field.reshape(field.size)
    row, plane = np.uintp(nk), np.uintp(nj * nk)
    one = np.float32(1)
    for k in range(nk):
        d0, d1, d2 = inverse[0, i, j, k], inverse[1, i, j, k], inverse[2, i, j, k]
        low_i, di, wi = cell(np.float32(i) + d0, ni)
        low_j, dj, wj = cell(np.float32(j) + d1, nj)
        low_k, dk, wk = cell(np.float32(k) + d2, nk)
        ui, uj, uk = one - wi, one - wj, one - wk
        weights = ui * uj, ui * wj, wi * uj, wi * wj
        p = np.uintp(low_i) * plane + np.uintp(low_j) * row + np.uintp(low_k)
        si, sj, sk = np.uintp(di) * plane, np.uintp(dj) * row, np.uintp(dk)
        a[k] = d0 + between_eight(flat, p, sj, si, sk, weights, uk, wk)
        p += size
        b[k] = d1 + between_eight(flat, p, sj, si, sk, weights, uk, wk)
        p += size
        c[k] = d2 + between_eight(flat, p, sj, si, sk, weights, uk, wk)


@njit(**_JIT)
def _update_row(i, j, inverse, a, b, c, out):  # type: ignore[no-untyped-def]
    """Take the step along a row, given the components of its residual."""
    _, ni, nj, nk = inverse.shape
    im, ip = max(i - 1, 0), min(i + 1, ni - 1)
    jm, jp = max(j - 1, 0), min(j + 1, nj - 1)
    # Along an axis of one voxel both ends are the same, and the slope is 0.
    per_i, per_j, per_k = np.float32(1 / max(ip - im, 1)), np.float32(1 / max(jp - jm, 1)), np.float32(0.5)
    for d in range(3):
        here, back, ahead = inverse[d, i, j], inverse[d, im, j], inverse[d, ip, j]
        left, right, line = inverse[d, i, jm], inverse[d, i, jp], out[d, i, j]
        missing = a if d == 0 else (b if d == 1 else c)
        for k in range(nk):
            line[k] = here[k] - missing[k] - (ahead[k] - back[k]) * per_i * a[k] - (right[k] - left[k]) * per_j * b[k]
        for k in range(nk - 2):
            line[k + 1] -= (here[k + 2] - here[k]) * per_k * c[k + 1]
        if nk > 1:
            line[0] -= (here[1] - here[0]) * c[0]
            line[nk - 1] -= (here[nk - 1] - here[nk - 2]) * c[nk - 1]


@njit(**_JIT)
def _update_slab(first, stop, inverse, residual, out):  # type: ignore[no-untyped-def]
    for i in range(first, stop):
        for j in range(inverse.shape[2]):
            _update_row(i, j, inverse, residual[0, i, j], residual[1, i, j], residual[2, i, j], out)


@njit(**_JIT)
def _step_slab(first, stop, field, inverse, out):  # type: ignore[no-untyped-def]
    """Take the step, unless `out` is empty; returns the sum of the residual's lengths."""
    nj, nk = inverse.shape[2:]
    a, b, c = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    lengths = np.zeros(nk, np.float64)
    for i in range(first, stop):
        for j in range(nj):
            _residual_row(i, j, field, inverse, a, b, c)
            for k in range(nk):
                lengths[k] += np.sqrt(a[k] * a[k] + b[k] * b[k] + c[k] * c[k])
            if out.shape[1] > 0:
                _update_row(i, j, inverse, a, b, c, out)
    return lengths.sum()


def inverse_update(inverse: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return w - (I + Dw) r for a residual that is known."""
    out = np.empty_like(inverse)
    run_slabs(_update_slab, inverse.shape[1], inverse, residual, out)
    return out


def mean_residual(field: np.ndarray, inverse: np.ndarray) -> float:
    """Return the mean length of w(x) + u(x + w(x)), in voxels."""
    return _stepped(field, inverse, np.empty((3, 0, 1, 1), np.float32))


def inverse_step(field: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, float]:
    """Return w - (I + Dw) r and the mean length of r, in voxels, before that step.

    Parameters
    ----------
    field, inverse : (3, i, j, k) arrays
        The displacement u, and the inverse w so far, on one lattice.
    """
    out = np.empty_like(inverse)
    return out, _stepped(field, inverse, out)


def _stepped(field: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> float:
    parts = run_slabs(_step_slab, inverse.shape[1], field, inverse, out)
    return float(sum(parts)) / float(inverse[0].size)
