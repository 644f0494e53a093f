"""Where a position lies on a lattice, and how the compiled loops go through a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


def row_axes(shape: tuple[int, ...]) -> list[int]:
    """Return the axes of a volume or slice in the order of `long_rows`."""
    if 1 not in shape:
        return [0, 1, 2]
    across = shape.index(1)
    first, second = (axis for axis in range(3) if axis != across)
    return [first, across, second]


def long_rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a volume's shape as it is, and a slice's with its axis of one voxel in the middle: (i, 1, k).

    The compiled loops run along k and are shared out along i. In an (i, j, 1) slice each of them would be a loop over one voxel, ten times
    slower; a (1, j, k) slice would have one thread.
    """
    return tuple(shape[axis] for axis in row_axes(shape))


@njit(inline="always", **_JIT)
def cell(position, size):  # type: ignore[no-untyped-def]
    """Lower index, step to the upper one (0 at the rim) and weight of the upper one, with the position clamped to the array."""
    last = np.float32(size - 1)
    p = min(max(position, np.float32(0)), last)
    low = int(p)
    if low >= size - 1:
        low = max(size - 2, 0)
    return low, (1 if size > 1 else 0), p - np.float32(low)


@njit(inline="always", **_JIT)
def between_eight(flat, p, step_j, step_i, step_k, weights, low, high):  # type: ignore[no-untyped-def]
    """Interpolate at eight places of a flattened array; `weights` are of the four rows, `low` and `high` of the places within a row."""
    q, r = p + step_j, p + step_i
    s = r + step_j
    w, x, y, z = weights
    return low * (w * flat[p] + x * flat[q] + y * flat[r] + z * flat[s]) + high * (
        w * flat[p + step_k] + x * flat[q + step_k] + y * flat[r + step_k] + z * flat[s + step_k]
    )
