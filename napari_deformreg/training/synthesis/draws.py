"""Random numbers that are a function of (seed, index), and smooth noise made of them.

All numbers come from a generator on the CPU, so that a GPU makes the same pair to float precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

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
        return spline(self.coefficients(channels, shape, (spacing_vox,), (1.0,)), shape, spacing_vox)

    def coefficients(
        self, channels: int, shape: tuple[int, ...], spacings_vox: Sequence[float], deviations: Sequence[float]
    ) -> Float[Tensor, "channels *control"]:
        """Draw the coefficients, at the finest of several spacings, of noise that is the sum of all of them.

        Coarser noise is evaluated on the control points of the next finer one only; one evaluation then carries all to full size.
        """
        scales = sorted(zip(spacings_vox, deviations, strict=True))
        ratios = [scales[0][0], *(coarse[0] / fine[0] for fine, coarse in pairwise(scales))]
        shapes = list(accumulate(ratios, control_shape, initial=shape))
        # Independent coefficients of variance 1 give a spline of a smaller variance, which this makes up for.
        gain = _AXIS_VARIANCE ** (-len(shape) / 2)
        total = torch.zeros((channels, *shapes[-1]), device=self.device)
        for level in reversed(range(len(scales))):
            total += scales[level][1] * gain * self.normal(*total.shape)
            if level > 0:
                total = spline(total, shapes[level], ratios[level])
        return total


def control_shape(shape: tuple[int, ...], spacing_vox: float) -> tuple[int, ...]:
    """Count the control points that reach every voxel of a lattice."""
    return tuple(math.floor((n - 1) / spacing_vox) + 4 for n in shape)


def spline(coefficients: Float[Tensor, "c *control"], shape: tuple[int, ...], spacing_vox: float) -> Float[Tensor, "c *spatial"]:
    """Evaluate a uniform cubic B-spline at every voxel.

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
    # The cubic B-spline (Unser 1999, doi 10.1109/79.799930, equation 3).
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    return torch.where(distance < 1, near, far).float().to(device)
