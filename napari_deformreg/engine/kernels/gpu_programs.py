"""Triton programs for a GPU; `gpu` launches them. Importing this imports Triton, which only CUDA builds of torch bring along.

All tensors are C-contiguous; they are read as float32 whatever their type, and written as float32. A program works on one block of one
(j, k) plane, so that places within a plane fit 32 bits and the divisions are cheap; the place of a plane is counted in 64 bits, as four
channels of a large volume have more than 2^31 values. No size is specialized: one compiled program serves all shapes, the checked one too.
"""

from __future__ import annotations

import triton
import triton.language as tl

_SIZES = ["ni", "nj", "nk", "mi", "mj", "mk", "radius", "length", "stride", "voxels"]


def _program(function):  # type: ignore[no-untyped-def]
    """Compile a function whose sizes are arguments of no special value."""
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    return triton.jit(function, do_not_specialize=[name for name in arguments if name in _SIZES])


@triton.jit
def _block(plane, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return this program's plane (channels and i run together), its places in the plane, and which of them exist."""
    blocks = tl.cdiv(plane, BLOCK)
    program = tl.program_id(0)
    at = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    return program // blocks, at, at < plane


@triton.jit
def _cell(position, size):  # type: ignore[no-untyped-def]
    """Return the two indices around a position clamped to the axis, and the weight of the upper one; never an index outside the axis."""
    last = tl.cast(size - 1, tl.float32)
    clamped = tl.minimum(tl.maximum(position, 0.0), last)
    low = tl.maximum(tl.minimum(clamped.to(tl.int32), size - 2), 0)
    return low, tl.minimum(low + 1, size - 1), clamped - low.to(tl.float32)


@triton.jit
def _rows(low_i, high_i, low_j, high_j, mj, mk):  # type: ignore[no-untyped-def]
    """Return where the four rows around a position begin."""
    row, plane = tl.cast(mk, tl.int64), tl.cast(mj * mk, tl.int64)
    return low_i * plane + low_j * row, low_i * plane + high_j * row, high_i * plane + low_j * row, high_i * plane + high_j * row


@triton.jit
def _value(pointer, at, mask):  # type: ignore[no-untyped-def]
    return tl.load(pointer + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _corners(pointer, rows, low_k, high_k, mask):  # type: ignore[no-untyped-def]
    """Read the eight values around a position."""
    r00, r01, r10, r11 = rows
    return (
        _value(pointer, r00 + low_k, mask), _value(pointer, r00 + high_k, mask),
        _value(pointer, r01 + low_k, mask), _value(pointer, r01 + high_k, mask),
        _value(pointer, r10 + low_k, mask), _value(pointer, r10 + high_k, mask),
        _value(pointer, r11 + low_k, mask), _value(pointer, r11 + high_k, mask),
    )  # fmt: skip


@triton.jit
def _between(low, high, weight):  # type: ignore[no-untyped-def]
    return (1.0 - weight) * low + weight * high


@triton.jit
def _interpolated(corners, wi, wj, wk):  # type: ignore[no-untyped-def]
    p000, p001, p010, p011, p100, p101, p110, p111 = corners
    lower = _between(_between(p000, p001, wk), _between(p010, p011, wk), wj)
    upper = _between(_between(p100, p101, wk), _between(p110, p111, wk), wj)
    return _between(lower, upper, wi)


@_program
def compose(outer, inner, out, ni, nj, nk, mi, mj, mk, scale_outer, scale_inner, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write s_i inner(x) + s_o outer(x + s_i inner(x)); `inner` is (3, ni, nj, nk), `outer` (3, mi, mj, mk)."""
    i, at, mask = _block(nj * nk, BLOCK)
    j, k = at // nk, at % nk
    first = tl.cast(i, tl.int64) * (nj * nk) + at
    voxels, outer_voxels = tl.cast(ni, tl.int64) * (nj * nk), tl.cast(mi, tl.int64) * (mj * mk)
    d0 = scale_inner * _value(inner, first, mask)
    d1 = scale_inner * _value(inner, first + voxels, mask)
    d2 = scale_inner * _value(inner, first + 2 * voxels, mask)
    a, a_high, wi = _cell(i.to(tl.float32) + d0, mi)
    b, b_high, wj = _cell(j.to(tl.float32) + d1, mj)
    c, c_high, wk = _cell(k.to(tl.float32) + d2, mk)
    rows = _rows(a, a_high, b, b_high, mj, mk)
    tl.store(out + first, d0 + scale_outer * _interpolated(_corners(outer, rows, c, c_high, mask), wi, wj, wk), mask=mask)
    second, third = outer + outer_voxels, outer + 2 * outer_voxels
    tl.store(out + first + voxels, d1 + scale_outer * _interpolated(_corners(second, rows, c, c_high, mask), wi, wj, wk), mask=mask)
    tl.store(out + first + 2 * voxels, d2 + scale_outer * _interpolated(_corners(third, rows, c, c_high, mask), wi, wj, wk), mask=mask)


@triton.jit
def _in_body(position, size):  # type: ignore[no-untyped-def]
    """Tell which positions lie in the body of a voxel of an axis; on an axis of one voxel all do."""
    return ((position >= -0.5) & (position <= tl.cast(size, tl.float32) - 0.5)) | (size == 1)


@triton.jit
def _changing(position, size):  # type: ignore[no-untyped-def]
    """Return 1 between the outermost voxel centers; beyond them the rim is repeated, and nothing changes."""
    return ((position > 0.0) & (position < tl.cast(size - 1, tl.float32))).to(tl.float32)


@_program
def warp(  # type: ignore[no-untyped-def]
    image, weight, field, value, gradient, inside, ni, nj, nk, mi, mj, mk,
    m00, m01, m02, m10, m11, m12, m20, m21, m22, o0, o1, o2, WITH_GRADIENT: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK: tl.constexpr,
):
    """Sample an image (mi, mj, mk) at m (x + field(x)) + o, with the derivative by the field and the weight that is inside."""
    i, at, mask = _block(nj * nk, BLOCK)
    j, k = at // nk, at % nk
    here = tl.cast(i, tl.int64) * (nj * nk) + at
    voxels = tl.cast(ni, tl.int64) * (nj * nk)
    x0 = i.to(tl.float32) + _value(field, here, mask)
    x1 = j.to(tl.float32) + _value(field, here + voxels, mask)
    x2 = k.to(tl.float32) + _value(field, here + 2 * voxels, mask)
    y0 = m00 * x0 + m01 * x1 + m02 * x2 + o0
    y1 = m10 * x0 + m11 * x1 + m12 * x2 + o1
    y2 = m20 * x0 + m21 * x1 + m22 * x2 + o2
    a, a_high, wi = _cell(y0, mi)
    b, b_high, wj = _cell(y1, mj)
    c, c_high, wk = _cell(y2, mk)
    rows = _rows(a, a_high, b, b_high, mj, mk)
    p000, p001, p010, p011, p100, p101, p110, p111 = _corners(image, rows, c, c_high, mask)
    q00, q01 = _between(p000, p001, wk), _between(p010, p011, wk)
    q10, q11 = _between(p100, p101, wk), _between(p110, p111, wk)
    r0, r1 = _between(q00, q01, wj), _between(q10, q11, wj)
    tl.store(value + here, _between(r0, r1, wi), mask=mask)
    counts = (_in_body(y0, mi) & _in_body(y1, mj) & _in_body(y2, mk)).to(tl.float32)
    if WEIGHTED:
        counts = counts * _interpolated(_corners(weight, rows, c, c_high, mask), wi, wj, wk)
    tl.store(inside + here, counts, mask=mask)
    if WITH_GRADIENT:
        g0 = _changing(y0, mi) * (r1 - r0)
        g1 = _changing(y1, mj) * _between(q01 - q00, q11 - q10, wi)
        g2 = _changing(y2, mk) * _between(_between(p001 - p000, p011 - p010, wj), _between(p101 - p100, p111 - p110, wj), wi)
        tl.store(gradient + here, m00 * g0 + m10 * g1 + m20 * g2, mask=mask)
        tl.store(gradient + here + voxels, m01 * g0 + m11 * g1 + m21 * g2, mask=mask)
        tl.store(gradient + here + 2 * voxels, m02 * g0 + m12 * g1 + m22 * g2, mask=mask)


@_program
def convolve_axis(source, out, weights, radius, ni, nj, nk, AXIS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Convolve (channels, ni, nj, nk) with 2 radius + 1 weights along an axis (0 is i), repeating the rim."""
    line, at, mask = _block(nj * nk, BLOCK)
    if AXIS == 0:
        position, size, stride = at * 0 + line % ni, ni, tl.cast(nj * nk, tl.int64)
    elif AXIS == 1:
        position, size, stride = at // nk, nj, tl.cast(nk, tl.int64)
    else:
        position, size, stride = at % nk, nk, tl.cast(1, tl.int64)
    here = tl.cast(line, tl.int64) * (nj * nk) + at
    total = tl.zeros([BLOCK], tl.float32)
    for tap in range(0, 2 * radius + 1):
        other = tl.minimum(tl.maximum(position + tap - radius, 0), size - 1)
        total += tl.load(weights + tap) * _value(source, here + (other - position) * stride, mask)
    tl.store(out + here, total, mask=mask)


@_program
def longest_squares(field, out, voxels, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write the largest squared length of each block of the vectors of a (3, voxels) field."""
    at = tl.cast(tl.program_id(0), tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < voxels
    count = tl.cast(voxels, tl.int64)
    a, b, c = _value(field, at, mask), _value(field, at + count, mask), _value(field, at + 2 * count, mask)
    tl.store(out + tl.program_id(0), tl.max(a * a + b * b + c * c, axis=0))
