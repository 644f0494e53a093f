"""Fused kernels for a CUDA GPU, in Triton: each equals its plain-torch twin in `reference` and takes the same arguments.

A GPU's limit is its memory, so each docstring says what a kernel moves through it for each voxel, in bytes of float32, where what
neighbors share is read once and comes from the caches after that. `gpu_check` decides whether they are used. Images and fields may be
bfloat16 or float16, too: they are read as float32, calculated in float32 and the results are float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .lattice import long_rows

BLOCK = 256
"""Voxels that one program works on."""

LINES, SEGMENT = 128, 32
"""Lines of one program of sliding sums, and places along each."""

_ROUNDED = {"enable_fp_fusion": False}
"""Every product and sum is rounded, as in the interpreter that the kernels were tested in: they wait for memory, not for arithmetic."""

LONGEST_BLOCK = 1024
"""Vectors that one program looks at."""


def has_triton() -> bool:
    """Tell whether Triton is there; CUDA builds of torch for Linux bring it, others do not."""
    return find_spec("triton") is not None


@cache
def _programs() -> tuple[ModuleType, ModuleType]:
    from . import gpu_box_programs, gpu_programs

    return gpu_programs, gpu_box_programs


def _blocks(channels: int, shape: tuple[int, ...]) -> tuple[int]:
    ni, nj, nk = shape
    return (channels * ni * -(-nj * nk // BLOCK),)


def _sizes(tensor: Tensor) -> tuple[int, int, int]:
    return tensor.shape[2], tensor.shape[3], tensor.shape[4]


def _current(tensor: Tensor) -> AbstractContextManager[Any]:
    """Make a tensor's GPU the one that programs are launched on."""
    used: AbstractContextManager[Any] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return used


def _new(channels: int, like: Tensor) -> Tensor:
    return torch.empty((1, channels, *like.shape[2:]), dtype=torch.float32, device=like.device)


def compose(outer: Tensor, inner: Tensor, scale_outer: float = 1.0, scale_inner: float = 1.0) -> Tensor:
    """Return s_i inner(x) + s_o outer(x + s_i inner(x)) for (1, 3, i, j, k) displacements; no sampling grid is stored.

    Moves 36 bytes a voxel: both fields once, the result once.
    """
    outer, inner = outer.contiguous(), inner.contiguous()
    shape, out = _sizes(inner), _new(3, inner)
    with _current(inner):
        _programs()[0].compose[_blocks(1, shape)](
            outer, inner, out, *shape, *_sizes(outer), float(scale_outer), float(scale_inner), BLOCK=BLOCK, **_ROUNDED
        )
    return out


def warp(
    image: Tensor, field: Tensor, matrix: Tensor, offset: Tensor, with_gradient: bool, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample an image at matrix (x + field(x)) + offset; see `sampling.warp`. The matrix and the offset lie on the CPU.

    Moves 24 bytes a voxel: the field, the image, the value and the inside; 12 more with the derivative, 4 more with a weight.
    """
    image, field = image.contiguous(), field.contiguous()
    weight = None if weight is None else weight.contiguous()
    shape, value, inside = _sizes(field), _new(1, field), _new(1, field)
    gradient = _new(3, field) if with_gradient else value.new_zeros((1, 0, 1, 1, 1))
    numbers = [float(number) for number in (*matrix.flatten().tolist(), *offset.tolist())]
    with _current(field):
        _programs()[0].warp[_blocks(1, shape)](
            image, image if weight is None else weight, field, value, gradient if with_gradient else value, inside, *shape,
            *_sizes(image), *numbers, WITH_GRADIENT=with_gradient, WEIGHTED=weight is not None, BLOCK=BLOCK, **_ROUNDED,
        )  # fmt: skip
    return value, gradient, inside


def convolve_separable(data: Tensor, kernels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Convolve (1, c, i, j, k) channels with one kernel an axis, repeating the rim; one launch for each axis with a longer kernel.

    Moves 8 bytes a voxel, channel and such axis.
    """
    out = data.contiguous()
    shape, channels = _sizes(data), data.shape[1]
    with _current(data):
        for axis, kernel in enumerate(kernels):
            if len(kernel) == 1:
                out = out * float(kernel[0])
                continue
            source, out = out, _new(channels, data)
            weights = kernel.to(device=data.device, dtype=torch.float32).contiguous()
            _programs()[0].convolve_axis[_blocks(channels, shape)](
                source, out, weights, len(kernel) // 2, *shape, AXIS=axis, BLOCK=BLOCK, **_ROUNDED
            )
    return out


def longest_vector(field: Tensor) -> float:
    """Return the length of the longest vector of a (1, 3, i, j, k) field; only that number comes to the CPU.

    Moves 12 bytes a voxel.
    """
    field = field.contiguous()
    voxels = prod(field.shape[2:])
    programs = -(-voxels // LONGEST_BLOCK)
    squares = torch.empty(programs, dtype=torch.float32, device=field.device)
    with _current(field):
        _programs()[0].longest_squares[(programs,)](field, squares, voxels, BLOCK=LONGEST_BLOCK, **_ROUNDED)
    return float(squares.max().sqrt())


def _slide_along_j(sums: Tensor, out: Tensor, shape: tuple[int, int, int], radius: int) -> tuple[Tensor, Tensor]:
    """Sum windows along j; returns the sums and the tensor that is free now. An axis of one voxel stays as it is."""
    ni, nj, nk = shape
    if nj == 1:
        return sums, out
    grid = (sums.shape[1] * ni * -(-nj // SEGMENT) * -(-nk // LINES),)
    _programs()[1].box_lines[grid](sums, out, radius, nj, nk, SEGMENT=SEGMENT, LINES=LINES, **_ROUNDED)
    return out, sums


def _slides_along_i(shape: tuple[int, int, int]) -> int:
    """Count the programs that slide over one channel along i."""
    ni, nj, nk = shape
    return -(-ni // SEGMENT) * -(-nj * nk // LINES)


def box_sum(data: Tensor, radius: int) -> Tensor:
    """Sum (1, c, i, j, k) channels over windows of 2 radius + 1 voxels an axis; zero outside.

    Along j and i sums slide in float64, along k windows are summed in float32; between the axes everything is float32. Moves 24 bytes a
    voxel and channel; what leaves a window is read once more, as a rule from the caches.
    """
    data, channels = data.contiguous(), data.shape[1]
    ni, nj, nk = shape = _as_rows(data)
    first, second = _new(channels, data), _new(channels, data)
    with _current(data):
        boxes = _programs()[1]
        boxes.box_rows[_blocks(channels, shape)](data, first, radius, nj, nk, BLOCK=BLOCK, **_ROUNDED)
        first, second = _slide_along_j(first, second, shape, radius)
        if ni > 1:
            grid = (channels * _slides_along_i(shape),)
            boxes.box_lines[grid](first, second, radius, ni, nj * nk, SEGMENT=SEGMENT, LINES=LINES, **_ROUNDED)
    return second if ni > 1 else first


def _as_rows(tensor: Tensor) -> tuple[int, int, int]:
    """Return the tensor's sizes; a slice's as (i, 1, k), so that neighboring programs read neighboring voxels."""
    ni, nj, nk = long_rows(_sizes(tensor))
    return ni, nj, nk


def lncc_value_and_gradient(
    moved: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, count: Tensor, weight: Tensor, total_weight: float,
    radius: int, epsilon: float,
) -> tuple[float, Tensor]:
    """Return minus the weighted mean of squared local correlation and its derivative by `moved`; see `lncc_cpu`.

    Moves 156 bytes a voxel in six launches: 20 to sum the products along k, 24 along j, 40 along i and for the coefficients, 24 and 24 to
    sum these along k and j, and 24 along i and for the derivative. The value is added up in float64 in a fixed order.
    """
    parts = [part.contiguous() for part in (moved, fixed, fixed_sum, fixed_variance, count, weight)]
    _, nj, nk = shape = _as_rows(moved)
    one, other, gradient = _new(3, moved), _new(3, moved), _new(1, moved)
    slides = (_slides_along_i(shape),)
    squares = torch.empty(slides, dtype=torch.float64, device=moved.device)
    tiles = {"SEGMENT": SEGMENT, "LINES": LINES, **_ROUNDED}
    with _current(moved):
        boxes = _programs()[1]
        boxes.product_rows[_blocks(1, shape)](parts[0], parts[1], one, radius, *shape, BLOCK=BLOCK, **_ROUNDED)
        one, other = _slide_along_j(one, other, shape, radius)
        boxes.lncc_coefficients[slides](one, *parts[2:], other, squares, radius, shape[0], nj * nk, float(epsilon), **tiles)
        boxes.box_rows[_blocks(3, shape)](other, one, radius, nj, nk, BLOCK=BLOCK, **_ROUNDED)
        one, other = _slide_along_j(one, other, shape, radius)
        boxes.lncc_derivative[slides](one, parts[0], parts[1], gradient, radius, shape[0], nj * nk, -1.0 / total_weight, **tiles)
    return -float(squares.sum()) / total_weight, gradient
