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


@njit(**_JIT)
def _diffusion_slab(first, stop, field, factors, scale, out):  # type: ignore[no-untyped-def]
    """Write the derivative of the sum of weighted squared forward differences; returns the sum of those that begin in the range."""
    count, ni, nj, nk = field.shape
    total = 0.0
    for c in range(count):
        fi, fj, fk = factors[c, 0], factors[c, 1], factors[c, 2]
        for i in range(first, stop):
            below, above = max(i - 1, 0), min(i + 1, ni - 1)
            for j in range(nj):
                left, right = max(j - 1, 0), min(j + 1, nj - 1)
                here, line = field[c, i, j], out[c, i, j]
                a, b, d, e = field[c, below, j], field[c, above, j], field[c, i, left], field[c, i, right]
                row = np.float32(0)  # single precision within a row only
                for k in range(nk):
                    v = here[k]
                    up, side = b[k] - v, e[k] - v
                    row += fi * up * up + fj * side * side
                    line[k] = scale * (fi * (v - a[k] - up) + fj * (v - d[k] - side))
                for k in range(nk - 1):
                    ahead = here[k + 1] - here[k]
                    row += fk * ahead * ahead
                    line[k] -= scale * fk * ahead
                for k in range(nk - 1):
                    line[k + 1] += scale * fk * (here[k + 1] - here[k])
                total += float(row)
    return total


def diffusion_l2(field: np.ndarray, spacing: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over voxels of |grad v|^2 and its derivative.

    Parameters
    ----------
    field : (3, i, j, k) array
        Velocity in voxels.
    spacing : (3,) array
        Voxel sizes along the axes; only their ratios matter.
    """
    voxels = field[0].size
    factors = ((spacing[:, None] / spacing[None, :]) ** 2).astype(np.float32)
    gradient = np.empty_like(field)
    parts = run_slabs(_diffusion_slab, field.shape[1], field, factors, np.float32(2 / voxels), gradient)
    return float(sum(parts)) / voxels, gradient
