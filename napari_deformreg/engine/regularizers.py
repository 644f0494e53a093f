"""Smoothness terms of a velocity field, in mm, with their gradients: the losses of the same names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..settings import RegularizerName
from ..space import Grid
from .kernels import field_cpu
from .losses import LOSSES, by_autograd
from .losses.fields import CORNER

Regularizer = Callable[[Float[Tensor, "1 3 i j k"], Grid], tuple[float, Tensor]]


def _no_regularizer(velocity: Tensor, grid: Grid) -> tuple[float, Tensor]:
    return 0.0, torch.zeros_like(velocity)


def _of_loss(name: str, velocity: Tensor, grid: Grid) -> tuple[float, Tensor]:
    return by_autograd(lambda v: LOSSES[name].function(v, grid.spacing), velocity)


def _diffusion(name: str, corner: float, velocity: Tensor, grid: Grid) -> tuple[float, Tensor]:
    if velocity.device.type != "cpu":
        return _of_loss(name, velocity, grid)
    value, slope = field_cpu.diffusion(np.ascontiguousarray(velocity[0].numpy()), grid.spacing, corner)
    return value, torch.from_numpy(slope)[None]


REGULARIZERS: dict[RegularizerName, Regularizer] = {
    "none": _no_regularizer,
    "diffusion_l2": partial(_diffusion, "diffusion_l2", 0.0),
    "diffusion_l1": partial(_diffusion, "diffusion_l1", CORNER),
    "bending": partial(_of_loss, "bending"),
}
"""Name in the settings -> (velocity in voxels, grid) -> value and derivative by the velocity in voxels."""

if set(REGULARIZERS) != set(get_args(RegularizerName)):  # a table and its Literal must not drift apart
    raise AssertionError("REGULARIZERS and RegularizerName must name the same terms.")
