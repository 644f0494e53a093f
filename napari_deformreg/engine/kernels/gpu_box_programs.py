"""Triton programs for sums over windows and the local correlation made of them; see `gpu_programs`.

Along k, where neighbors are next to each other in memory, each window is summed on its own in float32. Along the other axes a sum slides:
what enters the window is added and what leaves it is taken off, in float64, so that nothing is lost; each program slides over `SEGMENT`
places of a line only, and so many lines are at work at once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_programs import _block, _program, _value


@_program
def box_rows(source, out, radius, nj, nk, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum windows along k of planes (nj, nk); zero outside."""
    line, at, mask = _block(nj * nk, BLOCK)
    k = at % nk
    here = tl.cast(line, tl.int64) * (nj * nk) + at
    total = tl.zeros([BLOCK], tl.float32)
    for tap in range(0, 2 * radius + 1):
        shift = tap - radius
        total += _value(source, here + shift, mask & (k + shift >= 0) & (k + shift < nk))
    tl.store(out + here, total, mask=mask)


@_program
def product_rows(moved, fixed, out, radius, ni, nj, nk, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum windows along k of moved, its square and moved times fixed into three channels."""
    line, at, mask = _block(nj * nk, BLOCK)
    k = at % nk
    here = tl.cast(line, tl.int64) * (nj * nk) + at
    voxels = tl.cast(ni, tl.int64) * (nj * nk)
    first, second, third = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for tap in range(0, 2 * radius + 1):
        shift = tap - radius
        exists = mask & (k + shift >= 0) & (k + shift < nk)
        p = _value(moved, here + shift, exists)
        first += p
        second += p * p
        third += p * _value(fixed, here + shift, exists)
    tl.store(out + here, first, mask=mask)
    tl.store(out + here + voxels, second, mask=mask)
    tl.store(out + here + 2 * voxels, third, mask=mask)


@triton.jit
def _segment(length, stride, SEGMENT: tl.constexpr, LINES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the start of this program's lines, which of them exist, and the range of its places along them.

    A tensor is taken as (outer, length, stride): a line begins at each of the outer and the last axis's places.
    """
    blocks, segments = tl.cdiv(stride, LINES), tl.cdiv(length, SEGMENT)
    program = tl.program_id(0)
    at = (program % blocks) * LINES + tl.arange(0, LINES)
    first = ((program // blocks) % segments) * SEGMENT
    begin = tl.cast(program // (blocks * segments), tl.int64) * length * stride + at
    return begin, at < stride, first, tl.minimum(first + SEGMENT, length)


@triton.jit
def _before(source, begin, mask, first, length, stride, radius, LINES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum the window around the place before the first one."""
    total = tl.zeros([LINES], tl.float64)
    for at in range(tl.maximum(first - 1 - radius, 0), tl.minimum(first + radius, length)):
        total += _value(source, begin + tl.cast(at, tl.int64) * stride, mask).to(tl.float64)
    return total


@triton.jit
def _slid(total, source, begin, mask, at, length, stride, radius, LINES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Slide a window's sum on to a place."""
    places = tl.zeros([LINES], tl.int32) + at  # one for each line: Triton's interpreter cannot join a mask and a single truth value
    enters, leaves = places + radius, places - radius - 1
    new = _value(source, begin + enters.to(tl.int64) * stride, mask & (enters < length))
    old = _value(source, begin + leaves.to(tl.int64) * stride, mask & (leaves >= 0))
    return total + (new.to(tl.float64) - old.to(tl.float64))


@_program
def box_lines(source, out, radius, length, stride, SEGMENT: tl.constexpr, LINES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum windows along the middle axis of (outer, length, stride); zero outside."""
    begin, mask, first, stop = _segment(length, stride, SEGMENT, LINES)
    total = _before(source, begin, mask, first, length, stride, radius, LINES)
    for at in range(first, stop):
        total = _slid(total, source, begin, mask, at, length, stride, radius, LINES)
        tl.store(out + begin + tl.cast(at, tl.int64) * stride, total.to(tl.float32), mask=mask)


@_program
def lncc_coefficients(  # type: ignore[no-untyped-def]
    sums, fixed_sum, fixed_variance, count, weight, out, parts, radius, length, stride, epsilon, SEGMENT: tl.constexpr, LINES: tl.constexpr
):
    """Finish the sums of the three products along i and turn them into the coefficients of the derivative.

    Writes each program's weighted sum of squared correlations to `parts`, in float64.
    """
    begin, mask, first, stop = _segment(length, stride, SEGMENT, LINES)
    voxels = tl.cast(length, tl.int64) * stride
    second, third = sums + voxels, sums + 2 * voxels
    sum_p = _before(sums, begin, mask, first, length, stride, radius, LINES)
    sum_pp = _before(second, begin, mask, first, length, stride, radius, LINES)
    sum_pt = _before(third, begin, mask, first, length, stride, radius, LINES)
    part = tl.zeros([LINES], tl.float64)
    for at in range(first, stop):
        sum_p = _slid(sum_p, sums, begin, mask, at, length, stride, radius, LINES)
        sum_pp = _slid(sum_pp, second, begin, mask, at, length, stride, radius, LINES)
        sum_pt = _slid(sum_pt, third, begin, mask, at, length, stride, radius, LINES)
        here = begin + tl.cast(at, tl.int64) * stride
        n = tl.load(count + here, mask=mask, other=1.0).to(tl.float32)
        t_variance = tl.load(fixed_variance + here, mask=mask, other=1.0).to(tl.float32)
        st, w = _value(fixed_sum, here, mask), _value(weight, here, mask)
        sp = sum_p.to(tl.float32)
        mean = sp / n
        covariance = sum_pt.to(tl.float32) - mean * st
        variance = tl.maximum(sum_pp.to(tl.float32) - mean * sp, 0.0) + epsilon * n
        slope = covariance / (variance * t_variance)
        square = covariance * slope
        part += (w * square).to(tl.float64)
        c = 2.0 * slope * w
        b = -square / variance * w
        tl.store(out + here, -(c * st + 2.0 * b * sp) / n, mask=mask)
        tl.store(out + here + voxels, b, mask=mask)
        tl.store(out + here + 2 * voxels, c, mask=mask)
    tl.store(parts + tl.program_id(0), tl.sum(part, axis=0))


@_program
def lncc_derivative(  # type: ignore[no-untyped-def]
    sums, moved, fixed, out, radius, length, stride, scale, SEGMENT: tl.constexpr, LINES: tl.constexpr
):
    """Finish the sums of the three coefficients along i and write the derivative by the moved image."""
    begin, mask, first, stop = _segment(length, stride, SEGMENT, LINES)
    voxels = tl.cast(length, tl.int64) * stride
    second, third = sums + voxels, sums + 2 * voxels
    a = _before(sums, begin, mask, first, length, stride, radius, LINES)
    b = _before(second, begin, mask, first, length, stride, radius, LINES)
    c = _before(third, begin, mask, first, length, stride, radius, LINES)
    for at in range(first, stop):
        a = _slid(a, sums, begin, mask, at, length, stride, radius, LINES)
        b = _slid(b, second, begin, mask, at, length, stride, radius, LINES)
        c = _slid(c, third, begin, mask, at, length, stride, radius, LINES)
        here = begin + tl.cast(at, tl.int64) * stride
        p, t = _value(moved, here, mask), _value(fixed, here, mask)
        slope = a.to(tl.float32) + 2.0 * p * b.to(tl.float32) + t * c.to(tl.float32)
        tl.store(out + here, scale * slope, mask=mask)
