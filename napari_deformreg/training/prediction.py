"""What a network's velocities mean for a batch of pairs: displacements both ways, each computed once and only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..engine.differentiable import Gradient, integrate, resize_field, warp
from ..errors import InputError
from .pairs import TrainingPair


@dataclass(eq=False)
class Prediction:
    """A batch and the velocities that a network gave for it.

    Attributes
    ----------
    fixed, moving : (n, 1, *spatial) tensor
    levels : list of (n, d, *coarse) tensors
        Coarse to fine, each in voxels of its own lattice; the last one is the answer.
    whole, rows
        The batch that this is a part of, and which elements.
    gradient : "linear" or "central"
        Derivative of what is moved by the displacement (see `warp`).
    """

    fixed: Tensor
    moving: Tensor
    levels: list[Tensor]
    whole: Prediction | None = None
    rows: slice = field(default_factory=lambda: slice(None))
    gradient: Gradient = "linear"

    def part(self, first: int, count: int) -> Prediction:
        """Cut some elements out of the batch; what is computed for one of them is computed once for all."""
        rows = slice(first, first + count)
        return Prediction(self.fixed[rows], self.moving[rows], [level[rows] for level in self.levels], self, rows, self.gradient)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the images along each axis."""
        return tuple(self.fixed.shape[2:])

    @cached_property
    def displacement(self) -> Tensor:
        """The displacement u of exp(v) on the images' lattice, in its voxels: moved(x) = moving(x + u(x))."""
        return resize_field(integrate(self.levels[-1]), self.shape) if self.whole is None else self.whole.displacement[self.rows]

    @cached_property
    def inverse_displacement(self) -> Tensor:
        """The displacement of exp(-v), likewise."""
        return resize_field(integrate(-self.levels[-1]), self.shape) if self.whole is None else self.whole.inverse_displacement[self.rows]

    @cached_property
    def moved(self) -> Tensor:
        """Moving images on the fixed lattice."""
        return self._pulled(self.moving, self.displacement) if self.whole is None else self.whole.moved[self.rows]

    @cached_property
    def moved_back(self) -> Tensor:
        """Fixed images on the moving lattice."""
        return self._pulled(self.fixed, self.inverse_displacement) if self.whole is None else self.whole.moved_back[self.rows]

    def _pulled(self, images: Tensor, displacement: Tensor) -> Tensor:
        return warp(images, displacement, gradient=self.gradient)


def stacked(pairs: Sequence[TrainingPair]) -> tuple[Tensor, Tensor]:
    """Bring the images of several pairs into one batch.

    Raises
    ------
    InputError
        If their lattices differ.
    """
    shapes = {tuple(pair.fixed.shape[2:]) for pair in pairs} | {tuple(pair.moving.shape[2:]) for pair in pairs}
    if len(shapes) > 1:
        raise InputError(f"The images of one step lie on different lattices {sorted(shapes)}; expected one. Give all pairs the same shape.")
    return torch.cat([pair.fixed for pair in pairs]), torch.cat([pair.moving for pair in pairs])
