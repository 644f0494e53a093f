"""Random numbers that are a function of (seed, index), and smooth noise made of them.

All numbers come from a generator on the CPU, so that a GPU makes the same pair to float precision.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_AXIS_VARIANCE = 151 / 315
"""Mean variance of a cubic B-spline with independent unit coefficients: the integral of the squared basis function."""


class Draws:
    """One stream of random numbers.

    Parameters
    ----------
    seed, index : int
        What the stream is a function of.
    device : torch.device
        Where tensors are wanted.
    """

    def __init__(self, seed: int, index: int, device: torch.device) -> None:
        self.device = device
        state = np.random.SeedSequence((seed, index)).generate_state(2, np.uint32)
        self._generator = torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number between two others."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def within(self, bounds: tuple[float, float]) -> float:
        """Draw a number from a range of the settings."""
        return self.uniform(*bounds)

    def chance(self, probability: float) -> bool:
        """Toss a coin that falls on True with this probability."""
        return self.uniform() < probability

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return min(low + int(self.uniform() * (high - low + 1)), high)

    def gaussian(self, deviation: float = 1.0) -> float:
        """Draw one normal number."""
        return deviation * float(torch.randn((), generator=self._generator))

    def order(self, count: int) -> list[int]:
        """Shuffle the numbers below `count`."""
        return [int(n) for n in torch.randperm(count, generator=self._generator)]

    def uniforms(self, count: int, bounds: tuple[float, float]) -> Float[Tensor, "count"]:
        """Draw several numbers from a range, on the device."""
        return (bounds[0] + (bounds[1] - bounds[0]) * torch.rand(count, generator=self._generator)).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw independent normal numbers, on the device."""
        return torch.randn(shape, generator=self._generator).to(self.device)

    def smooth(self, channels: int, shape: tuple[int, ...], spacing_vox: float) -> Float[Tensor, "channels *spatial"]:
        """Draw smooth noise of standard deviation 1: a cubic B-spline with random coefficients `spacing_vox` apart."""
        return spline(self.normal(channels, *control_shape(shape, spacing_vox)), shape, spacing_vox)


def control_shape(shape: tuple[int, ...], spacing_vox: float) -> tuple[int, ...]:
    """Count the control points that reach every voxel of a lattice."""
    return tuple(math.floor((n - 1) / spacing_vox) + 4 for n in shape)


def spline(coefficients: Float[Tensor, "c *control"], shape: tuple[int, ...], spacing_vox: float) -> Float[Tensor, "c *spatial"]:
    """Evaluate a uniform cubic B-spline at every voxel, scaled so that independent unit coefficients give variance 1 on average.

    One matrix product an axis: far cheaper than drawing or filtering noise of full size.
    """
    out = coefficients
    for axis in range(len(shape), 0, -1):
        basis = _basis(shape[axis - 1], spacing_vox, str(out.device))
        # Axis by axis from the last: (n, m) times (…, m, rest), the rest being what is already of full size.
        flat = out.reshape(*out.shape[: axis + 1], -1)
        out = torch.matmul(basis, flat).reshape(*out.shape[:axis], shape[axis - 1], *out.shape[axis + 1 :])
    return out


@lru_cache(maxsize=512)
def _basis(size: int, spacing_vox: float, device: str) -> Float[Tensor, "n m"]:
    place = torch.arange(size, dtype=torch.float64) / spacing_vox
    count = math.floor((size - 1) / spacing_vox) + 4
    distance = (place[:, None] - (torch.arange(count, dtype=torch.float64) - 1)[None]).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    weights = torch.where(distance < 1, near, far) / math.sqrt(_AXIS_VARIANCE)
    return weights.float().to(device)
