"""Compiled local correlation of learned features at all shifts of one voxel; the twin is `engine.models.matching_pyramid.Matcher`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .encoder_cpu import LARGE, exponentials, mean_of_three
from .lattice import cell

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}

SHIFTS = 27
"""All shifts of up to one voxel an axis, the last axis fastest."""


@njit(**_JIT)
def _inverse_length(vector):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for c in range(len(vector)):
        total += vector[c] * vector[c]
    return np.float32(1) / max(np.sqrt(total), np.float32(1e-12))


@njit(**_JIT)
def _unit_rows_slab(first, stop, features, out):  # type: ignore[no-untyped-def]
    _, nj, nk, count = features.shape
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                vector = features[i, j, k]
                scale = _inverse_length(vector)
                for c in range(count):
                    out[i, j, c, k] = vector[c] * scale


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Scale (i, j, k, c) feature vectors to length one and turn them to (i, j, c, k): rows of one channel, one below the other."""
    ni, nj, nk, count = features.shape
    out = np.empty((ni, nj, count, nk), np.float32)
    run_slabs(_unit_rows_slab, ni, features, out)
    return out


@njit(**_JIT)
def _unit_slab(first, stop, features):  # type: ignore[no-untyped-def]
    _, nj, nk, count = features.shape
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                vector = features[i, j, k]
                scale = _inverse_length(vector)
                for c in range(count):
                    vector[c] *= scale


def to_unit(features: np.ndarray) -> None:
    """Scale (i, j, k, c) feature vectors to length one, in place."""
    run_slabs(_unit_slab, features.shape[0], features)


@njit(**_JIT)
def _warp_slab(first, stop, features, displacement, out):  # type: ignore[no-untyped-def]
    """Pull feature vectors through a displacement and turn them to rows, one voxel longer at both ends, the ends repeated."""
    ni, nj, nk, count = features.shape
    value = np.empty(count, np.float32)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                a, da, wa = cell(np.float32(i) + displacement[0, i, j, k], ni)
                b, db, wb = cell(np.float32(j) + displacement[1, i, j, k], nj)
                c, dc, wc = cell(np.float32(k) + displacement[2, i, j, k], nk)
                ua, ub, uc = np.float32(1) - wa, np.float32(1) - wb, np.float32(1) - wc
                v0, v1, v2, v3 = features[a, b, c], features[a, b, c + dc], features[a, b + db, c], features[a, b + db, c + dc]
                v4, v5 = features[a + da, b, c], features[a + da, b, c + dc]
                v6, v7 = features[a + da, b + db, c], features[a + da, b + db, c + dc]
                w0, w1, w2, w3 = ua * ub * uc, ua * ub * wc, ua * wb * uc, ua * wb * wc
                w4, w5, w6, w7 = wa * ub * uc, wa * ub * wc, wa * wb * uc, wa * wb * wc
                for n in range(count):
                    value[n] = (w0 * v0[n] + w1 * v1[n] + w2 * v2[n] + w3 * v3[n]) + (w4 * v4[n] + w5 * v5[n] + w6 * v6[n] + w7 * v7[n])
                for n in range(count):
                    out[i, j, n, k + 1] = value[n]
            for n in range(count):
                out[i, j, n, 0] = out[i, j, n, 1]
                out[i, j, n, nk + 1] = out[i, j, n, nk]


@njit(**_JIT)
def _correlate_slab(first, stop, fixed, moved, out):  # type: ignore[no-untyped-def]
    """Correlate each row of the range with those around it, and average the results twice along k and twice along j."""
    ni, nj, count, nk = fixed.shape
    plane = np.empty((nj, SHIFTS, nk), np.float32)
    row, other = np.empty(nk, np.float32), np.empty(nk, np.float32)
    for i in range(first, stop):
        for j in range(nj):
            for di in range(3):
                p = min(max(i + di - 1, 0), ni - 1)
                for dj in range(3):
                    q = min(max(j + dj - 1, 0), nj - 1)
                    for dk in range(3):
                        row[:] = np.float32(0)
                        for c in range(0, count - 3, 4):
                            f0, f1, f2, f3 = fixed[i, j, c], fixed[i, j, c + 1], fixed[i, j, c + 2], fixed[i, j, c + 3]
                            m0, m1 = moved[p, q, c, dk : dk + nk], moved[p, q, c + 1, dk : dk + nk]
                            m2, m3 = moved[p, q, c + 2, dk : dk + nk], moved[p, q, c + 3, dk : dk + nk]
                            for k in range(nk):
                                row[k] += f0[k] * m0[k] + f1[k] * m1[k] + f2[k] * m2[k] + f3[k] * m3[k]
                        for c in range(count // 4 * 4, count):
                            f0, m0 = fixed[i, j, c], moved[p, q, c, dk : dk + nk]
                            for k in range(nk):
                                row[k] += f0[k] * m0[k]
                        mean_of_three(row, other)
                        mean_of_three(other, plane[j, 9 * di + 3 * dj + dk])
        _mean_of_rows(plane, out[i])
        _mean_of_rows(out[i], plane)
        out[i] = plane


@njit(**_JIT)
def _mean_of_rows(data, out):  # type: ignore[no-untyped-def]
    """Average over three of the first axis, over two at its ends."""
    last = len(data) - 1
    for j in range(last + 1):
        here, before, after, wanted = data[j], data[max(j - 1, 0)], data[min(j + 1, last)], out[j]
        if 0 < j < last:
            for s in range(SHIFTS):
                for k in range(here.shape[1]):
                    wanted[s, k] = (before[s, k] + here[s, k] + after[s, k]) * np.float32(1 / 3)
        else:  # at an end `here` is one of the other two
            for s in range(SHIFTS):
                for k in range(here.shape[1]):
                    wanted[s, k] = (before[s, k] + after[s, k]) * np.float32(0.5)


@njit(**_JIT)
def _expect_slab(first, stop, data, sharpness, velocity, out):  # type: ignore[no-untyped-def]
    """Average twice along i, sharpen, and take the softmax and the shift expected from it; for the rows j of the range."""
    ni, _, shifts, nk = data.shape
    channels = out.shape[3]
    column, smooth = np.empty((ni, shifts, nk), np.float32), np.empty((ni, shifts, nk), np.float32)
    weight, highest, total = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    toward = np.empty((3, nk), np.float32)
    bits = np.empty(nk, np.int32)
    factor = bits.view(np.float32)
    for j in range(first, stop):
        for i in range(ni):
            column[i] = data[i, j]
        _mean_of_rows(column, smooth)
        _mean_of_rows(smooth, column)
        for i in range(ni):
            here, block = column[i], out[i, j]
            highest[:] = -LARGE
            for s in range(shifts):
                for k in range(nk):
                    value = here[s, k] * sharpness
                    here[s, k] = value
                    highest[k] = max(highest[k], value)
                for k in range(nk):
                    block[k, s] = here[s, k]
            total[:] = np.float32(0)
            toward[:] = np.float32(0)
            for s in range(shifts):
                for k in range(nk):
                    weight[k] = here[s, k] - highest[k]
                exponentials(weight, bits, factor)
                a, b, c = np.float32(s // 9 - 1), np.float32(s // 3 % 3 - 1), np.float32(s % 3 - 1)
                for k in range(nk):
                    total[k] += weight[k]
                    toward[0, k] += a * weight[k]
                    toward[1, k] += b * weight[k]
                    toward[2, k] += c * weight[k]
            for axis in range(3):
                for k in range(nk):
                    block[k, shifts + axis] = toward[axis, k] / total[k]
                    block[k, channels - 3 + axis] = velocity[axis, i, j, k]


def matches(
    fixed: np.ndarray, moving: np.ndarray, displacement: np.ndarray, velocity: np.ndarray, sharpness: float
) -> np.ndarray:
    """Return the sharpened correlations at all shifts, the shift expected from them, and the velocity, as (i, j, k, 27 + 3 + 3) channels.

    Parameters
    ----------
    fixed : (i, j, c, k) float32 array
        Features of length one, as `unit_rows` gives them.
    moving : (i, j, k, c) float32 array
        Features of length one.
    displacement : (3, i, j, k) float32 array
        In voxels; the moving features are pulled through it first.
    velocity : (3, i, j, k) float32 array
        Passed on.
    sharpness : float
        What the averaged correlations are multiplied with before the softmax.
    """
    ni, nj, count, nk = fixed.shape
    moved = np.empty((ni, nj, count, nk + 2), np.float32)
    run_slabs(_warp_slab, ni, moving, displacement, moved)
    rows = np.empty((ni, nj, SHIFTS, nk), np.float32)
    run_slabs(_correlate_slab, ni, fixed, moved, rows)
    out = np.empty((ni, nj, nk, SHIFTS + 6), np.float32)
    run_slabs(_expect_slab, nj, rows, np.float32(sharpness), velocity, out)
    return out
