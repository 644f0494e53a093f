"""The kernels of `cpu` for slices: no loop over the axis of one voxel, and four corners around a position instead of eight (numba).

The planes of a slice lie in memory as those of a two-dimensional image do, wherever its axis of one voxel is, so that arrays come in as
(c, i, 1, k); components and matrices are in the order of `row_axes`: along i, across, along k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ...space.slabs import run_slabs
from .lattice import cell, long_rows, row_axes

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@njit(**_JIT)
def _convolve_slice_slab(first, stop, data, kernel_i, kernel_k, out):  # type: ignore[no-untyped-def]
    """Convolve the rows of the range, and those around it that they need, along k, then along i; `data` is (c, i, 1, k)."""
    count, ni, _, nk = data.shape
    ri, rk = len(kernel_i) // 2, len(kernel_k) // 2
    low, high = max(first - ri, 0), min(stop + ri, ni)
    plane = np.empty((high - low, nk), np.float32)
    padded = np.empty(nk + 2 * rk, np.float32)
    for channel in range(count):
        for i in range(low, high):
            source = data[channel, i, 0]
            for k in range(nk):
                padded[k + rk] = source[k]
            for t in range(rk):
                padded[t] = source[0]
                padded[nk + rk + t] = source[nk - 1]
            row = plane[i - low]
            for k in range(nk):
                row[k] = kernel_k[rk] * padded[k + rk]
            for t in range(rk):
                w, before, after = kernel_k[t], padded[t : t + nk], padded[2 * rk - t : 2 * rk - t + nk]
                for k in range(nk):
                    row[k] += w * (before[k] + after[k])
        for i in range(first, stop):
            row = out[channel, i, 0]
            here = plane[i - low]
            for k in range(nk):
                row[k] = kernel_i[ri] * here[k]
            for t in range(ri):
                w = kernel_i[t]
                before, after = plane[max(i + t - ri, 0) - low], plane[min(i - t + ri, ni - 1) - low]
                for k in range(nk):
                    row[k] += w * (before[k] + after[k])


def convolve_separable(data: np.ndarray, kernels: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Do what `cpu.convolve_separable` does."""
    first, across, second = (kernels[axis] for axis in row_axes(data.shape[1:]))
    plane = data.reshape(len(data), *long_rows(data.shape[1:]))
    out = np.empty_like(plane)
    run_slabs(_convolve_slice_slab, plane.shape[1], plane, across.sum() * first, second, out)
    return out.reshape(data.shape)


@njit(**_JIT)
def _compose_slab(first, stop, outer, inner, axes, scale_outer, scale_inner, out):  # type: ignore[no-untyped-def]
    _, ni, nk = inner.shape
    flat, row = outer.reshape(outer.size), np.uintp(nk)
    along, across, ahead = axes[0], axes[1], axes[2]
    size = np.uintp(ni * nk)
    for i in range(first, stop):
        for k in range(nk):
            d0, d1, d2 = scale_inner * inner[along, i, k], scale_inner * inner[across, i, k], scale_inner * inner[ahead, i, k]
            a, da, wa = cell(np.float32(i) + d0, ni)
            c, dc, wc = cell(np.float32(k) + d2, nk)
            ua, wa = scale_outer * (np.float32(1) - wa), scale_outer * wa
            uc = np.float32(1) - wc
            w, x, y, z = ua * uc, ua * wc, wa * uc, wa * wc
            q = np.uintp(a) * row + np.uintp(c)
            si, sk = np.uintp(da) * row, np.uintp(dc)
            p = q + np.uintp(along) * size
            out[along, i, k] = d0 + w * flat[p] + x * flat[p + sk] + y * flat[p + si] + z * flat[p + si + sk]
            p = q + np.uintp(across) * size
            out[across, i, k] = d1 + w * flat[p] + x * flat[p + sk] + y * flat[p + si] + z * flat[p + si + sk]
            p = q + np.uintp(ahead) * size
            out[ahead, i, k] = d2 + w * flat[p] + x * flat[p + sk] + y * flat[p + si] + z * flat[p + si + sk]


def compose(outer: np.ndarray, inner: np.ndarray, scale_outer: float, scale_inner: float) -> np.ndarray:
    """Do what `cpu.compose` does."""
    ni, _, nk = long_rows(inner.shape[1:])
    out = np.empty((3, ni, nk), np.float32)
    axes = np.array(row_axes(inner.shape[1:]))
    run_slabs(
        _compose_slab, ni, outer.reshape(out.shape), inner.reshape(out.shape), axes, np.float32(scale_outer), np.float32(scale_inner), out
    )
    return out.reshape(inner.shape)


@njit(**_JIT)
def _warp_slab(first, stop, image, weight, field, axes, matrix, offset, value, gradient, inside):  # type: ignore[no-untyped-def]
    """Warp the rows of the range; rows and columns of `matrix` and the entries of `offset` are in the order of `axes`."""
    nk = value.shape[1]
    mi, mk = image.shape
    half, zero = np.float32(0.5), np.float32(0)
    top0, top2 = np.float32(mi) - half, np.float32(mk) - half
    with_gradient, weighted = gradient.shape[0] == 3, weight.shape[0] > 0
    flat, flat_weight, row = image.reshape(image.size), weight.reshape(weight.size), np.uintp(mk)
    m00, m01, m02 = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    m20, m21, m22 = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    along, across, ahead = axes[0], axes[1], axes[2]
    for i in range(first, stop):
        for k in range(nk):
            x0, x1, x2 = np.float32(i) + field[along, i, k], field[across, i, k], np.float32(k) + field[ahead, i, k]
            y0 = m00 * x0 + m01 * x1 + m02 * x2 + offset[0]
            y2 = m20 * x0 + m21 * x1 + m22 * x2 + offset[2]
            a, da, wa = cell(y0, mi)
            c, dc, wc = cell(y2, mk)
            ua, uc = np.float32(1) - wa, np.float32(1) - wc
            p = np.uintp(a) * row + np.uintp(c)
            q, step = p + np.uintp(da) * row, np.uintp(dc)
            p0, p1, q0, q1 = flat[p], flat[p + step], flat[q], flat[q + step]
            r0, r1 = uc * p0 + wc * p1, uc * q0 + wc * q1
            value[i, k] = ua * r0 + wa * r1
            within = (mi == 1 or (y0 >= -half and y0 <= top0)) and (mk == 1 or (y2 >= -half and y2 <= top2))
            here = np.float32(1) if within else zero
            if weighted:
                here *= ua * (uc * flat_weight[p] + wc * flat_weight[p + step]) + wa * (uc * flat_weight[q] + wc * flat_weight[q + step])
            inside[i, k] = here
            if with_gradient:
                # Beyond the outermost voxel centers the rim is repeated, so nothing changes there.
                g0 = r1 - r0 if y0 > zero and y0 < mi - 1 else zero
                g2 = ua * (p1 - p0) + wa * (q1 - q0) if y2 > zero and y2 < mk - 1 else zero
                gradient[along, i, k] = m00 * g0 + m20 * g2
                gradient[across, i, k] = m01 * g0 + m21 * g2
                gradient[ahead, i, k] = m02 * g0 + m22 * g2


def warp(
    image: np.ndarray, field: np.ndarray, matrix: np.ndarray, offset: np.ndarray, with_gradient: bool, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do what `cpu.warp` does, where image and field have one voxel along the same axis."""
    shape, axes = field.shape[1:], row_axes(field.shape[1:])
    (ni, _, nk), (mi, _, mk) = long_rows(shape), long_rows(image.shape)
    value, inside = np.empty((ni, nk), np.float32), np.empty((ni, nk), np.float32)
    gradient = np.empty((3, ni, nk) if with_gradient else (0, 1, 1), np.float32)
    plane_weight = np.empty((0, 1), np.float32) if weight is None else weight.reshape(mi, mk)
    run_slabs(
        _warp_slab, ni, image.reshape(mi, mk), plane_weight, field.reshape(3, ni, nk), np.array(axes),
        matrix[np.ix_(axes, axes)].astype(np.float32), offset[axes].astype(np.float32), value, gradient, inside,
    )
    return value.reshape(shape), gradient.reshape((3, *shape) if with_gradient else (0, 1, 1, 1)), inside.reshape(shape)
