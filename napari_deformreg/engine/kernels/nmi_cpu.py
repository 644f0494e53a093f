"""Compiled joint histogram of two images and the gradient through it; the twin is `losses.information`.

The fixed image falls into bins linearly, the moved one by cubic B-splines, which are smooth and sum to one. Intensities are clamped to
[0, 1]; the bins leave a margin for the splines' support.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}

MARGIN = 1
"""Bins below 0 and above 1 that the support of a cubic spline reaches into (the bin above the last needs a second one)."""


@njit(inline="always", **_JIT)
def _fixed_bin(value, bins):  # type: ignore[no-untyped-def]
    """Lower bin and weight of the one above."""
    position = np.float32(MARGIN) + min(max(value, np.float32(0)), np.float32(1)) * np.float32(bins - 2 * MARGIN - 1)
    low = min(int(position), bins - 2 - MARGIN)
    return low, position - np.float32(low)


@njit(inline="always", **_JIT)
def _spline(x):  # type: ignore[no-untyped-def]
    """Weights of the bins low-1 .. low+2 for a position low + x."""
    sixth = np.float32(1.0 / 6.0)
    y = np.float32(1) - x
    x2, y2 = x * x, y * y
    two_thirds = np.float32(2.0 / 3.0)
    half = np.float32(0.5)
    return sixth * y2 * y, two_thirds - x2 + half * x2 * x, two_thirds - y2 + half * y2 * y, sixth * x2 * x


@njit(inline="always", **_JIT)
def _spline_slope(x):  # type: ignore[no-untyped-def]
    half, two = np.float32(0.5), np.float32(2)
    y = np.float32(1) - x
    return -half * y * y, -two * x + np.float32(1.5) * x * x, two * y - np.float32(1.5) * y * y, half * x * x


@njit(**_JIT)
def _histogram_slab(first, stop, moved, fixed, weight, bins):  # type: ignore[no-untyped-def]
    _, nj, nk = moved.shape
    table = np.zeros((bins, bins), np.float64)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                w = weight[i, j, k]
                if w > 0:
                    a, x = _fixed_bin(fixed[i, j, k], bins)
                    b, y = _fixed_bin(moved[i, j, k], bins)
                    s0, s1, s2, s3 = _spline(y)
                    low, high = w * (np.float32(1) - x), w * x
                    table[a, b - 1] += low * s0
                    table[a, b] += low * s1
                    table[a, b + 1] += low * s2
                    table[a, b + 2] += low * s3
                    table[a + 1, b - 1] += high * s0
                    table[a + 1, b] += high * s1
                    table[a + 1, b + 1] += high * s2
                    table[a + 1, b + 2] += high * s3
    return table


@njit(**_JIT)
def _gradient_slab(first, stop, moved, fixed, weight, slope, out):  # type: ignore[no-untyped-def]
    _, nj, nk = moved.shape
    bins = slope.shape[0]
    scale = np.float32(bins - 2 * MARGIN - 1)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                w, p = weight[i, j, k], moved[i, j, k]
                if w <= 0 or p < 0 or p > 1:
                    out[i, j, k] = 0.0
                    continue
                a, x = _fixed_bin(fixed[i, j, k], bins)
                b, y = _fixed_bin(p, bins)
                s0, s1, s2, s3 = _spline_slope(y)
                low = s0 * slope[a, b - 1] + s1 * slope[a, b] + s2 * slope[a, b + 1] + s3 * slope[a, b + 2]
                high = s0 * slope[a + 1, b - 1] + s1 * slope[a + 1, b] + s2 * slope[a + 1, b + 1] + s3 * slope[a + 1, b + 2]
                out[i, j, k] = scale * w * ((np.float32(1) - x) * low + x * high)


def joint_histogram(moved: np.ndarray, fixed: np.ndarray, weight: np.ndarray, bins: int) -> np.ndarray:
    """Return the weighted joint histogram (bins of fixed, bins of moved) of two (i, j, k) images, float64, not normalized."""
    return np.asarray(sum(run_slabs(_histogram_slab, moved.shape[0], moved, fixed, weight, bins)))


def through_histogram(moved: np.ndarray, fixed: np.ndarray, weight: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the derivative by `moved` (i, j, k) of a function whose derivative by the histogram's entries is `slope`."""
    out = np.empty_like(moved)
    run_slabs(_gradient_slab, moved.shape[0], moved, fixed, weight, slope.astype(np.float32), out)
    return out
