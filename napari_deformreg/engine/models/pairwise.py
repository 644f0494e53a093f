"""From two images to a moved one with any model of the table, in one call, as in VoxelMorph; and the model that only transforms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import InputError
from ..differentiable import SQUARINGS, Gradient, Mode, Origin, Padding, affine_to_displacement, integrate, resize_field, warp
from .base import VelocityModel


@dataclass(frozen=True, eq=False)
class PairwiseOutput:
    """What comes of registering a pair: fields in voxels, on the images' lattice unless said otherwise.

    Attributes
    ----------
    velocity_vox : (n, d, *coarse) tensor
        As the model gives it, on the model's lattice; with no squarings the displacement on that lattice.
    displacement_vox : (n, d, *spatial) tensor
        Carries fixed voxels to moving ones.
    moved : (n, c, *spatial) tensor
        The moving image on the fixed lattice.
    inverse_displacement_vox : (n, d, *spatial) tensor, or None
        Carries moving voxels to fixed ones; only when bidirectional.
    fixed_moved : (n, e, *spatial) tensor, or None
        The fixed image on the moving lattice; only when bidirectional.
    """

    velocity_vox: Tensor
    displacement_vox: Tensor
    moved: Tensor
    inverse_displacement_vox: Tensor | None = None
    fixed_moved: Tensor | None = None


class PairwiseRegistration(nn.Module):
    """A model, the integration of its velocity and the warp: VoxelMorph's `VxmPairwise` and `VxmDense`, with any network of `MODELS`.

    Arguments are (fixed, moving); VoxelMorph's are (source, target) = (moving, fixed).

    Parameters
    ----------
    model : VelocityModel
        Predicts on its own lattice; there the velocity is integrated, and the displacement is then brought to the images' lattice.
    squarings : int
        Integration steps; 0 takes the model's output as a displacement.
    padding : "border" or "zeros"
        What lies beyond fields and images: "border" here, "zeros" in VoxelMorph.
    gradient : "linear" or "central"
        Of the warped images, see `differentiable.warp`.
    """

    def __init__(
        self, model: VelocityModel, squarings: int = SQUARINGS, padding: Padding = "border", gradient: Gradient = "linear"
    ) -> None:
        super().__init__()
        if not 0 <= squarings <= 16:
            raise InputError(f"Expected 0 to 16 squarings, got {squarings}. 7 suit displacements of up to 30 voxels.")
        self.model, self.squarings = model, squarings
        self.padding: Padding = padding
        self.gradient: Gradient = gradient

    def forward(
        self, fixed: Float[Tensor, "n e *spatial"], moving: Float[Tensor, "n c *spatial"], bidirectional: bool = False
    ) -> PairwiseOutput:
        """Register; bidirectional integrates minus the velocity as well, which is the inverse."""
        if bidirectional and self.squarings == 0:
            raise InputError("A displacement (0 squarings) has no inverse at hand: choose at least one squaring, or one direction.")
        velocity = self.model(fixed, moving)
        forth = self._displacement(velocity, tuple(fixed.shape[2:]))
        moved = warp(moving, forth, padding=self.padding, gradient=self.gradient)
        if not bidirectional:
            return PairwiseOutput(velocity, forth, moved)
        back = self._displacement(-velocity, tuple(fixed.shape[2:]))
        return PairwiseOutput(velocity, forth, moved, back, warp(fixed, back, padding=self.padding, gradient=self.gradient))

    def _displacement(self, velocity: Tensor, shape: tuple[int, ...]) -> Tensor:
        return resize_field(integrate(velocity, self.squarings, self.padding), shape)


class Transform(nn.Module):
    """The model without a network: it only applies what is given, an affine or a displacement, to images or labels.

    Parameters
    ----------
    mode : "linear" or "nearest"
        Nearest is for labels.
    padding : "border" or "zeros"
        What lies beyond the image.
    origin : "center" or "corner"
        Of affines, see `differentiable.affine_to_displacement`.
    """

    def __init__(self, mode: Mode = "linear", padding: Padding = "border", origin: Origin = "center") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.padding: Padding = padding
        self.origin: Origin = origin

    def forward(self, moving: Float[Tensor, "n c *spatial"], fixed_to_moving: Tensor) -> Tensor:
        """Pull the moving image through a transform.

        Parameters
        ----------
        moving : (n, c, *spatial) tensor
            Of any kind of number; whole numbers come back as they were (choose "nearest" for them).
        fixed_to_moving : tensor
            (n, d, *any) a displacement, resized to the image's lattice if it has another; with at most three axes an affine in voxels.
        """
        shape = tuple(moving.shape[2:])
        is_matrix = fixed_to_moving.dim() <= 3
        field = affine_to_displacement(fixed_to_moving, shape, self.origin) if is_matrix else resize_field(fixed_to_moving, shape)
        field = field.expand(len(moving), *field.shape[1:])
        if torch.is_floating_point(moving):
            return warp(moving, field, self.mode, self.padding)
        if self.mode == "linear":
            raise InputError(f"Images of {moving.dtype} are not mixed: choose mode 'nearest' for labels, or convert to floating point.")
        return warp(moving.to(torch.float64), field.double(), "nearest", self.padding).to(moving.dtype)
