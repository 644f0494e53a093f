"""Adam's step on a whole field: three passes over flat arrays instead of a dozen operations on tensors (numba)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}

BLOCK = 4096
"""Numbers summed in single precision before they are added to a sum in double precision."""


@njit(**_JIT)
def _moments_slab(first, stop, gradient, scales, keep_mean, keep_square, mean, square):  # type: ignore[no-untyped-def]
    """Update both moments in place; returns the sum of the second."""
    new, other = np.float32(1) - keep_mean, np.float32(1) - keep_square
    total = 0.0
    for begin in range(first, stop, BLOCK):
        end = min(begin + BLOCK, stop)
        a, b, c = gradient[0, begin:end], gradient[1, begin:end], gradient[2, begin:end]
        d, e, f, s = mean[0, begin:end], mean[1, begin:end], mean[2, begin:end], square[begin:end]
        part = np.float32(0)
        for n in range(end - begin):
            x, y, z = scales[0] * a[n], scales[1] * b[n], scales[2] * c[n]
            d[n] = keep_mean * d[n] + new * x
            e[n] = keep_mean * e[n] + new * y
            f[n] = keep_mean * f[n] + new * z
            value = keep_square * s[n] + other * (x * x + y * y + z * z)
            s[n] = value
            part += value
        total += float(part)
    return total


@njit(**_JIT)
def _longest_slab(first, stop, mean, square, unbias, damping):  # type: ignore[no-untyped-def]
    longest = np.float32(0)
    for n in range(first, stop):
        share = np.float32(1) / (np.sqrt(square[n] * unbias) + damping)
        x, y, z = share * mean[0, n], share * mean[1, n], share * mean[2, n]
        longest = max(longest, x * x + y * y + z * z)
    return longest


@njit(**_JIT)
def _step_slab(first, stop, velocity, mean, square, unbias, damping, scales, out):  # type: ignore[no-untyped-def]
    for n in range(first, stop):
        share = np.float32(1) / (np.sqrt(square[n] * unbias) + damping)
        out[0, n] = velocity[0, n] - scales[0] * share * mean[0, n]
        out[1, n] = velocity[1, n] - scales[1] * share * mean[1, n]
        out[2, n] = velocity[2, n] - scales[2] * share * mean[2, n]


def add_to_moments(
    gradient: np.ndarray, scales: np.ndarray, keep_mean: float, keep_square: float, mean: np.ndarray, square: np.ndarray
) -> float:
    """Let the moments decay and add a derivative, times one factor an axis, in place; twin: `reference.add_to_moments`.

    Parameters
    ----------
    gradient, mean : (3, i, j, k) float32 arrays
    scales : (3,) array
        Factors of the derivative's components.
    keep_mean, keep_square : float
        Decay rates.
    square : (1, i, j, k) float32 array
        Second moment, one a vector.

    Returns
    -------
    float
        The mean of the second moment.
    """
    parts = run_slabs(
        _moments_slab, square.size, gradient.reshape(3, -1), scales.astype(np.float32), np.float32(keep_mean), np.float32(keep_square),
        mean.reshape(3, -1), square.reshape(-1),
    )
    return float(sum(parts)) / square.size


def stepped(
    velocity: np.ndarray, mean: np.ndarray, square: np.ndarray, unbias: float, damping: float, scales: np.ndarray
) -> np.ndarray | None:
    """Return the velocity after a step along - mean / (sqrt(unbias square) + damping); None if nothing is to be moved.

    The longest vector of that direction becomes 1, and each of its components is then multiplied by its factor. Twin:
    `reference.stepped`.
    """
    flat, second, rate, floor = mean.reshape(3, -1), square.reshape(-1), np.float32(unbias), np.float32(damping)
    longest = math.sqrt(max(run_slabs(_longest_slab, second.size, flat, second, rate, floor)))
    if not longest > 0:
        return None
    out = np.empty_like(velocity)
    run_slabs(
        _step_slab, second.size, velocity.reshape(3, -1), flat, second, rate, floor, (scales / longest).astype(np.float32),
        out.reshape(3, -1),
    )
    return out
