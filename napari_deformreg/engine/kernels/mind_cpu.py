"""Compiled MIND-SSC descriptors (see `engine.features` for the definition); the twin is `losses.descriptors`."""

from __future__ import annotations

from dataclasses import dataclass
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


@njit(**_JIT)
def _bytes_slab(first, stop, distances, spread, lowest, highest, out):  # type: ignore[no-untyped-def]
    """As `_exponential_slab`, in 255ths and with the channels last."""
    count, _, nj, nk = distances.shape
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                scale = np.float32(-1) / min(max(spread[i, j, k], lowest), highest)
                for c in range(count):
                    out[i, j, k, c] = np.uint8(np.float32(255) * np.exp(distances[c, i, j, k] * scale) + np.float32(0.5))


BLOCK_VOXELS = 1_500_000
"""Voxels whose distances are held at once, in 32 bits times twelve, where the descriptors are stored in bytes."""


@dataclass(frozen=True, eq=False)
class _Distances:
    """An image ready to be compared with itself, its rim repeated, with its long rows last."""

    padded: np.ndarray
    shape: tuple[int, ...]
    pairs: np.ndarray
    margin: np.ndarray
    radius: int

    @classmethod
    def of(cls, image: np.ndarray, pairs: np.ndarray, radius: int) -> _Distances:
        rows, pairs = image.reshape(long_rows(image.shape)), pairs[:, :, row_axes(image.shape)]
        margin = np.abs(pairs).max(axis=(0, 1))
        return cls(np.pad(rows, [(m, m) for m in margin], mode="edge"), rows.shape, pairs, margin, radius)

    def block(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the distances of some planes less each voxel's smallest, the means of the rest, and the sum of these."""
        low, high = max(first - self.radius, 0), min(stop + self.radius, self.shape[0])
        distances = np.empty((len(self.pairs), high - low, *self.shape[1:]), np.float32)
        padded = self.padded[low : high + 2 * self.margin[0]]
        run_slabs(_differences_slab, high - low, padded, self.margin, self.pairs, distances)
        distances = np.ascontiguousarray(box_sum(distances, self.radius)[:, first - low : stop - low])
        spread = np.empty(distances.shape[1:], np.float32)
        return distances, spread, float(sum(run_slabs(_spread_slab, stop - first, distances, spread)))


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
    source = _Distances.of(image, pairs, radius)
    distances, spread, total = source.block(0, source.shape[0])
    mean = total / image.size
    if mean <= 0:  # a constant image looks the same everywhere
        return np.ones((len(pairs), *image.shape), np.float32)
    run_slabs(_exponential_slab, source.shape[0], distances, spread, np.float32(floor * mean), np.float32(ceiling * mean))
    return distances.reshape(len(pairs), *image.shape)


def mind_bytes(image: np.ndarray, pairs: np.ndarray, radius: int, floor: float, ceiling: float) -> np.ndarray:
    """Return the descriptors of `mind` in 255ths, (i, j, k, c) uint8: a quarter of the memory, and little more than that on the way.

    A large image is described block after block, twice: its mean spread must be known before anything is written.
    """
    source = _Distances.of(image, pairs, radius)
    out = np.full((*source.shape, len(pairs)), 255, np.uint8)
    planes = max(1, BLOCK_VOXELS * source.shape[0] // image.size)
    blocks = [(first, min(first + planes, source.shape[0])) for first in range(0, source.shape[0], planes)]
    found = source.block(*blocks[0])
    mean = (found[2] + sum(source.block(*block)[2] for block in blocks[1:])) / image.size
    if mean > 0:
        for first, stop in blocks:
            distances, spread, _ = found if len(blocks) == 1 else source.block(first, stop)
            lowest, highest = np.float32(floor * mean), np.float32(ceiling * mean)
            run_slabs(_bytes_slab, stop - first, distances, spread, lowest, highest, out[first:stop])
    return out.reshape(*image.shape, len(pairs))
