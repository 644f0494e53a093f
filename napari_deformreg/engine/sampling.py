"""Sampling, warping, composing and integrating on tensors in voxel units (displacements are (1, 3, i, j, k), axis order i, j, k).

On the CPU compiled kernels do the work; on a GPU others, those that have passed their check there, else plain torch (see `kernels`).
Nothing here is differentiated by autograd: gradients are returned where they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..space import Grid
from .kernels import cpu, field_cpu, reference, resize_cpu
from .kernels.gpu_check import best, on_cpu
from .tensors import Placed

SQUARING_STEP_VOX = 0.25
"""Largest displacement of the first of the squared steps; each halving halves squaring's interpolation error."""


def _np(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor[0].numpy())


def compose(
    outer: Float[Tensor, "1 3 i j k"], inner: Float[Tensor, "1 3 i j k"], scale_outer: float = 1.0, scale_inner: float = 1.0
) -> Tensor:
    """Return the displacement of x -> (id + s_o outer)((id + s_i inner)(x))."""
    if on_cpu(outer):
        return torch.from_numpy(cpu.compose(_np(outer), _np(inner), scale_outer, scale_inner))[None]
    composed: Tensor = best("compose", outer.device)(outer, inner, scale_outer, scale_inner)
    return composed


def longest_vector(field: Float[Tensor, "1 3 i j k"]) -> float:
    """Return the length of a field's longest vector."""
    return field_cpu.longest(_np(field)) if on_cpu(field) else float(best("longest_vector", field.device)(field))


def squarings_for(velocity: Float[Tensor, "1 3 i j k"], step_vox: float = SQUARING_STEP_VOX) -> int:
    """Choose how often to square, so that the first step moves nothing farther than `step_vox`."""
    longest = longest_vector(velocity)
    if longest <= step_vox:
        return 1 if longest > 0 else 0
    return min(math.ceil(math.log2(longest / step_vox)), 12)


def integrate(velocity: Float[Tensor, "1 3 i j k"], sign: float = 1.0, squarings: int | None = None) -> Float[Tensor, "1 3 i j k"]:
    """Return the displacement of exp(sign v) by scaling and squaring (Arsigny et al. 2006, doi 10.1007/11866565_113)."""
    count = squarings_for(velocity) if squarings is None else squarings
    scale = sign / float(2**count)
    if count == 0:
        return scale * velocity
    field = compose(velocity, velocity, scale, scale)
    for _ in range(count - 1):
        field = compose(field, field)
    return field


def warp(
    image: Float[Tensor, "1 1 i j k"], field: Float[Tensor, "1 3 a b c"], matrix: np.ndarray, with_gradient: bool = False,
    weight: Float[Tensor, "1 1 i j k"] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample an image at matrix (x + field(x)).

    Parameters
    ----------
    image : (1, 1, i, j, k) tensor
        What is sampled, linearly, its rim repeated.
    field : (1, 3, a, b, c) tensor
        Displacement in voxels of its own lattice.
    matrix : (4, 4) array
        From voxels of the field's lattice to voxels of the image.
    with_gradient : bool
        Whether the derivative by `field` is wanted.
    weight : (1, 1, i, j, k) tensor, optional
        How much the image's voxels count.

    Returns
    -------
    value, gradient, inside
        (1, 1, a, b, c), (1, 3, a, b, c) or empty, and 1 where the position lies in the image's voxel bodies, times the weight there.
    """
    if on_cpu(image):
        voxel_weight = None if weight is None else _np(weight)[0]
        parts = cpu.warp(_np(image)[0], _np(field), matrix[:3, :3], matrix[:3, 3], with_gradient, voxel_weight)
        value, gradient, inside = (torch.from_numpy(part) for part in parts)
        return value[None, None], gradient[None], inside[None, None]
    rotation, offset = torch.from_numpy(matrix[:3, :3]), torch.from_numpy(matrix[:3, 3])
    warped: tuple[Tensor, Tensor, Tensor] = best("warp", image.device)(image, field, rotation, offset, with_gradient, weight)
    return warped


def box_sum(data: Float[Tensor, "1 c i j k"], radius: int) -> Float[Tensor, "1 c i j k"]:
    """Sum over windows of 2 radius + 1 voxels along each axis, zero outside."""
    if on_cpu(data):
        return torch.from_numpy(cpu.box_sum(_np(data), radius))[None]
    sums: Tensor = best("box_sum", data.device)(data, radius)
    return sums


def gaussian_kernel(sigma_vox: float) -> Float[np.ndarray, "n"]:
    """Return a normalized Gaussian cut at three standard deviations; a single 1 for sigma near 0."""
    if sigma_vox < 0.05:
        return np.ones(1, np.float32)
    radius = max(1, math.ceil(3 * sigma_vox))
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (x / sigma_vox) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def smooth(data: Float[Tensor, "1 c i j k"], sigma_vox: tuple[float, float, float]) -> Float[Tensor, "1 c i j k"]:
    """Smooth with a Gaussian, sigma in voxels one an axis, repeating the rim; an axis of one voxel is left alone."""
    kernels = [gaussian_kernel(s if n > 1 else 0.0) for s, n in zip(sigma_vox, data.shape[2:], strict=True)]
    if all(len(kernel) == 1 for kernel in kernels):
        return data
    if on_cpu(data):
        return torch.from_numpy(cpu.convolve_separable(_np(data), (kernels[0], kernels[1], kernels[2])))[None]
    first, second, third = (torch.from_numpy(kernel) for kernel in kernels)
    smoothed: Tensor = best("convolve_separable", data.device)(data, (first, second, third))
    return smoothed


def resize(data: Float[Tensor, "1 c i j k"], shape: tuple[int, int, int]) -> Float[Tensor, "1 c a b d"]:
    """Resample linearly so that the corner voxel centers stay in place; pairs with `Grid.resized`."""
    if tuple(data.shape[2:]) == tuple(shape):
        return data
    return F.interpolate(data, size=shape, mode="trilinear", align_corners=True)


def _lengths(new: Sequence[int], old: Sequence[int]) -> list[float]:
    """Return by how much vectors in voxels grow along each axis: with fixed corners by (N_out - 1)/(N_in - 1), not by the factor."""
    return [(n - 1) / (m - 1) if m > 1 and n > 1 else 0.0 for n, m in zip(new, old, strict=True)]


def resize_field(field: Float[Tensor, "1 3 i j k"], shape: tuple[int, int, int]) -> Float[Tensor, "1 3 a b d"]:
    """Resize a displacement or velocity in voxels: its vectors are in voxels of the new lattice."""
    if tuple(field.shape[2:]) == tuple(shape):
        return field.clone()
    factors = _lengths(shape, field.shape[2:])
    if field.device.type == "cpu":
        return torch.from_numpy(resize_cpu.resize(_np(field), shape, np.array(factors)))[None]
    return resize(field, shape) * torch.tensor(factors, device=field.device).view(1, 3, 1, 1, 1)


def resize_field_adjoint(slope: Float[Tensor, "1 3 a b d"], shape: tuple[int, int, int]) -> Float[Tensor, "1 3 i j k"]:
    """Return the derivative by a field on a lattice of this shape, given that by the field that `resize_field` makes of it."""
    factors = _lengths(slope.shape[2:], shape)
    if slope.device.type == "cpu":
        return torch.from_numpy(resize_cpu.resize_adjoint(_np(slope), shape, np.array(factors)))[None]
    return reference.resize_adjoint(slope, shape) * torch.tensor(factors, device=slope.device).view(1, 3, 1, 1, 1)


def voxel_matrix(fixed: Grid, moving: Grid, affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Return the matrix from fixed voxels to moving voxels through a world-to-world affine."""
    return np.asarray(moving.world_to_voxel_matrix @ affine @ fixed.affine)


def zero_field(grid: Grid, device: torch.device) -> Float[Tensor, "1 3 i j k"]:
    """Return a field that moves nothing."""
    return torch.zeros((1, 3, *grid.shape), device=device)


def warp_affine(image: Placed, grid: Grid, affine: Float[np.ndarray, "4 4"]) -> tuple[Tensor, Tensor]:
    """Pull an image onto a grid through a world-to-world affine (grid's world to image's world); returns samples and inside-flags."""
    value, _, inside = warp(image.data, zero_field(grid, image.device), voxel_matrix(grid, image.grid, affine))
    return value, inside
