"""Compiled kernel: pull many-channel features through a field and compare them in one pass, value and force together.

Channels lie last, (i, j, k, c), so that the twelve numbers of a descriptor are neighbors in memory; nothing is stored in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import cell

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _warp_ssd_slab(first, stop, moving, moving_weight, fixed, fixed_weight, field, offset, force, sums):  # type: ignore[no-untyped-def]
    nj, nk, channels = fixed.shape[1:]
    mi, mj, mk = moving.shape[:3]
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    for i in range(first, stop):
        value = total = 0.0
        for j in range(nj):
            for k in range(nk):
                for axis in range(3):
                    force[axis, i, j, k] = zero
                w = fixed_weight[i, j, k]
                if w <= zero:
                    continue
                y0 = np.float32(i) + field[0, i, j, k] + offset[0]
                y1 = np.float32(j) + field[1, i, j, k] + offset[1]
                y2 = np.float32(k) + field[2, i, j, k] + offset[2]
                in0 = mi == 1 or (y0 >= -half and y0 <= mi - half)
                in1 = mj == 1 or (y1 >= -half and y1 <= mj - half)
                in2 = mk == 1 or (y2 >= -half and y2 <= mk - half)
                if not (in0 and in1 and in2):
                    continue
                a, da, wa = cell(y0, mi)
                b, db, wb = cell(y1, mj)
                c, dc, wc = cell(y2, mk)
                ua, ub, uc = one - wa, one - wb, one - wc
                m = moving_weight
                w *= (
                    ua * (ub * (uc * m[a, b, c] + wc * m[a, b, c + dc]) + wb * (uc * m[a, b + db, c] + wc * m[a, b + db, c + dc]))
                    + wa * (
                        ub * (uc * m[a + da, b, c] + wc * m[a + da, b, c + dc])
                        + wb * (uc * m[a + da, b + db, c] + wc * m[a + da, b + db, c + dc])
                    )
                )
                if w <= zero:
                    continue
                square = g0 = g1 = g2 = zero
                for e in range(channels):
                    p000, p001 = np.float32(moving[a, b, c, e]), np.float32(moving[a, b, c + dc, e])
                    p010, p011 = np.float32(moving[a, b + db, c, e]), np.float32(moving[a, b + db, c + dc, e])
                    p100, p101 = np.float32(moving[a + da, b, c, e]), np.float32(moving[a + da, b, c + dc, e])
                    p110, p111 = np.float32(moving[a + da, b + db, c, e]), np.float32(moving[a + da, b + db, c + dc, e])
                    q00, q01 = uc * p000 + wc * p001, uc * p010 + wc * p011
                    q10, q11 = uc * p100 + wc * p101, uc * p110 + wc * p111
                    r0, r1 = ub * q00 + wb * q01, ub * q10 + wb * q11
                    difference = ua * r0 + wa * r1 - np.float32(fixed[i, j, k, e])
                    square += difference * difference
                    g0 += difference * (r1 - r0)
                    g1 += difference * (ua * (q01 - q00) + wa * (q11 - q10))
                    g2 += difference * (
                        ua * (ub * (p001 - p000) + wb * (p011 - p010)) + wa * (ub * (p101 - p100) + wb * (p111 - p110))
                    )
                value += w * square
                total += w
                # Beyond the outermost voxel centers the rim is repeated, so nothing changes there.
                force[0, i, j, k] = w * g0 if y0 > zero and y0 < mi - 1 else zero
                force[1, i, j, k] = w * g1 if y1 > zero and y1 < mj - 1 else zero
                force[2, i, j, k] = w * g2 if y2 > zero and y2 < mk - 1 else zero
        sums[i, 0], sums[i, 1] = value, total


def warp_ssd(
    moving: np.ndarray, moving_weight: np.ndarray, fixed: np.ndarray, fixed_weight: np.ndarray, field: np.ndarray, offset: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Compare fixed(x) with moving(x + field(x) + offset).

    Parameters
    ----------
    moving, fixed : (a, b, d, c) and (i, j, k, c) arrays, both float32 or both uint8
        Features, channels last; the numbers are compared as they are.
    moving_weight, fixed_weight : (a, b, d) and (i, j, k) float32 arrays
        How much voxels count.
    field : (3, i, j, k) float32 array
        Displacement in voxels.
    offset : (3,) array
        From voxels of `fixed` to voxels of `moving`.

    Returns
    -------
    value, total, force
        Weighted sum of squared differences, sum of weights, and (3, i, j, k) half the derivative of the first by `field`, weights held.
    """
    force = np.empty(field.shape, np.float32)
    sums = np.zeros((fixed.shape[0], 2))
    run_slabs(
        _warp_ssd_slab, fixed.shape[0], moving, moving_weight, fixed, fixed_weight, field, np.asarray(offset, np.float32), force, sums
    )
    return float(sums[:, 0].sum()), float(sums[:, 1].sum()), force
