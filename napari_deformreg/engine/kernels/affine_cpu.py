"""Compiled kernels of the affine stage: one pass over the fixed voxels gives the value, the derivative by a matrix and a curvature.

Nothing is stored per voxel. With g the moving image's gradient and x = (i, j, k, 1), the derivative of a sample by the (3, 4) matrix is
the outer product of g and x, so its products are kept as sums over a row (where only k changes) and expanded once a row.

Sums of `Moments`, all weighted: gradient[u, d, c] = sum of u g_d x_c; curvature[dd, cc] = sum of g_d g_d' x_c x_c' for the six pairs
(d, d') and the ten pairs (c, c') of `PAIRS_3` and `PAIRS_4`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs

PAIRS_3 = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
PAIRS_4 = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3))

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(inline="always", **_JIT)
def _cell(position, size):  # type: ignore[no-untyped-def]
    """Lower index, step to the upper one (0 on an axis of one voxel) and weight of the upper one, with the position clamped."""
    p = min(max(position, 0.0), size - 1.0)
    low = int(p)
    if low >= size - 1:
        low = max(size - 2, 0)
    return low, (1 if size > 1 else 0), p - low


@njit(inline="always", **_JIT)
def _ramp(position, size):  # type: ignore[no-untyped-def]
    """1 well inside, 0 outside the voxel bodies, linear in between: the overlap then changes smoothly with the matrix."""
    if size == 1:
        return 1.0
    return min(max(min(position + 0.5, size - 0.5 - position), 0.0), 1.0)


@njit(inline="always", **_JIT)
def _blend(image, a, da, wa, b, db, wb, c, dc, wc):  # type: ignore[no-untyped-def]
    lower = (1 - wb) * ((1 - wc) * image[a, b, c] + wc * image[a, b, c + dc]) + wb * (
        (1 - wc) * image[a, b + db, c] + wc * image[a, b + db, c + dc]
    )
    e = a + da
    upper = (1 - wb) * ((1 - wc) * image[e, b, c] + wc * image[e, b, c + dc]) + wb * (
        (1 - wc) * image[e, b + db, c] + wc * image[e, b + db, c + dc]
    )
    return lower, upper


@njit(inline="always", **_JIT)
def _slopes(image, y0, a, da, wa, y1, b, db, wb, y2, c, dc, wc, lower, upper):  # type: ignore[no-untyped-def]
    """Differentiate the linear interpolant; beyond the outermost voxel centers the rim is repeated, so nothing changes there."""
    e, f, h = a + da, b + db, c + dc
    g0 = upper - lower if 0 < y0 < image.shape[0] - 1 else 0.0
    g1, g2 = 0.0, 0.0
    if 0 < y1 < image.shape[1] - 1:
        low = (1 - wa) * image[a, b, c] + wa * image[e, b, c]
        low_h = (1 - wa) * image[a, b, h] + wa * image[e, b, h]
        up = (1 - wa) * image[a, f, c] + wa * image[e, f, c]
        up_h = (1 - wa) * image[a, f, h] + wa * image[e, f, h]
        g1 = (1 - wc) * (up - low) + wc * (up_h - low_h)
    if 0 < y2 < image.shape[2] - 1:
        first = (1 - wb) * (image[a, b, h] - image[a, b, c]) + wb * (image[a, f, h] - image[a, f, c])
        second = (1 - wb) * (image[e, b, h] - image[e, b, c]) + wb * (image[e, f, h] - image[e, f, c])
        g2 = (1 - wa) * first + wa * second
    return g0, g1, g2


@njit(inline="always", **_JIT)
def _spread(i, j, row_gradient, row_curvature, gradient, curvature):  # type: ignore[no-untyped-def]
    """Expand a row's sums (over powers of k) by x = (i, j, k, 1) and clear them."""
    x, y = float(i), float(j)
    for u in range(gradient.shape[0]):
        for d in range(3):
            plain, times_k = row_gradient[u, d, 0], row_gradient[u, d, 1]
            gradient[u, d, 0] += x * plain
            gradient[u, d, 1] += y * plain
            gradient[u, d, 2] += times_k
            gradient[u, d, 3] += plain
            row_gradient[u, d, 0] = 0.0
            row_gradient[u, d, 1] = 0.0
    for d in range(6):
        one, k1, k2 = row_curvature[d, 0], row_curvature[d, 1], row_curvature[d, 2]
        curvature[d, 0] += x * x * one
        curvature[d, 1] += x * y * one
        curvature[d, 2] += x * k1
        curvature[d, 3] += x * one
        curvature[d, 4] += y * y * one
        curvature[d, 5] += y * k1
        curvature[d, 6] += y * one
        curvature[d, 7] += k2
        curvature[d, 8] += k1
        curvature[d, 9] += one
        row_curvature[d, 0] = 0.0
        row_curvature[d, 1] = 0.0
        row_curvature[d, 2] = 0.0


@njit(inline="always", **_JIT)
def _add_curvature(row, weight, k, p00, p01, p02, p11, p12, p22):  # type: ignore[no-untyped-def]
    k1 = weight * k
    k2 = k1 * k
    row[0, 0] += weight * p00
    row[0, 1] += k1 * p00
    row[0, 2] += k2 * p00
    row[1, 0] += weight * p01
    row[1, 1] += k1 * p01
    row[1, 2] += k2 * p01
    row[2, 0] += weight * p02
    row[2, 1] += k1 * p02
    row[2, 2] += k2 * p02
    row[3, 0] += weight * p11
    row[3, 1] += k1 * p11
    row[3, 2] += k2 * p11
    row[4, 0] += weight * p12
    row[4, 1] += k1 * p12
    row[4, 2] += k2 * p12
    row[5, 0] += weight * p22
    row[5, 1] += k1 * p22
    row[5, 2] += k2 * p22


@njit(inline="always", **_JIT)
def _add_gradient(row, weight, k, g0, g1, g2):  # type: ignore[no-untyped-def]
    row[0, 0] += weight * g0
    row[1, 0] += weight * g1
    row[2, 0] += weight * g2
    row[0, 1] += weight * k * g0
    row[1, 1] += weight * k * g1
    row[2, 1] += weight * k * g2


@njit(**_JIT)
def _moments_slab(first, stop, fixed, fixed_weight, moving, moving_weight, matrix, derivatives):  # type: ignore[no-untyped-def]
    _, nj, nk, channels = fixed.shape
    m0, m1, m2 = moving.shape[:3]
    sums, gradient, curvature = np.zeros(6), np.zeros((3, 3, 4)), np.zeros((6, 10))
    row_gradient, row_curvature = np.zeros((3, 3, 2)), np.zeros((6, 3))
    weighted = moving_weight.shape[0] == m0
    for i in range(first, stop):
        for j in range(nj):
            start0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 3]
            start1 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 3]
            start2 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 3]
            for k in range(nk):
                y0, y1, y2 = start0 + matrix[0, 2] * k, start1 + matrix[1, 2] * k, start2 + matrix[2, 2] * k
                w = fixed_weight[i, j, k] * _ramp(y0, m0) * _ramp(y1, m1) * _ramp(y2, m2)
                if w <= 0.0:
                    continue
                a, da, wa = _cell(y0, m0)
                b, db, wb = _cell(y1, m1)
                c, dc, wc = _cell(y2, m2)
                if weighted:
                    low, up = _blend(moving_weight, a, da, wa, b, db, wb, c, dc, wc)
                    w *= (1 - wa) * low + wa * up
                    if w <= 0.0:
                        continue
                ua, ub, uc = np.float32(1 - wa), np.float32(1 - wb), np.float32(1 - wc)
                va, vb, vc = np.float32(wa), np.float32(wb), np.float32(wc)
                on0 = np.float32(1.0) if 0 < y0 < m0 - 1 else np.float32(0.0)
                on1 = np.float32(1.0) if 0 < y1 < m1 - 1 else np.float32(0.0)
                on2 = np.float32(1.0) if 0 < y2 < m2 - 1 else np.float32(0.0)
                q = fixed[i, j, k]
                q000, q001 = moving[a, b, c], moving[a, b, c + dc]
                q010, q011 = moving[a, b + db, c], moving[a, b + db, c + dc]
                q100, q101 = moving[a + da, b, c], moving[a + da, b, c + dc]
                q110, q111 = moving[a + da, b + db, c], moving[a + da, b + db, c + dc]
                sf, sm, sff, sfm, smm = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                g0, g1, g2 = np.float32(0), np.float32(0), np.float32(0)
                f0, f1, f2 = np.float32(0), np.float32(0), np.float32(0)
                h0, h1, h2 = np.float32(0), np.float32(0), np.float32(0)
                c00, c01, c02 = np.float32(0), np.float32(0), np.float32(0)
                c11, c12, c22 = np.float32(0), np.float32(0), np.float32(0)
                for n in range(channels):
                    p00, p01 = uc * q000[n] + vc * q001[n], uc * q010[n] + vc * q011[n]
                    p10, p11 = uc * q100[n] + vc * q101[n], uc * q110[n] + vc * q111[n]
                    r0, r1 = ub * p00 + vb * p01, ub * p10 + vb * p11
                    m, f = ua * r0 + va * r1, q[n]
                    sf += f
                    sm += m
                    sff += f * f
                    sfm += f * m
                    smm += m * m
                    if derivatives:
                        d0, d1 = on0 * (r1 - r0), on1 * (ua * (p01 - p00) + va * (p11 - p10))
                        e0 = ub * (q001[n] - q000[n]) + vb * (q011[n] - q010[n])
                        e1 = ub * (q101[n] - q100[n]) + vb * (q111[n] - q110[n])
                        d2 = on2 * (ua * e0 + va * e1)
                        g0 += d0
                        g1 += d1
                        g2 += d2
                        f0 += f * d0
                        f1 += f * d1
                        f2 += f * d2
                        h0 += m * d0
                        h1 += m * d1
                        h2 += m * d2
                        c00 += d0 * d0
                        c01 += d0 * d1
                        c02 += d0 * d2
                        c11 += d1 * d1
                        c12 += d1 * d2
                        c22 += d2 * d2
                sums[0] += w * channels
                sums[1] += w * sf
                sums[2] += w * sm
                sums[3] += w * sff
                sums[4] += w * sfm
                sums[5] += w * smm
                if derivatives:
                    _add_gradient(row_gradient[0], w, k, g0, g1, g2)
                    _add_gradient(row_gradient[1], w, k, f0, f1, f2)
                    _add_gradient(row_gradient[2], w, k, h0, h1, h2)
                    _add_curvature(row_curvature, w, k, c00, c01, c02, c11, c12, c22)
            if derivatives:
                _spread(i, j, row_gradient, row_curvature, gradient, curvature)
    return sums, gradient, curvature


def moments(
    fixed: np.ndarray, fixed_weight: np.ndarray, moving: np.ndarray, moving_weight: np.ndarray | None, matrix: np.ndarray,
    derivatives: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum over the overlap and the channels what correlation and squared differences need.

    Parameters
    ----------
    fixed : (i, j, k, n) float32 array
        Intensities or descriptors f, n channels.
    fixed_weight : (i, j, k) float32 array
        How much each voxel counts.
    moving, moving_weight : (a, b, c, n) and (a, b, c) float32 arrays
        Sampled linearly at matrix (i, j, k, 1); the weight is None where every moving voxel counts.
    matrix : (3, 4) float64 array
        From fixed to moving voxels.
    derivatives : bool
        Whether the last two are wanted (else zero).

    Returns
    -------
    sums, gradient, curvature
        Weighted sums of 1, f, m, ff, fm, mm; the (3, 3, 4) sums for u = 1, f, m; the (6, 10) curvature (see the module's text).
    """
    other = _none(moving_weight)
    parts = run_slabs(_moments_slab, fixed.shape[0], fixed, fixed_weight, moving, other, np.ascontiguousarray(matrix), derivatives)
    return _total(parts, 0), _total(parts, 1), _total(parts, 2)


@njit(inline="always", **_JIT)
def _bspline(t):  # type: ignore[no-untyped-def]
    """Cubic B-spline weights of the bins floor - 1 ... floor + 2 at the fraction t."""
    s = 1.0 - t
    return s * s * s / 6, (4 - 6 * t * t + 3 * t * t * t) / 6, (4 - 6 * s * s + 3 * s * s * s) / 6, t * t * t / 6


@njit(inline="always", **_JIT)
def _bspline_slope(t):  # type: ignore[no-untyped-def]
    s = 1.0 - t
    return -0.5 * s * s, -2 * t + 1.5 * t * t, 2 * s - 1.5 * s * s, 0.5 * t * t


@njit(**_JIT)
def _histogram_slab(first, stop, bins, fixed_weight, moving, moving_weight, matrix, count):  # type: ignore[no-untyped-def]
    nj, nk = bins.shape[1:]
    m0, m1, m2 = moving.shape
    out = np.zeros((count, count))
    weighted = moving_weight.shape[0] == m0
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                y0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y1 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                y2 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                w = fixed_weight[i, j, k] * _ramp(y0, m0) * _ramp(y1, m1) * _ramp(y2, m2)
                if w <= 0.0:
                    continue
                a, da, wa = _cell(y0, m0)
                b, db, wb = _cell(y1, m1)
                c, dc, wc = _cell(y2, m2)
                if weighted:
                    low, up = _blend(moving_weight, a, da, wa, b, db, wb, c, dc, wc)
                    w *= (1 - wa) * low + wa * up
                lower, upper = _blend(moving, a, da, wa, b, db, wb, c, dc, wc)
                position = 2 + ((1 - wa) * lower + wa * upper) * (count - 5)
                low_bin = int(position)
                w0, w1, w2, w3 = _bspline(position - low_bin)
                row = bins[i, j, k]
                out[row, low_bin - 1] += w * w0
                out[row, low_bin] += w * w1
                out[row, low_bin + 1] += w * w2
                out[row, low_bin + 2] += w * w3
    return out


def histogram(
    bins: np.ndarray, fixed_weight: np.ndarray, moving: np.ndarray, moving_weight: np.ndarray | None, matrix: np.ndarray, count: int
) -> np.ndarray:
    """Return the weighted joint histogram (count, count) of fixed bins and moving intensities in [0, 1] (cubic Parzen window)."""
    other = _none(moving_weight)
    parts = run_slabs(_histogram_slab, bins.shape[0], bins, fixed_weight, moving, other, np.ascontiguousarray(matrix), count)
    return np.asarray(sum(parts))


@njit(**_JIT)
def _table_slab(first, stop, bins, fixed_weight, moving, moving_weight, matrix, table):  # type: ignore[no-untyped-def]
    nj, nk = bins.shape[1:]
    m0, m1, m2 = moving.shape
    count = table.shape[0]
    gradient, curvature = np.zeros((1, 3, 4)), np.zeros((6, 10))
    row_gradient, row_curvature = np.zeros((1, 3, 2)), np.zeros((6, 3))
    weighted = moving_weight.shape[0] == m0
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                y0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y1 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                y2 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                w = fixed_weight[i, j, k] * _ramp(y0, m0) * _ramp(y1, m1) * _ramp(y2, m2)
                if w <= 0.0:
                    continue
                a, da, wa = _cell(y0, m0)
                b, db, wb = _cell(y1, m1)
                c, dc, wc = _cell(y2, m2)
                if weighted:
                    low, up = _blend(moving_weight, a, da, wa, b, db, wb, c, dc, wc)
                    w *= (1 - wa) * low + wa * up
                lower, upper = _blend(moving, a, da, wa, b, db, wb, c, dc, wc)
                position = 2 + ((1 - wa) * lower + wa * upper) * (count - 5)
                low_bin = int(position)
                s0, s1, s2, s3 = _bspline_slope(position - low_bin)
                row = bins[i, j, k]
                slope = (
                    s0 * table[row, low_bin - 1] + s1 * table[row, low_bin] + s2 * table[row, low_bin + 1] + s3 * table[row, low_bin + 2]
                ) * (count - 5)
                g0, g1, g2 = _slopes(moving, y0, a, da, wa, y1, b, db, wb, y2, c, dc, wc, lower, upper)
                _add_gradient(row_gradient[0], w * slope, k, g0, g1, g2)
                _add_curvature(row_curvature, w * slope * slope, k, g0 * g0, g0 * g1, g0 * g2, g1 * g1, g1 * g2, g2 * g2)
            _spread(i, j, row_gradient, row_curvature, gradient, curvature)
    return gradient, curvature


def table_derivative(
    bins: np.ndarray, fixed_weight: np.ndarray, moving: np.ndarray, moving_weight: np.ndarray | None, matrix: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum of s g x (3, 4) and sum of s s g g' x x' (6, 10), s the derivative by the sample of table . histogram."""
    other = _none(moving_weight)
    parts = run_slabs(_table_slab, bins.shape[0], bins, fixed_weight, moving, other, np.ascontiguousarray(matrix), table)
    return _total(parts, 0)[0], _total(parts, 1)


def curvature_matrix(curvature: np.ndarray) -> np.ndarray:
    """Expand the (6, 10) sums to the symmetric (12, 12) matrix over the (3, 4) matrix's entries, row by row."""
    out = np.empty((3, 4, 3, 4))
    for p, (d, e) in enumerate(PAIRS_3):
        for q, (a, b) in enumerate(PAIRS_4):
            out[d, a, e, b] = out[d, b, e, a] = out[e, a, d, b] = out[e, b, d, a] = curvature[p, q]
    return out.reshape(12, 12)


def _none(weight: np.ndarray | None) -> np.ndarray:
    # An array no image can have the length of: the kernels take it for "every voxel counts".
    return np.ones((0, 1, 1), np.float32) if weight is None else weight


def _total(parts: list[Any], index: int) -> np.ndarray:
    return np.asarray(sum(part[index] for part in parts))
