"""Compiled MIND-SSC descriptors (see `engine.features` for the definition); the twin is `losses.descriptors`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .cpu import box_sum
from .lattice import long_rows, row_axes

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _differences_slab(first, stop, padded, margin, pairs, out):  # type: ignore[no-untyped-def]
    """Squared difference of the two neighbors of each pair; `padded` is larger than `out` by `margin` on both sides of each axis."""
    count, _, nj, nk = out.shape
    for pair in range(count):
        ai, aj, ak = margin[0] + pairs[pair, 0, 0], margin[1] + pairs[pair, 0, 1], margin[2] + pairs[pair, 0, 2]
        bi, bj, bk = margin[0] + pairs[pair, 1, 0], margin[1] + pairs[pair, 1, 1], margin[2] + pairs[pair, 1, 2]
        for i in range(first, stop):
            for j in range(nj):
                for k in range(nk):
                    d = padded[i + ai, j + aj, k + ak] - padded[i + bi, j + bj, k + bk]
                    out[pair, i, j, k] = d * d


@njit(**_JIT)
def _spread_slab(first, stop, distances, spread):  # type: ignore[no-untyped-def]
    """Subtract each voxel's smallest distance in place and write the mean of the rest; returns the sum of the means."""
    count, _, nj, nk = distances.shape
    total = 0.0
    low = np.empty(nk, np.float32)
    mean = np.empty(nk, np.float32)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                low[k] = distances[0, i, j, k]
                mean[k] = distances[0, i, j, k]
            for c in range(1, count):
                for k in range(nk):
                    d = distances[c, i, j, k]
                    low[k] = min(low[k], d)
                    mean[k] += d
            for c in range(count):
                for k in range(nk):
                    distances[c, i, j, k] = distances[c, i, j, k] - low[k]
            for k in range(nk):
                # The running sums of the box filter may leave a rounding error below zero.
                m = max(mean[k] / np.float32(count) - low[k], np.float32(0))
                spread[i, j, k] = m
                total += m
    return total


@njit(**_JIT)
def _exponential_slab(first, stop, distances, spread, lowest, highest):  # type: ignore[no-untyped-def]
    count, _, nj, nk = distances.shape
    scale = np.empty(nk, np.float32)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                scale[k] = np.float32(-1) / min(max(spread[i, j, k], lowest), highest)
            for c in range(count):
                for k in range(nk):
                    distances[c, i, j, k] = np.exp(distances[c, i, j, k] * scale[k])


def mind(image: np.ndarray, pairs: np.ndarray, radius: int, floor: float, ceiling: float) -> np.ndarray:
    """Return the descriptors (c, i, j, k) of an (i, j, k) image.

    Parameters
    ----------
    image : (i, j, k) float32 array
        Intensities; the rim is repeated.
    pairs : (c, 2, 3) integer array
        The two voxel offsets of each channel's pair of neighbors.
    radius : int
        Radius of the patches that are compared, in voxels.
    floor, ceiling : float
        Bounds of a voxel's spread, in units of the mean spread of the image.
    """
    shape = image.shape
    image, pairs = image.reshape(long_rows(shape)), pairs[:, :, row_axes(shape)]
    margin = np.abs(pairs).max(axis=(0, 1))
    padded = np.pad(image, [(m, m) for m in margin], mode="edge")
    distances = np.empty((len(pairs), *image.shape), np.float32)
    run_slabs(_differences_slab, image.shape[0], padded, margin, pairs, distances)
    distances = box_sum(distances, radius)
    spread = np.empty(image.shape, np.float32)
    mean = sum(run_slabs(_spread_slab, image.shape[0], distances, spread)) / image.size
    if mean <= 0:  # a constant image looks the same everywhere
        return np.ones((len(pairs), *shape), np.float32)
    run_slabs(_exponential_slab, image.shape[0], distances, spread, np.float32(floor * mean), np.float32(ceiling * mean))
    return distances.reshape(len(pairs), *shape)
