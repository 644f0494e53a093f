"""Random velocities: smooth noise over several scales and what an affine alignment leaves, all in one stationary velocity."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .draws import Draws, spline
from .fields import places
from .settings import MotionSettings


def draw_velocity(draws: Draws, shape: tuple[int, ...], settings: MotionSettings, unit: float) -> Float[Tensor, "1 d *spatial"]:
    """Draw a velocity in voxels whose exponential is the true motion."""
    strength = draws.within(settings.strength)
    spacings = [spacing * unit for spacing in settings.spacings_vox]
    deviations = [strength * draws.uniform(0, largest) * unit for largest in settings.sd_max_vox]
    coefficients = draws.coefficients(len(shape), shape, spacings, deviations)
    velocity = with_gentle_slopes(spline(coefficients, shape, min(spacings)), settings.strain_max)
    if draws.chance(settings.affine_probability):
        velocity += strength * affine_velocity(draws, shape, settings, unit)
    return velocity[None]


def affine_velocity(draws: Draws, shape: tuple[int, ...], settings: MotionSettings, unit: float) -> Float[Tensor, "d *spatial"]:
    """Draw v(x) = G (x - c) + t, whose exponential is the affine map with the matrix logarithm (G, t): the jitter is exact as well.

    G is antisymmetric (rotation) plus symmetric (scaling and shear), as in Arsigny et al. 2009, doi 10.1007/s10851-008-0135-9.
    """
    d = len(shape)
    generator = torch.zeros((d, d))
    for i in range(d):
        generator[i, i] = draws.uniform(-1, 1) * settings.scaling
        for j in range(i):
            turn = draws.uniform(-1, 1) * math.radians(settings.rotation_deg)
            shear = draws.uniform(-1, 1) * settings.scaling / 2
            generator[i, j], generator[j, i] = turn + shear, shear - turn
    shift = torch.tensor([draws.uniform(-1, 1) * settings.translation_vox * unit for _ in range(d)])
    center = (torch.tensor(shape, dtype=torch.float32) - 1) / 2
    offset = (shift - generator @ center).to(draws.device)
    x = places(shape, draws.device, (0,) * d).reshape(d, -1)
    return torch.addmm(offset[:, None], generator.to(draws.device), x).reshape(d, *shape)


def with_gentle_slopes(field: Float[Tensor, "d *spatial"], steepest: float) -> Float[Tensor, "d *spatial"]:
    """Scale a field down as a whole where a derivative along an axis exceeds `steepest` (seen on every second voxel)."""
    some = field[(slice(None), *[slice(None, None, 2)] * (field.dim() - 1))]
    most = max(float(some.diff(dim=axis).abs().amax()) / 2 for axis in range(1, field.dim()))
    return field * (steepest / most) if most > steepest else field
