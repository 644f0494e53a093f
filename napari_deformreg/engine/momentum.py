"""Adam's step (Kingma and Ba 2015, arXiv 1412.6980) with one second moment a vector, so that no axis is preferred.

m <- b1 m + (1 - b1) g; s <- b2 s + (1 - b2) |g|^2; the step goes along - m / (sqrt(s / (1 - b2^t)) + d), its longest vector of a length
that is given. The usual correction of m by 1 - b1^t is the same for all voxels, so that the length makes up for it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import reference, step_cpu

FIRST_MOMENT, SECOND_MOMENT = 0.9, 0.99
"""Adam's decay rates; 0.99 rather than 0.999 because a level takes tens of steps, not thousands."""


class Momentum:
    """The moments of one level's steps.

    Parameters
    ----------
    velocity : (1, 3, i, j, k) tensor
        Any field of the level's shape, on its device.
    unit : (3,) array
        Length of a voxel along each axis, relative to their mean: steps are of one length in space, whatever their direction.
    """

    def __init__(self, velocity: Float[Tensor, "1 3 i j k"], unit: Float[np.ndarray, "3"]) -> None:
        self._mean = torch.zeros_like(velocity, memory_format=torch.contiguous_format)
        self._square = torch.zeros_like(self._mean[:, :1])
        self._per_unit = 1 / np.asarray(unit, np.float64)
        self._steps = 0

    def stepped(
        self, velocity: Float[Tensor, "1 3 i j k"], gradient: Float[Tensor, "1 3 i j k"], length: float, damping: float
    ) -> Tensor | None:
        """Return the velocity after a step; None if there is nowhere to go.

        Parameters
        ----------
        gradient : (1, 3, i, j, k) tensor
            Derivative by the velocity in voxels.
        length : float
            Of the longest vector of the step, in mean voxels.
        damping : float
            What is added to a vector's norm, in units of the root mean square of all: flat regions move less.
        """
        self._steps += 1
        unbias = 1 / (1 - SECOND_MOMENT**self._steps)
        scales = length * self._per_unit
        if velocity.device.type == "cpu":
            mean, square = self._mean[0].numpy(), self._square[0].numpy()
            slope = np.ascontiguousarray(gradient[0].numpy())
            average = step_cpu.add_to_moments(slope, self._per_unit, FIRST_MOMENT, SECOND_MOMENT, mean, square)
            moved = step_cpu.stepped(
                np.ascontiguousarray(velocity[0].numpy()), mean, square, unbias, _floor(damping, average * unbias), scales
            )
            return None if moved is None else torch.from_numpy(moved)[None]
        factors = torch.from_numpy(self._per_unit)
        average = reference.add_to_moments(gradient, factors, FIRST_MOMENT, SECOND_MOMENT, self._mean, self._square)
        return reference.stepped(
            velocity, self._mean, self._square, unbias, _floor(damping, average * unbias), torch.from_numpy(scales)
        )


def _floor(damping: float, mean_square: float) -> float:
    return damping * math.sqrt(mean_square) + 1e-20
