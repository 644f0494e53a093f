"""Integrating and warping for the generator: the compiled kernels in 3-D, their differentiable twins in 2-D; no gradients."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...engine import differentiable, sampling

SQUARING_STEP_VOX = 0.5
"""Largest displacement of the first of the squared steps. Against a fine Runge-Kutta flow of velocities of 12 voxels, five squarings
are wrong by .03 voxel on average and seven, as training integrates, by .02: interpolation, not the step, is what counts."""

_UNTURNED = np.eye(4)


def exponential(velocity_vox: Float[Tensor, "1 d *spatial"], sign: float = 1.0) -> Float[Tensor, "1 d *spatial"]:
    """Return the displacement of exp(sign v) by scaling and squaring, with as few squarings as leave out a fiftieth of a voxel."""
    longest = float(velocity_vox.square().sum(dim=1).max().sqrt())
    squarings = max(math.ceil(math.log2(max(longest, 1e-6) / SQUARING_STEP_VOX)), 1)
    if velocity_vox.shape[1] == 3:
        return sampling.integrate(velocity_vox, sign, squarings)
    return differentiable.integrate(sign * velocity_vox, squarings)


def pulled(image: Float[Tensor, "1 1 *spatial"], displacement_vox: Float[Tensor, "1 d *spatial"]) -> Float[Tensor, "1 1 *spatial"]:
    """Return image(x + u(x)), interpolated linearly."""
    if displacement_vox.shape[1] == 3:
        return sampling.warp(image.contiguous(), displacement_vox, _UNTURNED)[0]
    return differentiable.warp(image, displacement_vox)


def composed(outer: Float[Tensor, "1 d *spatial"], inner: Float[Tensor, "1 d *spatial"]) -> Float[Tensor, "1 d *spatial"]:
    """Return the displacement of x -> (id + outer)((id + inner)(x))."""
    if inner.shape[1] == 3:
        return sampling.compose(outer, inner)
    return differentiable.compose(outer, inner)


def smoothed(image: Float[Tensor, "1 1 *spatial"], deviations_vox: list[float]) -> Float[Tensor, "1 1 *spatial"]:
    """Blur with a Gaussian, one standard deviation an axis."""
    flat = image if image.dim() == 5 else image[:, :, None]
    sigma = [0.0] * (3 - len(deviations_vox)) + deviations_vox
    return sampling.smooth(flat.contiguous(), (sigma[0], sigma[1], sigma[2])).reshape(image.shape)


def places(shape: tuple[int, ...], device: torch.device, start: tuple[int, ...]) -> Float[Tensor, "d *spatial"]:
    """Voxel indices of every voxel of a lattice whose first voxel has the index `start`."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) + first for n, first in zip(shape, start, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
