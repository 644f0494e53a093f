"""Compiled kernels of the coarse search: matching cost of displacement labels, and its coupled minimum; twin: `search_reference`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import long_rows, row_axes

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _add_differences(fixed, moving, i, j, y, z, start, end, shift, row):  # type: ignore[no-untyped-def]
    """Add the squared differences of two rows, four channels at a time: what they sum up to is loaded and stored a quarter as often."""
    count, size = len(fixed), end - start
    to = row[start:end]
    for c in range(0, count - count % 4, 4):
        f, m = fixed[c, i, j, start:end], moving[c, y, z, start + shift : end + shift]
        g, n = fixed[c + 1, i, j, start:end], moving[c + 1, y, z, start + shift : end + shift]
        h, o = fixed[c + 2, i, j, start:end], moving[c + 2, y, z, start + shift : end + shift]
        last, p = fixed[c + 3, i, j, start:end], moving[c + 3, y, z, start + shift : end + shift]
        for k in range(size):
            d, e, q, r = f[k] - m[k], g[k] - n[k], h[k] - o[k], last[k] - p[k]
            to[k] += d * d + e * e + q * q + r * r
    for c in range(count - count % 4, count):
        f, m = fixed[c, i, j, start:end], moving[c, y, z, start + shift : end + shift]
        for k in range(size):
            d = f[k] - m[k]
            to[k] += d * d


@njit(**_JIT)
def _cost_slab(first, stop, fixed, moving, fixed_weight, moving_weight, labels, block, cost, known):  # type: ignore[no-untyped-def]
    """Fill the range of labels. Rows lie outside the loop over labels, so that the rows that labels share stay in the cache."""
    _, ni, nj, nk = fixed.shape
    ck = cost.shape[3]
    row = np.empty(nk, np.float32)
    seen = np.empty(nk, np.float32)
    row_cost = np.empty(ck, np.float32)
    row_known = np.empty(ck, np.float32)
    size = np.float32(block)
    for i in range(ni):
        a, wa = i // block, np.float32(i % block) / size
        for j in range(nj):
            b, wb = j // block, np.float32(j % block) / size
            for label in range(first, stop):
                y, z, shift = i + labels[label, 0], j + labels[label, 1], labels[label, 2]
                if y < 0 or y >= ni or z < 0 or z >= nj:
                    continue
                start, end = max(0, -shift), min(nk, nk - shift)
                for k in range(nk):
                    row[k] = 0.0
                    seen[k] = 0.0
                _add_differences(fixed, moving, i, j, y, z, start, end, shift, row)
                weight, other = fixed_weight[i, j, start:end], moving_weight[y, z, start + shift : end + shift]
                for k in range(end - start):
                    w = weight[k] * other[k]
                    row[start + k] *= w
                    seen[start + k] = w
                for c in range(ck):
                    row_cost[c] = row[c * block]
                    row_known[c] = seen[c * block]
                for t in range(1, block):
                    upper = np.float32(t) / size
                    lower = np.float32(1) - upper
                    for c in range(ck - 1):
                        row_cost[c] += lower * row[c * block + t]
                        row_known[c] += lower * seen[c * block + t]
                        row_cost[c + 1] += upper * row[c * block + t]
                        row_known[c + 1] += upper * seen[c * block + t]
                for p in range(2):
                    share_a = wa if p == 1 else np.float32(1) - wa
                    if share_a == 0:
                        continue
                    for q in range(2):
                        share = share_a * (wb if q == 1 else np.float32(1) - wb)
                        if share == 0:
                            continue
                        for c in range(ck):
                            cost[label, a + p, b + q, c] += share * row_cost[c]
                            known[label, a + p, b + q, c] += share * row_known[c]


def matching_cost(
    fixed: np.ndarray, moving: np.ndarray, fixed_weight: np.ndarray, moving_weight: np.ndarray, labels: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the weighted squared feature difference of each displacement label around each control point.

    Parameters
    ----------
    fixed, moving : (c, i, j, k) float32 arrays
        Features on one lattice; each axis has block m + 1 voxels, or one.
    fixed_weight, moving_weight : (i, j, k) float32 arrays
        How much each voxel counts; beyond the lattice nothing counts.
    labels : (n, 3) integer array
        Displacements in voxels: fixed at x is compared with moving at x + label.
    block : int
        Voxels from one control point to the next; voxels between share out linearly.

    Returns
    -------
    cost, known
        Weighted sums of squared differences and of weights, both (n, a, b, c) on the control lattice.
    """
    shape = tuple((n - 1) // block + 1 for n in fixed.shape[1:])
    rows, labels = long_rows(fixed.shape[1:]), labels[:, row_axes(fixed.shape[1:])]
    fixed, moving = (part.reshape(len(part), *rows) for part in (fixed, moving))
    fixed_weight, moving_weight = fixed_weight.reshape(rows), moving_weight.reshape(rows)
    cost = np.zeros((len(labels), *long_rows(shape)), np.float32)
    known = np.zeros_like(cost)
    run_slabs(_cost_slab, len(labels), fixed, moving, fixed_weight, moving_weight, labels, block, cost, known)
    return cost.reshape(len(labels), *shape), known.reshape(len(labels), *shape)


@njit(**_JIT)
def _coupled_slab(first, stop, cost, labels, flow, coupling, unit, out):  # type: ignore[no-untyped-def]
    count, _, nj, nk = cost.shape
    best = np.empty(nk, np.float32)
    choice = np.empty(nk, np.int32)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                best[k] = np.float32(3e38)
                choice[k] = 0
            for label in range(count):
                l0, l1, l2 = np.float32(labels[label, 0]), np.float32(labels[label, 1]), np.float32(labels[label, 2])
                for k in range(nk):
                    d0 = unit[0] * (l0 - flow[0, i, j, k])
                    d1 = unit[1] * (l1 - flow[1, i, j, k])
                    d2 = unit[2] * (l2 - flow[2, i, j, k])
                    total = cost[label, i, j, k] + coupling * (d0 * d0 + d1 * d1 + d2 * d2)
                    if total < best[k]:
                        best[k] = total
                        choice[k] = label
            for axis in range(3):
                for k in range(nk):
                    out[axis, i, j, k] = labels[choice[k], axis]


def coupled_minimum(cost: np.ndarray, labels: np.ndarray, flow: np.ndarray, coupling: float, unit: np.ndarray) -> np.ndarray:
    """Return at each control point the label d that minimizes cost(d) + coupling |unit (d - flow)|^2, as a (3, a, b, c) field.

    Parameters
    ----------
    cost : (n, a, b, c) float32 array
        Cost of each label.
    labels : (n, 3) integer array
        Displacements in voxels.
    flow : (3, a, b, c) float32 array
        Where the smoothed field stands, in voxels.
    coupling : float
        Strength of the pull towards `flow`.
    unit : (3,) array
        Length of a voxel along each axis, relative to the mean one.
    """
    out = np.empty(flow.shape, np.float32)
    run_slabs(_coupled_slab, cost.shape[1], cost, labels, flow, np.float32(coupling), unit.astype(np.float32), out)
    return out
