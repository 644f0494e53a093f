"""Warping, composing and integrating that autograd can follow, for networks and their losses: batches, 2-D and 3-D.

`sampling` does the same for one 3-D image with compiled kernels and analytic derivatives, which is what the optimizer runs on. Fields are
(n, d, *spatial), in voxels of their own lattice, components in the order of the axes; an affine is (d, d + 1) or (d + 1, d + 1), with or
without a batch in front, from voxels to voxels. All carry fixed voxels to moving ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .kernels.reference import identity, sample

Mode = Literal["linear", "nearest"]
Padding = Literal["border", "zeros"]
Gradient = Literal["linear", "central"]
Origin = Literal["center", "corner"]

_TORCH_MODE: dict[Mode, str] = {"linear": "bilinear", "nearest": "nearest"}

SQUARINGS = 7
"""Halvings before squaring, VoxelMorph's number: velocities up to 30 voxels then start below a quarter of a voxel."""


def warp(
    image: Float[Tensor, "n c *spatial"],
    displacement_vox: Float[Tensor, "n d *spatial"],
    mode: Mode = "linear",
    padding: Padding = "border",
    gradient: Gradient = "linear",
) -> Tensor:
    """Pull an image: value at x is image(x + u(x)). Differentiable in image and (if linear) in displacement.

    Parameters
    ----------
    image : (n, c, *spatial) tensor
        Any number of channels.
    displacement_vox : (n, d, *spatial) tensor
        On the lattice of the image, in voxels.
    mode : "linear" or "nearest"
        Nearest is for labels.
    padding : "border" or "zeros"
        What lies beyond the image: its rim repeated, or zeros (as in VoxelMorph).
    gradient : "linear" or "central"
        By the displacement: that of the piecewise-linear interpolation, which jumps from voxel to voxel, or central differences of the
        image, interpolated at the sampled place, which do not (see `CentralGradientSample`).
    """
    voxels = identity(tuple(displacement_vox.shape[2:]), displacement_vox.device) + displacement_vox
    if gradient == "central" and mode == "linear":
        return central_gradient_sample(image, voxels, padding)
    return sample(image, voxels, _TORCH_MODE[mode], padding)


class CentralGradientSample(torch.autograd.Function):
    """Linear interpolation whose derivative by the place is that of a smoother image.

    The value is that of `sample`, and so is the derivative by the image. The derivative by the place x along axis a is the interpolation at
    x of the central differences (I(i + e_a) - I(i - e_a)) / 2 of the image, continued beyond its rim as `padding` says: continuous in x,
    where the derivative of the interpolation itself is constant between voxel centers and jumps at each. It is exactly the derivative of
    the interpolated image averaged over a window of two voxels along a.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, voxels: Tensor, padding: Padding) -> Tensor:
        """Sample the image."""
        ctx.save_for_backward(image, voxels)
        ctx.padding = padding
        return sample(image, voxels, padding=padding)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the derivatives by image and place."""
        image, voxels = ctx.saved_tensors
        (outer,) = upstream
        by_image = by_place = None
        if ctx.needs_input_grad[0]:
            with torch.enable_grad():
                leaf = image.detach().requires_grad_()
                value = sample(leaf, voxels, padding=ctx.padding)
            (by_image,) = torch.autograd.grad(value, leaf, outer)
        if ctx.needs_input_grad[1]:
            slopes = central_differences(image, ctx.padding)
            parts = [(outer * sample(slope, voxels + 1, padding=ctx.padding)).sum(dim=1) for slope in slopes]
            by_place = torch.stack(parts, dim=1)
        return by_image, by_place, None


def central_gradient_sample(image: Tensor, voxels: Tensor, padding: Padding = "border") -> Tensor:
    """Sample linearly at voxels, with the smooth gradient of `CentralGradientSample`."""
    value: Tensor = CentralGradientSample.apply(image, voxels, padding)  # type: ignore[no-untyped-call]
    return value


def central_differences(image: Float[Tensor, "n c *spatial"], padding: Padding) -> list[Tensor]:
    """Return (I(i + e_a) - I(i - e_a)) / 2 for each axis a, on a lattice with one voxel more on each side of every axis."""
    dimensions = image.dim() - 2
    around = [2] * (2 * dimensions)
    wide = F.pad(image, around, mode="replicate") if padding == "border" else F.pad(image, around)
    slopes = []
    for axis in range(2, 2 + dimensions):
        near = wide
        for other in range(2, 2 + dimensions):
            near = near if other == axis else near.narrow(other, 1, near.shape[other] - 2)
        count = near.shape[axis] - 2
        slopes.append((near.narrow(axis, 2, count) - near.narrow(axis, 0, count)) / 2)
    return slopes


def compose(
    outer: Float[Tensor, "n d *spatial"], inner: Float[Tensor, "n d *spatial"], padding: Padding = "border"
) -> Float[Tensor, "n d *spatial"]:
    """Return the displacement of x -> (id + outer)((id + inner)(x)): inner acts first."""
    return inner + warp(outer, inner, padding=padding)


def integrate(
    velocity_vox: Float[Tensor, "n d *spatial"], squarings: int = SQUARINGS, padding: Padding = "border"
) -> Float[Tensor, "n d *spatial"]:
    """Return the displacement of exp(v) by scaling and squaring (Arsigny et al. 2006, doi 10.1007/11866565_113)."""
    field: Tensor = velocity_vox / float(2**squarings)
    for _ in range(squarings):
        field = compose(field, field, padding)
    return field


def resize(data: Float[Tensor, "n c *spatial"], shape: tuple[int, ...]) -> Tensor:
    """Resample linearly onto another number of voxels; the corner voxel centers stay in place."""
    if tuple(data.shape[2:]) == tuple(shape):
        return data
    return F.interpolate(data, size=tuple(shape), mode="bilinear" if len(shape) == 2 else "trilinear", align_corners=True)


def resize_field(field: Float[Tensor, "n d *spatial"], shape: tuple[int, ...]) -> Tensor:
    """Resize a displacement or velocity in voxels; with fixed corners its length scales by (N_out - 1)/(N_in - 1)."""
    if tuple(field.shape[2:]) == tuple(shape):
        return field
    scale = [(new - 1) / (old - 1) if old > 1 else 0.0 for new, old in zip(shape, field.shape[2:], strict=True)]
    return resize(field, shape) * torch.tensor(scale, dtype=field.dtype, device=field.device).view(1, -1, *[1] * len(shape))


def affine_to_displacement(
    matrix: Tensor, shape: Sequence[int], origin: Origin = "center", after: Tensor | None = None
) -> Float[Tensor, "n d *spatial"]:
    """Return the displacement u(x) = A x - x of an affine on a lattice, or, of the affine after a displacement w, A (x + w(x)) - x.

    Parameters
    ----------
    matrix : (d, d + 1) or (d + 1, d + 1) tensor, or a batch of them
        From voxels to voxels.
    shape : sequence of d int
        Of the lattice.
    origin : "center" or "corner"
        Which place the matrix leaves where it is when it does not shift: the lattice's middle (as in VoxelMorph) or its first voxel center.
    after : (n, d, *spatial) tensor, optional
        w, in voxels of the lattice.
    """
    d = len(shape)
    if matrix.shape[-1] != d + 1 or matrix.shape[-2] not in (d, d + 1) or matrix.dim() > 3:
        raise InputError(f"Expected a matrix of shape ({d}, {d + 1}) or ({d + 1}, {d + 1}), or a batch, got {tuple(matrix.shape)}.")
    matrix = matrix if matrix.dim() == 3 else matrix[None]
    axes = [torch.arange(n, dtype=matrix.dtype, device=matrix.device) - ((n - 1) / 2 if origin == "center" else 0) for n in shape]
    start = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    places = start if after is None else start + after
    turned: Tensor = torch.einsum("nab,nb...->na...", matrix[:, :d, :d], places)  # one matrix serves a batch of places, and the other way
    return turned + matrix[:, :d, d].reshape(-1, d, *[1] * d) - start


def compose_chain(
    transforms: Sequence[Tensor], shape: Sequence[int] | None = None, origin: Origin = "center", padding: Padding = "border"
) -> Tensor:
    """Compose displacements and affines: [A, B, C] becomes x -> A(B(C(x))), the last acts first.

    What a tensor is, its number of axes tells: (n, d, *spatial) a displacement, less a matrix or a batch of matrices.

    Parameters
    ----------
    transforms : sequence of tensors
        At least one.
    shape : sequence of int, optional
        Lattice for affines that stand behind the last displacement; without it, that of the first displacement there is.
    origin : "center" or "corner"
        See `affine_to_displacement`.
    padding : "border" or "zeros"
        See `warp`.

    Returns
    -------
    tensor
        A displacement, or, if all are affine, the (n, d, d + 1) or (d, d + 1) matrix.
    """
    if not transforms:
        raise InputError("Expected at least one transform to compose, got none.")
    fields = [transform for transform in transforms if transform.dim() > 3]
    lattice = tuple(shape) if shape is not None else tuple(fields[0].shape[2:]) if fields else None
    result = transforms[-1]
    for outer in reversed(transforms[:-1]):
        if outer.dim() <= 3 and result.dim() <= 3:
            result = (_square(outer) @ _square(result))[..., :-1, :]
        elif outer.dim() <= 3:
            result = affine_to_displacement(outer, result.shape[2:], origin, after=result)
        else:
            inner = result if result.dim() > 3 else affine_to_displacement(result, lattice or (), origin)
            count = max(len(outer), len(inner))
            result = compose(outer.expand(count, *outer.shape[1:]), inner.expand(count, *inner.shape[1:]), padding)
    return result


def _square(matrix: Tensor) -> Tensor:
    if matrix.shape[-2] == matrix.shape[-1]:
        return matrix
    last = torch.zeros_like(matrix[..., :1, :])
    last[..., -1] = 1
    return torch.cat([matrix, last], dim=-2)
