"""What every model of the table is: two images in, stationary velocities out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

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

    def forward(self, fixed: Float[Tensor, "n c *spatial"], moving: Float[Tensor, "n e *spatial"]) -> Tensor:
        """Return the finest velocity, in voxels of its own lattice."""
        return self.velocities(fixed, moving)[-1]
