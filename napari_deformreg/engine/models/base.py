"""What every model of the table is: two images in, stationary velocities out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class VelocityModel(nn.Module, ABC):
    """A network that predicts how fixed voxels move to moving ones.

    Images are (n, c, *spatial), intensities in [0, 1], spatial (i, j, k) or (i, j); both have one lattice. A velocity is (n, d, *coarse) in
    voxels of its own lattice, whose corner voxel centers are those of the images; exp(v) carries fixed voxels to moving ones, so that
    moved(x) = moving(x + u(x)) with u the displacement of exp(v).
    """

    @property
    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """What `build_model` needs to make an equal, untrained model; plain JSON with the model's "name"."""

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Every spatial size must be a whole number of these, plus `offset`."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """What is left of a spatial size after whole multiples."""

    @abstractmethod
    def velocities(self, fixed: Float[Tensor, "n c *spatial"], moving: Float[Tensor, "n e *spatial"]) -> list[Tensor]:
        """Return the velocities from coarse to fine, each (n, d, *its own lattice)."""

    @abstractmethod
    def supervised(
        self, fixed: Tensor, moving: Tensor, velocity_vox: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], Float[Tensor, ""] | None]:
        """Return the velocities, and what the parts of the model lose where the truth is known; None for a model that has no such loss.

        Parameters
        ----------
        fixed, moving : (n, c, *spatial) tensors
            As for `velocities`.
        velocity_vox : (n, d, *spatial) tensor
            The true velocity on the images' lattice.
        weight : (n, 1, *spatial) tensor
            How much each voxel counts; 0 where no truth is known.
        generator : torch.Generator
            For random numbers, on the CPU.
        """

    def forward(self, fixed: Float[Tensor, "n c *spatial"], moving: Float[Tensor, "n e *spatial"]) -> Tensor:
        """Return the finest velocity, in voxels of its own lattice."""
        return self.velocities(fixed, moving)[-1]
