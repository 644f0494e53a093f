"""Warping, composing and integrating that autograd can follow, for networks and their losses: batches, 2-D and 3-D.

`sampling` does the same for one 3-D image with compiled kernels and analytic derivatives, which is what the optimizer runs on. Fields are
(n, d, *spatial), in voxels of their own lattice, components in the order of the axes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .kernels.reference import identity, sample

Mode = Literal["linear", "nearest"]

_TORCH_MODE: dict[Mode, str] = {"linear": "bilinear", "nearest": "nearest"}

SQUARINGS = 7
"""Halvings before squaring, VoxelMorph's number: velocities up to 30 voxels then start below a quarter of a voxel."""


def warp(image: Float[Tensor, "n c *spatial"], displacement_vox: Float[Tensor, "n d *spatial"], mode: Mode = "linear") -> Tensor:
    """Pull an image: value at x is image(x + u(x)), the rim repeated. Differentiable in image and (if linear) in displacement.

    Parameters
    ----------
    image : (n, c, *spatial) tensor
        Any number of channels.
    displacement_vox : (n, d, *spatial) tensor
        On the lattice of the image, in voxels.
    mode : "linear" or "nearest"
        Nearest is for labels.
    """
    voxels = identity(tuple(displacement_vox.shape[2:]), displacement_vox.device) + displacement_vox
    return sample(image, voxels, mode=_TORCH_MODE[mode])


def compose(outer: Float[Tensor, "n d *spatial"], inner: Float[Tensor, "n d *spatial"]) -> Float[Tensor, "n d *spatial"]:
    """Return the displacement of x -> (id + outer)((id + inner)(x)): inner acts first."""
    return inner + warp(outer, inner)


def integrate(velocity_vox: Float[Tensor, "n d *spatial"], squarings: int = SQUARINGS) -> Float[Tensor, "n d *spatial"]:
    """Return the displacement of exp(v) by scaling and squaring (Arsigny et al. 2006, doi 10.1007/11866565_113)."""
    field: Tensor = velocity_vox / float(2**squarings)
    for _ in range(squarings):
        field = compose(field, field)
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
