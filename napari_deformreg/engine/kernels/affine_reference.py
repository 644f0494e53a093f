"""Plain-torch twins of the affine stage's kernels: the reference they are tested against."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .reference import identity, sample

Samples = tuple[Tensor, Tensor, Tensor, Tensor]


def samples(fixed_weight: Tensor, moving: Tensor, moving_weight: Tensor | None, matrix: Float[Tensor, "3 4"]) -> Samples:
    """Return weight (n), moved (n), gradient (n, 3) and homogeneous fixed voxel (n, 4) of every fixed voxel, in float64.

    All images are (1, 1, i, j, k).
    """
    x = identity(tuple(fixed_weight.shape[2:]), moving.device).double()
    ones = torch.ones_like(x[:, :1])
    homogeneous = torch.cat([x, ones], dim=1)
    y = torch.einsum("ab,nbijk->naijk", matrix, homogeneous).requires_grad_(True)
    value = sample(moving.double(), y)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    size = torch.tensor(moving.shape[2:], dtype=torch.float64).view(1, 3, 1, 1, 1)
    ramp = torch.minimum(y + 0.5, size - 0.5 - y).clamp(0, 1)
    weight = fixed_weight.double() * torch.where(size > 1, ramp, torch.ones_like(ramp)).prod(dim=1, keepdim=True)
    if moving_weight is not None:
        weight = weight * sample(moving_weight.double(), y)
    return weight.detach().flatten(), value.detach().flatten(), gradient[0].flatten(1).T, homogeneous[0].flatten(1).T


def moments(
    fixed: Tensor, fixed_weight: Tensor, moving: Tensor, moving_weight: Tensor | None, matrix: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of `affine_cpu.moments` on (1, n, i, j, k) images; the curvature comes as the (12, 12) matrix."""
    parts = []
    for channel in range(fixed.shape[1]):
        w, m, g, x = samples(fixed_weight, moving[:, channel : channel + 1], moving_weight, matrix)
        f = fixed[:, channel].double().flatten()
        sums = torch.stack([(w * u).sum() for u in (torch.ones_like(f), f, m, f * f, f * m, m * m)])
        jacobian = g[:, :, None] * x[:, None, :]
        gradient = torch.stack([torch.einsum("n,ndc->dc", w * u, jacobian) for u in (torch.ones_like(f), f, m)])
        flat = jacobian.flatten(1)
        parts.append((sums, gradient, flat.T @ (w[:, None] * flat)))
    first, second, third = (torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True))
    return first, second, third


def parzen(position: Float[Tensor, "n"], count: int) -> Float[Tensor, "n b"]:
    """Return the cubic B-spline weights of `count` bins at positions in bins."""
    t = (position[:, None] - torch.arange(count, dtype=position.dtype)).abs()
    near = (4 - 6 * t**2 + 3 * t**3) / 6
    far = (2 - t).clamp_min(0) ** 3 / 6
    return torch.where(t < 1, near, far)


def histogram(bins: Tensor, fixed_weight: Tensor, moving: Tensor, moving_weight: Tensor | None, matrix: Tensor, count: int) -> Tensor:
    """Twin of `affine_cpu.histogram`."""
    w, m, _, _ = samples(fixed_weight, moving, moving_weight, matrix)
    weights = w[:, None] * parzen(2 + m * (count - 5), count)
    return torch.zeros((count, count), dtype=torch.float64).index_add_(0, bins.flatten(), weights)


def table_derivative(
    bins: Tensor, fixed_weight: Tensor, moving: Tensor, moving_weight: Tensor | None, matrix: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """Twin of `affine_cpu.table_derivative`; the slope comes from autograd, the curvature as the (12, 12) matrix."""
    w, m, g, x = samples(fixed_weight, moving, moving_weight, matrix)
    leaf = m.clone().requires_grad_(True)
    count = table.shape[0]
    (slope,) = torch.autograd.grad((parzen(2 + leaf * (count - 5), count) * table[bins.flatten()]).sum(), leaf)
    jacobian = (g[:, :, None] * x[:, None, :]).flatten(1)
    return (w * slope) @ jacobian, jacobian.T @ ((w * slope**2)[:, None] * jacobian)
