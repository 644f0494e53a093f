"""What the optimizer asks of a whole field in each step, in one pass over it (numba)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _longest_slab(first, stop, field):  # type: ignore[no-untyped-def]
    _, _, nj, nk = field.shape
    longest = np.float32(0)
    for i in range(first, stop):
        for j in range(nj):
            row = np.float32(0)
            for k in range(nk):
                a, b, c = field[0, i, j, k], field[1, i, j, k], field[2, i, j, k]
                row = max(row, a * a + b * b + c * c)
            longest = max(longest, row)
    return longest


def longest(field: np.ndarray) -> float:
    """Return the length of the longest vector of a (3, i, j, k) field."""
    square: float = max(run_slabs(_longest_slab, field.shape[1], field))
    return math.sqrt(square)


@njit(inline="always", **_JIT)
def _cost(slope, corner):  # type: ignore[no-untyped-def]
    """Give the square where the corner is 0, else the absolute value with its corner rounded off."""
    return slope * slope if corner == 0 else math.sqrt(slope * slope + corner * corner) - corner


@njit(inline="always", **_JIT)
def _pull(slope, corner):  # type: ignore[no-untyped-def]
    return slope + slope if corner == 0 else slope / math.sqrt(slope * slope + corner * corner)


@njit(**_JIT)
def _diffusion_slab(first, stop, field, ratios, corner, scale, out):  # type: ignore[no-untyped-def]
    """Write the derivative of the summed cost of all forward differences; returns the sum of those that begin in the range."""
    count, ni, nj, nk = field.shape
    total = 0.0
    for c in range(count):
        ri, rj, rk = ratios[c, 0], ratios[c, 1], ratios[c, 2]
        si, sj, sk = scale * ri, scale * rj, scale * rk
        for i in range(first, stop):
            below, above = max(i - 1, 0), min(i + 1, ni - 1)
            for j in range(nj):
                left, right = max(j - 1, 0), min(j + 1, nj - 1)
                here, line = field[c, i, j], out[c, i, j]
                a, b, d, e = field[c, below, j], field[c, above, j], field[c, i, left], field[c, i, right]
                row = np.float32(0)  # single precision within a row only
                for k in range(nk):
                    v = here[k]
                    up, side = ri * (b[k] - v), rj * (e[k] - v)
                    row += _cost(up, corner) + _cost(side, corner)
                    line[k] = si * (_pull(ri * (v - a[k]), corner) - _pull(up, corner))
                    line[k] += sj * (_pull(rj * (v - d[k]), corner) - _pull(side, corner))
                for k in range(nk - 1):
                    ahead = rk * (here[k + 1] - here[k])
                    row += _cost(ahead, corner)
                    line[k] -= sk * _pull(ahead, corner)
                for k in range(nk - 1):
                    line[k + 1] += sk * _pull(rk * (here[k + 1] - here[k]), corner)
                total += float(row)
    return total


def diffusion(field: np.ndarray, spacing: np.ndarray, corner: float = 0.0) -> tuple[float, np.ndarray]:
    """Return the mean over voxels of the squared or absolute slopes, summed over components and axes, and its derivative.

    Parameters
    ----------
    field : (3, i, j, k) array
        Velocity in voxels.
    spacing : (3,) array
        Voxel sizes along the axes; only their ratios matter.
    corner : float
        0 for squared slopes; above it, |x| is taken as sqrt(x^2 + corner^2) - corner.
    """
    voxels = field[0].size
    ratios = (spacing[:, None] / spacing[None, :]).astype(np.float32)
    gradient = np.empty_like(field)
    parts = run_slabs(_diffusion_slab, field.shape[1], field, ratios, np.float32(corner), np.float32(1 / voxels), gradient)
    return float(sum(parts)) / voxels, gradient
