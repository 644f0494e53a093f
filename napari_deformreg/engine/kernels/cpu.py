"""Compiled CPU kernels (numba), run over slabs on several threads.

torch's five-dimensional ``grid_sample`` is a scalar loop over the batch (one thread at batch 1) and stores a sampling grid; these do not.
All arrays are float32 and C-contiguous; positions are voxel indices of the sampled array; outside it the rim is repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from . import slice_cpu
from .lattice import between_eight, cell, long_rows, row_axes

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _compose_slab(first, stop, outer, inner, scale_outer, scale_inner, out):  # type: ignore[no-untyped-def]
    # One flat array and unsigned places: with signed ones every access would first ask whether it counts from the end.
    nj, nk = out.shape[2:]
    mi, mj, mk = outer.shape[1:]
    size = np.uintp(mi * mj * mk)
    flat = outer.reshape(outer.size)
    row, plane = np.uintp(mk), np.uintp(mj * mk)
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                d0 = scale_inner * inner[0, i, j, k]
                d1 = scale_inner * inner[1, i, j, k]
                d2 = scale_inner * inner[2, i, j, k]
                a, da, wa = cell(np.float32(i) + d0, mi)
                b, db, wb = cell(np.float32(j) + d1, mj)
                c, dc, wc = cell(np.float32(k) + d2, mk)
                ua, wa = scale_outer * (np.float32(1) - wa), scale_outer * wa
                ub, uc = np.float32(1) - wb, np.float32(1) - wc
                weights = ua * ub, ua * wb, wa * ub, wa * wb
                p = np.uintp(a) * plane + np.uintp(b) * row + np.uintp(c)
                si, sj, sk = np.uintp(da) * plane, np.uintp(db) * row, np.uintp(dc)
                out[0, i, j, k] = d0 + between_eight(flat, p, sj, si, sk, weights, uc, wc)
                p += size
                out[1, i, j, k] = d1 + between_eight(flat, p, sj, si, sk, weights, uc, wc)
                p += size
                out[2, i, j, k] = d2 + between_eight(flat, p, sj, si, sk, weights, uc, wc)


def compose(outer: np.ndarray, inner: np.ndarray, scale_outer: float = 1.0, scale_inner: float = 1.0) -> np.ndarray:
    """Return s_i inner(x) + s_o outer(x + s_i inner(x)) for (3, i, j, k) displacements in voxels."""
    if 1 in inner.shape[1:] and outer.shape == inner.shape:
        return slice_cpu.compose(outer, inner, scale_outer, scale_inner)
    out = np.empty_like(inner)
    run_slabs(_compose_slab, inner.shape[1], outer, inner, np.float32(scale_outer), np.float32(scale_inner), out)
    return out


@njit(inline="always", **_JIT)
def _corners(flat, p, step_i, step_j, step_k):  # type: ignore[no-untyped-def]
    """Read the eight values around a place of a flattened array."""
    q, r = p + step_j, p + step_i
    s = r + step_j
    return (
        flat[p], flat[p + step_k], flat[q], flat[q + step_k], flat[r], flat[r + step_k], flat[s], flat[s + step_k]
    )  # fmt: skip


@njit(**_JIT)
def _warp_slab(first, stop, image, weight, field, matrix, straight, offset, value, gradient, inside):  # type: ignore[no-untyped-def]
    nj, nk = value.shape[1:]
    mi, mj, mk = image.shape
    half, zero = np.float32(0.5), np.float32(0)
    top0, top1, top2 = np.float32(mi) - half, np.float32(mj) - half, np.float32(mk) - half
    with_gradient, weighted = gradient.shape[0] == 3, weight.shape[0] > 0
    flat, flat_weight = image.reshape(image.size), weight.reshape(weight.size)
    row, plane = np.uintp(mk), np.uintp(mj * mk)
    m00, m01, m02 = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    m10, m11, m12 = matrix[1, 0], matrix[1, 1], matrix[1, 2]
    m20, m21, m22 = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                y0 = x0 = np.float32(i) + field[0, i, j, k]
                y1 = x1 = np.float32(j) + field[1, i, j, k]
                y2 = x2 = np.float32(k) + field[2, i, j, k]
                if not straight:
                    y0 = m00 * x0 + m01 * x1 + m02 * x2
                    y1 = m10 * x0 + m11 * x1 + m12 * x2
                    y2 = m20 * x0 + m21 * x1 + m22 * x2
                y0, y1, y2 = y0 + offset[0], y1 + offset[1], y2 + offset[2]
                in0 = mi == 1 or (y0 >= -half and y0 <= top0)
                in1 = mj == 1 or (y1 >= -half and y1 <= top1)
                in2 = mk == 1 or (y2 >= -half and y2 <= top2)
                a, da, wa = cell(y0, mi)
                b, db, wb = cell(y1, mj)
                c, dc, wc = cell(y2, mk)
                ua, ub, uc = np.float32(1) - wa, np.float32(1) - wb, np.float32(1) - wc
                p = np.uintp(a) * plane + np.uintp(b) * row + np.uintp(c)
                si, sj, sk = np.uintp(da) * plane, np.uintp(db) * row, np.uintp(dc)
                p000, p001, p010, p011, p100, p101, p110, p111 = _corners(flat, p, si, sj, sk)
                q00, q01 = uc * p000 + wc * p001, uc * p010 + wc * p011
                q10, q11 = uc * p100 + wc * p101, uc * p110 + wc * p111
                r0, r1 = ub * q00 + wb * q01, ub * q10 + wb * q11
                value[i, j, k] = ua * r0 + wa * r1
                here = np.float32(1) if in0 and in1 and in2 else zero
                if weighted:
                    w000, w001, w010, w011, w100, w101, w110, w111 = _corners(flat_weight, p, si, sj, sk)
                    here *= ua * (ub * (uc * w000 + wc * w001) + wb * (uc * w010 + wc * w011)) + wa * (
                        ub * (uc * w100 + wc * w101) + wb * (uc * w110 + wc * w111)
                    )
                inside[i, j, k] = here
                if with_gradient:
                    # Beyond the outermost voxel centers the rim is repeated, so nothing changes there.
                    g0 = r1 - r0 if y0 > zero and y0 < mi - 1 else zero
                    g1 = ua * (q01 - q00) + wa * (q11 - q10) if y1 > zero and y1 < mj - 1 else zero
                    g2 = zero
                    if y2 > zero and y2 < mk - 1:
                        g2 = ua * (ub * (p001 - p000) + wb * (p011 - p010)) + wa * (ub * (p101 - p100) + wb * (p111 - p110))
                    if not straight:
                        g0, g1, g2 = (
                            m00 * g0 + m10 * g1 + m20 * g2, m01 * g0 + m11 * g1 + m21 * g2, m02 * g0 + m12 * g1 + m22 * g2
                        )  # fmt: skip
                    gradient[0, i, j, k], gradient[1, i, j, k], gradient[2, i, j, k] = g0, g1, g2


def warp(
    image: np.ndarray, field: np.ndarray, matrix: np.ndarray, offset: np.ndarray, with_gradient: bool, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample an (i, j, k) image at matrix (x + field(x)) + offset.

    Returns
    -------
    value, gradient, inside
        The samples; their derivative by `field` (3, i, j, k), empty when not asked for; 1 where the position lies in a voxel's body,
        times the sampled `weight` (an array of the image's shape) where one is given.
    """
    shape = field.shape[1:]
    if 1 in shape and row_axes(shape) == row_axes(image.shape) and 1 in image.shape:
        return slice_cpu.warp(image, field, matrix, offset, with_gradient, weight)
    value, inside = np.empty(shape, np.float32), np.empty(shape, np.float32)
    gradient = np.empty((3, *shape) if with_gradient else (0, 1, 1, 1), np.float32)
    weight = np.empty((0, 1, 1), np.float32) if weight is None else weight
    straight = np.array_equal(matrix, np.eye(3))  # most of the optimizer's are: the affine is in the image that it warps
    run_slabs(
        _warp_slab, shape[0], image, weight, field, matrix.astype(np.float32), straight, offset.astype(np.float32), value, gradient, inside
    )
    return value, gradient, inside


@njit(**_JIT)
def _box_middle_slab(first, stop, data, radius, out):  # type: ignore[no-untyped-def]
    """Box sums along the axes j and k of each (j, k) plane of the range; `data` and `out` are (c, i, j, k)."""
    count, _, nj, nk = data.shape
    row = np.empty((nj, nk), np.float32)
    column = np.empty(nk, np.float64)
    for channel in range(count):
        for i in range(first, stop):
            for j in range(nj):
                total = 0.0
                for k in range(min(radius, nk)):
                    total += data[channel, i, j, k]
                for k in range(nk):
                    if k + radius < nk:
                        total += data[channel, i, j, k + radius]
                    if k - radius - 1 >= 0:
                        total -= data[channel, i, j, k - radius - 1]
                    row[j, k] = total
            column[:] = 0.0
            for j in range(min(radius, nj)):
                for k in range(nk):
                    column[k] += row[j, k]
            for j in range(nj):
                if j + radius < nj:
                    for k in range(nk):
                        column[k] += row[j + radius, k]
                if j - radius - 1 >= 0:
                    for k in range(nk):
                        column[k] -= row[j - radius - 1, k]
                for k in range(nk):
                    out[channel, i, j, k] = column[k]


@njit(**_JIT)
def _box_first_slab(first, stop, data, radius, out):  # type: ignore[no-untyped-def]
    """Box sums along the axis i for the rows j of the range."""
    count, ni, _, nk = data.shape
    total = np.empty(nk, np.float64)
    for channel in range(count):
        for j in range(first, stop):
            total[:] = 0.0
            for i in range(min(radius, ni)):
                for k in range(nk):
                    total[k] += data[channel, i, j, k]
            for i in range(ni):
                if i + radius < ni:
                    for k in range(nk):
                        total[k] += data[channel, i + radius, j, k]
                if i - radius - 1 >= 0:
                    for k in range(nk):
                        total[k] -= data[channel, i - radius - 1, j, k]
                for k in range(nk):
                    out[channel, i, j, k] = total[k]


def box_sum(data: np.ndarray, radius: int) -> np.ndarray:
    """Sum (c, i, j, k) channels over windows of 2 radius + 1 voxels an axis; zero outside (running sums: any radius costs the same)."""
    data, shape = data.reshape(len(data), *long_rows(data.shape[1:])), data.shape
    middle, out = np.empty_like(data), np.empty_like(data)
    run_slabs(_box_middle_slab, data.shape[1], data, radius, middle)
    run_slabs(_box_first_slab, data.shape[2], middle, radius, out)
    return out.reshape(shape)


@njit(**_JIT)
def _convolve_inner_slab(first, stop, data, kernel_j, kernel_k, out):  # type: ignore[no-untyped-def]
    """Convolve along j and k with repeated rims."""
    count, _, nj, nk = data.shape
    rj, rk = len(kernel_j) // 2, len(kernel_k) // 2
    plane = np.empty((nj, nk), np.float32)
    padded = np.empty(nk + 2 * rk, np.float32)
    for channel in range(count):
        for i in range(first, stop):
            for j in range(nj):
                for k in range(nk):
                    padded[k + rk] = data[channel, i, j, k]
                for t in range(rk):
                    padded[t] = data[channel, i, j, 0]
                    padded[nk + rk + t] = data[channel, i, j, nk - 1]
                row = plane[j]
                for k in range(nk):
                    row[k] = kernel_k[rk] * padded[k + rk]
                for t in range(rk):
                    w, before, after = kernel_k[t], padded[t : t + nk], padded[2 * rk - t : 2 * rk - t + nk]
                    for k in range(nk):
                        row[k] += w * (before[k] + after[k])
            for j in range(nj):
                row, here = out[channel, i, j], plane[j]
                for k in range(nk):
                    row[k] = kernel_j[rj] * here[k]
                for t in range(rj):
                    w = kernel_j[t]
                    before, after = plane[max(j + t - rj, 0)], plane[min(j - t + rj, nj - 1)]
                    for k in range(nk):
                        row[k] += w * (before[k] + after[k])


@njit(**_JIT)
def _convolve_first_slab(first, stop, data, kernel_i, out):  # type: ignore[no-untyped-def]
    count, ni, _, nk = data.shape
    r = len(kernel_i) // 2
    for channel in range(count):
        for j in range(first, stop):
            for i in range(ni):
                row, here = out[channel, i, j], data[channel, i, j]
                for k in range(nk):
                    row[k] = kernel_i[r] * here[k]
                for t in range(r):
                    w = kernel_i[t]
                    before, after = data[channel, max(i + t - r, 0), j], data[channel, min(i - t + r, ni - 1), j]
                    for k in range(nk):
                        row[k] += w * (before[k] + after[k])


def convolve_separable(data: np.ndarray, kernels: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Convolve (c, i, j, k) channels with one symmetric kernel an axis, repeating the rim."""
    if 1 in data.shape[1:]:
        return slice_cpu.convolve_separable(data, kernels)
    middle, out = np.empty_like(data), np.empty_like(data)
    run_slabs(_convolve_inner_slab, data.shape[1], data, kernels[1], kernels[2], middle)
    run_slabs(_convolve_first_slab, data.shape[2], middle, kernels[0], out)
    return out
