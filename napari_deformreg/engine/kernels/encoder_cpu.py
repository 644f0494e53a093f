"""Compiled parts of the matching pyramid's encoder, with the channels last; the twins are in `engine.models.matching_pyramid`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}

LARGE = np.float32(3e38)
"""Above every number that occurs; infinity itself is not allowed where the compiler may reorder (`fastmath`)."""

LARGEST_SPREAD = 1e3
"""A voxel's spread is bounded to this factor above and below the mean spread, as in the twin."""


@njit(**_JIT)
def exponentials(arguments, bits, factor):  # type: ignore[no-untyped-def]
    """Overwrite a row of numbers up to 0 with their exponentials (relative error 1e-6); `bits` (int32) and `factor` are the same memory.

    2^n comes from writing n into the exponent, the rest from the Taylor series of the exponential to the sixth power, within half a step
    of log 2. Other than numba's, this becomes vector instructions.
    """
    for k in range(len(arguments)):
        x = max(arguments[k], np.float32(-87.0))
        n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
        r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # log 2 in two parts, so that nothing cancels
        p = np.float32(1 / 720)
        p = p * r + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + np.float32(0.5)
        p = p * r + np.float32(1)
        arguments[k] = p * r + np.float32(1)
        bits[k] = (np.int32(n) + np.int32(127)) << np.int32(23)
    for k in range(len(arguments)):
        arguments[k] = arguments[k] * factor[k]


@njit(**_JIT)
def mean_of_three(row, out):  # type: ignore[no-untyped-def]
    """Average a row over three voxels, over two at its ends."""
    last = len(row) - 1
    out[0] = (row[0] + row[1]) * np.float32(0.5)
    for k in range(1, last):
        out[k] = (row[k - 1] + row[k] + row[k + 1]) * np.float32(1 / 3)
    out[last] = (row[last - 1] + row[last]) * np.float32(0.5)


@njit(**_JIT)
def _distances(i, j, padded, pairs, single, distances, low, mean):  # type: ignore[no-untyped-def]
    """Fill a row's distances (c, k) of all pairs, less the smallest of each voxel, and their mean; the box is summed anew for each row.

    What a row shares with its neighbors stays in the fast cache, so that this is faster than keeping whole channels of sums.
    """
    count, nk = distances.shape
    ni, nj = padded.shape[0] - 2, padded.shape[1] - 2
    low[:] = LARGE
    mean[:] = np.float32(0)
    for c in range(count):
        single[:] = np.float32(0)
        rows = 0
        ai, aj, ak = pairs[c, 0, 0] + 1, pairs[c, 0, 1] + 1, pairs[c, 0, 2] + 1
        bi, bj, bk = pairs[c, 1, 0] + 1, pairs[c, 1, 1] + 1, pairs[c, 1, 2] + 1
        for p in range(max(i - 1, 0), min(i + 2, ni)):
            for q in range(max(j - 1, 0), min(j + 2, nj)):
                rows += 1
                one, two = padded[p + ai, q + aj, ak : ak + nk], padded[p + bi, q + bj, bk : bk + nk]
                for k in range(nk):
                    d = one[k] - two[k]
                    single[k] += d * d
        mean_of_three(single, distances[c])
        scale = np.float32(1) / np.float32(rows)
        line = distances[c]
        for k in range(nk):
            d = line[k] * scale
            line[k] = d
            low[k] = min(low[k], d)
            mean[k] += d
    for k in range(nk):
        mean[k] = mean[k] / np.float32(count) - low[k]


@njit(**_JIT)
def _spread_slab(first, stop, padded, pairs):  # type: ignore[no-untyped-def]
    """Sum the mean distances of the planes of the range."""
    nj, nk = padded.shape[1] - 2, padded.shape[2] - 2
    single, low, mean = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    distances = np.empty((len(pairs), nk), np.float32)
    total = 0.0
    for i in range(first, stop):
        for j in range(nj):
            _distances(i, j, padded, pairs, single, distances, low, mean)
            total += mean.sum()
    return total


@njit(**_JIT)
def _describe_slab(first, stop, padded, pairs, lowest, highest, out):  # type: ignore[no-untyped-def]
    nj, nk = padded.shape[1] - 2, padded.shape[2] - 2
    single, low, mean = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    distances = np.empty((len(pairs), nk), np.float32)
    bits = np.empty(nk, np.int32)
    factor = bits.view(np.float32)
    for i in range(first, stop):
        for j in range(nj):
            _distances(i, j, padded, pairs, single, distances, low, mean)
            for k in range(nk):
                mean[k] = np.float32(-1) / (max(min(mean[k], highest), lowest) + np.float32(1e-8))
            block = out[i, j]
            for k in range(nk):
                block[k, 0] = padded[i + 1, j + 1, k + 1]
            for c in range(len(pairs)):
                line = distances[c]
                for k in range(nk):
                    line[k] = (line[k] - low[k]) * mean[k]
                exponentials(line, bits, factor)
                for k in range(nk):
                    block[k, 1 + c] = line[k]


def described(image: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return an (i, j, k) image and its self-similarity as (i, j, k, 1 + c) channels.

    Parameters
    ----------
    image : (i, j, k) float32 array
        At least two voxels along each axis; the rim is repeated.
    pairs : (c, 2, 3) integer array
        The two voxel offsets, within one voxel, of each channel's pair of neighbors.
    """
    padded = np.pad(image, 1, mode="edge")
    typical = sum(run_slabs(_spread_slab, image.shape[0], padded, pairs)) / image.size
    out = np.empty((*image.shape, 1 + len(pairs)), np.float32)
    bounds = np.float32(typical / LARGEST_SPREAD), np.float32(typical * LARGEST_SPREAD)
    run_slabs(_describe_slab, image.shape[0], padded, pairs, *bounds, out)
    return out


BLOCK = 1024
"""Voxels whose sums are kept in single precision before they are added up in double."""


@njit(**_JIT)
def _moments_slab(first, stop, data):  # type: ignore[no-untyped-def]
    """Sum each channel and its squares over the blocks of the range."""
    count = data.shape[1]
    total, squares = np.zeros(count, np.float64), np.zeros(count, np.float64)
    one, two = np.empty(count, np.float32), np.empty(count, np.float32)
    for block in range(first, stop):
        one[:] = np.float32(0)
        two[:] = np.float32(0)
        for n in range(block * BLOCK, min((block + 1) * BLOCK, len(data))):
            for c in range(count):
                value = data[n, c]
                one[c] += value
                two[c] += value * value
        for c in range(count):
            total[c] += one[c]
            squares[c] += two[c]
    return total, squares


@njit(**_JIT)
def _activate_slab(first, stop, data, scale, shift, slope):  # type: ignore[no-untyped-def]
    count = data.shape[1]
    for n in range(first * BLOCK, min(stop * BLOCK, len(data))):
        for c in range(count):
            value = data[n, c] * scale[c] + shift[c]
            data[n, c] = max(value, slope * value)


def normalize_and_activate(data: np.ndarray, weight: np.ndarray, bias: np.ndarray, epsilon: float, slope: float) -> None:
    """Normalize (n, c) channels over their voxels, scale and shift them, and take the leaky ReLU; all in place.

    Parameters
    ----------
    data : (n, c) float32 array
        Voxels and channels.
    weight, bias : (c,) arrays
        Of the instance normalization.
    epsilon : float
        Added to the variance.
    slope : float
        Of the leaky ReLU below 0, at most 1.
    """
    blocks = -(-len(data) // BLOCK)
    parts = run_slabs(_moments_slab, blocks, data)
    mean = sum(part[0] for part in parts) / len(data)
    variance = np.maximum(sum(part[1] for part in parts) / len(data) - mean**2, 0)
    scale = weight / np.sqrt(variance + epsilon)
    shift = bias - mean * scale
    run_slabs(_activate_slab, blocks, data, scale.astype(np.float32), shift.astype(np.float32), np.float32(slope))
