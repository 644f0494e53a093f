"""Plain-torch twins of the CPU kernels: the reference they are tested against, and what runs on a GPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def identity(shape: tuple[int, ...], device: torch.device) -> Float[Tensor, "1 d *spatial"]:
    """Voxel indices of every voxel."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(
    image: Float[Tensor, "n c *spatial"], voxels: Float[Tensor, "n d *places"], mode: str = "bilinear", padding: str = "border"
) -> Float[Tensor, "n c *places"]:
    """Sample an image (2-D or 3-D) at voxels; "border" repeats its rim. The one place that knows torch's reversed, normalized order."""
    dimensions = image.dim() - 2
    size = torch.tensor(image.shape[2:], dtype=voxels.dtype, device=image.device).view(1, dimensions, *[1] * dimensions)
    # With align_corners=True -1 and 1 are the first and the last voxel center; an axis of one voxel is always at its center.
    normalized = torch.where(size > 1, 2 * voxels / (size - 1).clamp_min(1) - 1, torch.zeros_like(voxels))
    grid = normalized.movedim(1, -1).flip(-1)
    return F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=True)


def compose(outer: Tensor, inner: Tensor, scale_outer: float = 1.0, scale_inner: float = 1.0) -> Tensor:
    """Twin of `cpu.compose` on (1, 3, i, j, k) tensors."""
    moved = scale_inner * inner
    return moved + scale_outer * sample(outer, identity(tuple(inner.shape[2:]), inner.device) + moved)


def warp(
    image: Tensor, field: Tensor, matrix: Tensor, offset: Tensor, with_gradient: bool, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of `cpu.warp` on (1, 1, i, j, k) images and (1, 3, i, j, k) fields; the gradient comes from autograd."""
    leaf = field.detach().requires_grad_(with_gradient)
    with torch.enable_grad():
        x = identity(tuple(field.shape[2:]), field.device) + leaf
        y = torch.einsum("ab,nbijk->naijk", matrix.to(x), x) + offset.to(x).view(1, 3, 1, 1, 1)
        value = sample(image, y)
    size = torch.tensor(image.shape[2:], dtype=torch.float32, device=image.device).view(1, 3, 1, 1, 1)
    within = ((y >= -0.5) & (y <= size - 0.5)) | (size == 1)
    inside = within.all(dim=1, keepdim=True).float()
    if weight is not None:
        inside = inside * sample(weight, y.detach())
    if not with_gradient:
        return value.detach(), value.new_zeros((1, 0, 1, 1, 1)), inside
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient, inside


def longest_vector(field: Tensor) -> float:
    """Twin of `field_cpu.longest` on (1, 3, i, j, k) fields."""
    return float(field.square().sum(dim=1).max().sqrt())


def box_sum(data: Tensor, radius: int) -> Tensor:
    """Twin of `cpu.box_sum` on (1, c, i, j, k) tensors."""
    out = data.double()
    for axis in (2, 3, 4):
        n = out.shape[axis]
        running = torch.cumsum(out, dim=axis)
        zero = torch.zeros_like(running.narrow(axis, 0, 1))
        running = torch.cat([zero, running], dim=axis)
        upper = torch.clamp(torch.arange(n, device=data.device) + radius + 1, max=n)
        lower = torch.clamp(torch.arange(n, device=data.device) - radius, min=0)
        out = running.index_select(axis, upper) - running.index_select(axis, lower)
    return out.to(data.dtype)


def convolve_separable(data: Tensor, kernels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Twin of `cpu.convolve_separable` on (1, c, i, j, k) tensors."""
    out = data.movedim(1, 0)
    for axis, kernel in enumerate(kernels):
        radius = len(kernel) // 2
        if radius == 0:
            out = out * kernel[0]
            continue
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(kernel)
        # A GPU's convolutions may else round to ten bits (TF32), which is what smoothing a field must not.
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            out = F.conv3d(F.pad(out, padding, mode="replicate"), kernel.to(out).view(shape))
    return out.movedim(0, 1)


def lncc_value_and_gradient(
    moved: Tensor, fixed: Tensor, fixed_sum: Tensor, fixed_variance: Tensor, count: Tensor, weight: Tensor, total_weight: float,
    radius: int, epsilon: float,
) -> tuple[float, Tensor]:
    """Twin of `lncc_cpu.lncc_value_and_gradient` on (1, 1, i, j, k) tensors."""
    sums = box_sum(torch.cat([moved, moved * moved, moved * fixed], dim=1), radius)
    sp, spp, spt = sums[:, :1], sums[:, 1:2], sums[:, 2:3]
    covariance = spt - sp * fixed_sum / count
    variance = (spp - sp * sp / count).clamp_min(0) + epsilon * count
    slope = covariance / (variance * fixed_variance)
    square = covariance * slope
    c, b = 2 * slope * weight, -square / variance * weight
    a = -(c * fixed_sum + 2 * b * sp) / count
    boxes = box_sum(torch.cat([a, b, c], dim=1), radius)
    gradient = -(boxes[:, :1] + 2 * moved * boxes[:, 1:2] + fixed * boxes[:, 2:3]) / total_weight
    return -float((square * weight).double().sum()) / total_weight, gradient


def resize_adjoint(slope: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Twin of `resize_cpu.resize_adjoint` on (1, c, i, j, k) tensors, without factors."""
    coarse = slope.new_zeros((*slope.shape[:2], *shape), requires_grad=True)
    with torch.enable_grad():
        fine = F.interpolate(coarse, size=slope.shape[2:], mode="trilinear", align_corners=True)
        (found,) = torch.autograd.grad(fine, coarse, slope)
    return found


def add_to_moments(gradient: Tensor, scales: Tensor, keep_mean: float, keep_square: float, mean: Tensor, square: Tensor) -> float:
    """Twin of `step_cpu.add_to_moments` on (1, 3, i, j, k) tensors."""
    scaled = gradient * scales.to(gradient).view(1, 3, 1, 1, 1)
    mean.mul_(keep_mean).add_(scaled, alpha=1 - keep_mean)
    square.mul_(keep_square).add_(scaled.square().sum(dim=1, keepdim=True), alpha=1 - keep_square)
    return float(square.mean())


def stepped(velocity: Tensor, mean: Tensor, square: Tensor, unbias: float, damping: float, scales: Tensor) -> Tensor | None:
    """Twin of `step_cpu.stepped` on (1, 3, i, j, k) tensors."""
    direction = mean / ((square * unbias).sqrt() + damping)
    longest = float(direction.square().sum(dim=1).max().sqrt())
    if not longest > 0:
        return None
    return velocity - direction * (scales / longest).to(velocity).view(1, 3, 1, 1, 1)
