"""Local correlation and its derivative in one pass over the planes of a volume (numba).

Value and derivative need box sums of three products, and then box sums of three coefficients. Both are kept for the few planes that a
window reaches, in memory that stays in the processor's cache, so that each image is read once and only the derivative is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import long_rows

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _box_plane(plane, radius, column, padded, ring, total):  # type: ignore[no-untyped-def]
    """Replace a plane in the running sums by the box sums (along j and k) of a new one; all are (3, j, k)."""
    _, nj, nk = plane.shape
    for channel in range(3):
        column[:] = 0.0
        for j in range(min(radius, nj)):
            for k in range(nk):
                column[k] += plane[channel, j, k]
        for j in range(nj):
            if j + radius < nj:
                for k in range(nk):
                    column[k] += plane[channel, j + radius, k]
            if j - radius - 1 >= 0:
                for k in range(nk):
                    column[k] -= plane[channel, j - radius - 1, k]
            for k in range(nk):
                padded[radius + k] = column[k]
            row = ring[channel, j]
            sums = total[channel, j]
            for k in range(nk):
                sums[k] -= row[k]
                row[k] = 0.0
            for shift in range(2 * radius + 1):
                for k in range(nk):
                    row[k] += padded[k + shift]
            for k in range(nk):
                sums[k] += row[k]


@njit(**_JIT)
def _drop_plane(ring, total):  # type: ignore[no-untyped-def]
    """Take a plane out of the running sums."""
    _, nj, nk = ring.shape
    for channel in range(3):
        for j in range(nj):
            for k in range(nk):
                total[channel, j, k] -= ring[channel, j, k]
                ring[channel, j, k] = 0.0


@njit(**_JIT)
def _products(moved, fixed, out):  # type: ignore[no-untyped-def]
    nj, nk = moved.shape
    for j in range(nj):
        for k in range(nk):
            p = moved[j, k]
            out[0, j, k] = p
            out[1, j, k] = p * p
            out[2, j, k] = p * fixed[j, k]


@njit(**_JIT)
def _coefficients(sums, fixed_sum, fixed_variance, count, weight, epsilon, out):  # type: ignore[no-untyped-def]
    """Turn box sums into the three coefficients of the derivative; returns the weighted sum of squared correlations."""
    nj, nk = fixed_sum.shape
    total = 0.0
    for j in range(nj):
        row = 0.0
        for k in range(nk):
            n, w = count[j, k], weight[j, k]
            sp, st = np.float32(sums[0, j, k]), fixed_sum[j, k]
            mean = sp / n
            covariance = np.float32(sums[2, j, k]) - mean * st
            variance = max(np.float32(sums[1, j, k]) - mean * sp, np.float32(0)) + epsilon * n
            slope = covariance / (variance * fixed_variance[j, k])
            square = covariance * slope
            row += w * square
            c = np.float32(2) * slope * w
            b = -square / variance * w
            out[0, j, k] = -(c * st + np.float32(2) * b * sp) / n
            out[1, j, k] = b
            out[2, j, k] = c
        total += row
    return total


@njit(**_JIT)
def _derivative(sums, moved, fixed, scale, out):  # type: ignore[no-untyped-def]
    nj, nk = moved.shape
    for j in range(nj):
        for k in range(nk):
            a, b, c = np.float32(sums[0, j, k]), np.float32(sums[1, j, k]), np.float32(sums[2, j, k])
            out[j, k] = scale * (a + np.float32(2) * moved[j, k] * b + fixed[j, k] * c)


@njit(**_JIT)
def _lncc_slab(first, stop, moved, fixed, fixed_sum, fixed_variance, count, weight, radius, epsilon, scale, out):  # type: ignore[no-untyped-def]
    """Write the derivative of planes `first` to `stop`; returns their weighted sum of squared correlations."""
    ni, nj, nk = moved.shape
    depth = 2 * radius + 1
    product_ring, product_sums = np.zeros((depth, 3, nj, nk), np.float32), np.zeros((3, nj, nk), np.float64)
    other_ring, other_sums = np.zeros((depth, 3, nj, nk), np.float32), np.zeros((3, nj, nk), np.float64)
    plane = np.empty((3, nj, nk), np.float32)
    column = np.empty(nk, np.float64)
    padded = np.zeros(nk + 2 * radius, np.float32)
    total = 0.0
    for last in range(first - 2 * radius, stop + 2 * radius):
        if last >= 0 and last < ni:
            _products(moved[last], fixed[last], plane)
            _box_plane(plane, radius, column, padded, product_ring[last % depth], product_sums)
        elif last >= ni:
            _drop_plane(product_ring[last % depth], product_sums)
        middle = last - radius
        if middle < first - radius:
            continue
        if middle >= 0 and middle < ni:
            part = _coefficients(
                product_sums, fixed_sum[middle], fixed_variance[middle], count[middle], weight[middle], epsilon, plane
            )
            if middle >= first and middle < stop:
                total += part
            _box_plane(plane, radius, column, padded, other_ring[middle % depth], other_sums)
        elif middle >= ni:
            _drop_plane(other_ring[middle % depth], other_sums)
        if middle - radius >= first:
            _derivative(other_sums, moved[middle - radius], fixed[middle - radius], scale, out[middle - radius])
    return total


def lncc_value_and_gradient(
    moved: np.ndarray, fixed: np.ndarray, fixed_sum: np.ndarray, fixed_variance: np.ndarray, count: np.ndarray, weight: np.ndarray,
    total_weight: float, radius: int, epsilon: float,
) -> tuple[float, np.ndarray]:
    """Return minus the weighted mean of squared local correlation and its derivative by `moved`.

    Parameters
    ----------
    moved, fixed : (i, j, k) arrays
    fixed_sum, fixed_variance, count : (i, j, k) arrays
        Box sums of the fixed image and of ones, and the fixed windows' variance times count, regularized.
    weight : (i, j, k) array
        How much each window counts; `total_weight` is its sum.
    radius : int
        Of the windows, in voxels.
    epsilon : float
        Added to each variance.
    """
    shape = long_rows(moved.shape)
    planes = [part.reshape(shape) for part in (moved, fixed, fixed_sum, fixed_variance, count, weight)]
    gradient = np.empty(shape, np.float32)
    parts = run_slabs(_lncc_slab, shape[0], *planes, radius, np.float32(epsilon), np.float32(-1.0 / total_weight), gradient)
    return -float(sum(parts)) / total_weight, gradient.reshape(moved.shape)
