"""Instance optimization of a stationary velocity field on one level.

moved(x) = moving(affine(exp(v)(x))). The gradient by v is taken as that by the displacements exp(v) and exp(-v) (first order of the
Baker-Campbell-Hausdorff formula, as in log-domain demons: Vercauteren et al. 2008, doi 10.1007/978-3-540-85988-8_90), which needs no
back-propagation through the squarings; in the symmetric form the errors of the two directions have opposite signs.
Steps are Adam's (`momentum`), between two Gaussian smoothings, of the step and of the velocity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..settings import Settings
from .folding import push_off_folds
from .matching import DataTerm
from .momentum import Momentum
from .prepare import LevelPair
from .regularizers import REGULARIZERS
from .sampling import integrate, resize_field, resize_field_adjoint, smooth, squarings_for
from .similarities import SIMILARITIES
from .tensors import Placed

SQUARING_STEP_VOX = 2.0
"""Largest displacement of the first of the squared steps while optimizing. The exported field is integrated from an eighth of that; here
two voxels gave the same results on real pairs (Dice of brains .8008 against .7996, of lungs .8638 and .8638, of mice .8727 and .8732), for
three squarings less in each direction."""

PATIENCE = 10
"""Steps over which the loss must fall by the tolerance."""

Term = Callable[[Float[Tensor, "1 3 i j k"]], tuple[float, Tensor]]
"""An extra term on the displacement: value and derivative."""


def weight_of(image: Placed) -> Tensor:
    """Return the weight of each voxel, 1 where none is given."""
    return torch.ones_like(image.data[:, :1]) if image.weight is None else image.weight


class LevelOptimizer:
    """Holds what lives through the steps of one level.

    Parameters
    ----------
    pair : LevelPair
        Both images on the level's lattice.
    velocity : (1, 3, i, j, k) tensor
        Start, on that lattice or a coarser one over the same field of view, in its voxels.
    settings : Settings
        The whole run's.
    terms : list of (weight, Term)
        Landmark and label terms on the displacement.
    window : (1, 1, i, j, k) tensor, optional
        What the velocity is multiplied with, on its lattice: where it is 0 nothing moves, whatever the steps do.
    present : (1, 3, i, j, k) tensor, optional
        A displacement that is there already, on the velocity's lattice in its voxels: what is regularized is both together (to first
        order), so that one local change after the other gets no wilder than one registration.
    """

    def __init__(
        self, pair: LevelPair, velocity: Float[Tensor, "1 3 i j k"], settings: Settings, terms: list[tuple[float, Term]],
        window: Float[Tensor, "1 1 i j k"] | None = None, present: Float[Tensor, "1 3 i j k"] | None = None,
    ) -> None:
        self.pair = pair
        self.settings = settings.refine
        self.margin = settings.folds.margin
        self.terms = terms
        self.window, self.present = window, present
        self.velocity = velocity
        self.best_velocity = velocity
        self.best_loss = math.inf
        self.losses: list[float] = []
        self._looked: tuple[Tensor, float, Tensor] | None = None
        self._shape = pair.fixed.grid.shape
        grid = pair.fixed.grid.resized((velocity.shape[2], velocity.shape[3], velocity.shape[4]))
        self._grid = grid
        mean = float(np.exp(np.log(grid.spacing[np.array(grid.shape) > 1]).mean()))
        relative = grid.spacing / mean
        self._per_voxel = (float(1 / relative[0]), float(1 / relative[1]), float(1 / relative[2]))
        features = SIMILARITIES[self.settings.similarity].stored
        fixed, moving = features(pair.fixed.data), features(pair.moving.data)
        fixed_weight, moving_weight = weight_of(pair.fixed), weight_of(pair.moving)
        prepare = partial(DataTerm.prepare, self.settings)
        self._forward = prepare(fixed, fixed_weight, moving, moving_weight, pair.to_moving)
        self._backward: DataTerm | None = None
        if self.settings.symmetric:
            self._backward = prepare(pair.cropped(moving), pair.cropped(moving_weight), fixed, fixed_weight, np.eye(4))
        self._momentum = Momentum(velocity, relative)

    def evaluate(self, velocity: Float[Tensor, "1 3 i j k"]) -> tuple[float, Tensor]:
        """Return the loss at a velocity and its (first-order) derivative by it."""
        velocity = self.windowed(velocity)
        squarings = squarings_for(velocity, SQUARING_STEP_VOX)
        share = 1.0 if self._backward is None else 0.5
        loss, gradient = self._one_way(self._forward, integrate(velocity, squarings=squarings), self.terms, share)
        if self._backward is not None:
            other, slope = self._one_way(self._backward, integrate(velocity, -1.0, squarings), [], share)
            loss, gradient = loss + other, gradient.sub_(slope)
        if self.settings.regularizer != "none":
            total = velocity if self.present is None else velocity + self.present
            value, slope = REGULARIZERS[self.settings.regularizer](total, self._grid)
            loss += self.settings.regularizer_weight * value
            gradient.add_(slope, alpha=self.settings.regularizer_weight)
        return loss, self.windowed(gradient)

    def windowed(self, vectors: Float[Tensor, "1 3 i j k"]) -> Tensor:
        """Return what the window leaves of a velocity, or of a derivative by one."""
        return vectors if self.window is None else vectors * self.window

    def _one_way(self, data: DataTerm, displacement: Tensor, terms: list[tuple[float, Term]], share: float) -> tuple[float, Tensor]:
        """Return this share of the loss of one direction, and its derivative by the displacement on the velocity's lattice."""
        coarse = (displacement.shape[2], displacement.shape[3], displacement.shape[4])
        fine = displacement if coarse == self._shape else resize_field(displacement, self._shape)
        loss, gradient = data.value_and_gradient(fine, share)
        for weight, term in terms:
            value, slope = term(fine)
            loss += share * weight * value
            gradient.add_(slope, alpha=share * weight)
        return loss, gradient if coarse == self._shape else resize_field_adjoint(gradient, coarse)

    def step(self, barrier: bool = False) -> float:
        """Take one step; returns the loss at the place that the step left."""
        loss, gradient = self._evaluated_here()
        self._remember(loss)
        gradient = smooth(gradient, self._sigmas(self.settings.update_smoothing_vox))
        moved = self._momentum.stepped(self.velocity, gradient, self.settings.step_size_vox, self.settings.flat_region_damping)
        if moved is not None:
            self.velocity = smooth(moved, self._sigmas(self.settings.velocity_smoothing_vox))
        if barrier:
            moving = self.windowed(self.velocity)
            count = squarings_for(moving, SQUARING_STEP_VOX)
            push, _ = push_off_folds(integrate(moving, squarings=count), self.margin)
            self.velocity = self.velocity + push
        return loss

    def begin_at_best(self, offered: list[Tensor]) -> None:
        """Begin at that of several velocities whose loss is the lowest, the first of equals."""
        for velocity in offered:
            loss, gradient = self.evaluate(velocity)
            if self._looked is None or loss < self._looked[1]:
                self.velocity, self._looked = velocity, (velocity, loss, gradient)

    def _evaluated_here(self) -> tuple[float, Tensor]:
        """Return what `evaluate` does at the velocity; where `begin_at_best` has just looked, nothing is computed again."""
        looked, self._looked = self._looked, None
        return looked[1:] if looked is not None and looked[0] is self.velocity else self.evaluate(self.velocity)

    def _sigmas(self, sigma: float) -> tuple[float, float, float]:
        """Turn a standard deviation in mean spacings into voxels of each axis."""
        a, b, c = self._per_voxel
        return (sigma * a, sigma * b, sigma * c)

    def _remember(self, loss: float) -> None:
        self.losses.append(loss)
        if loss < self.best_loss:
            self.best_loss, self.best_velocity = loss, self.velocity

    def finish(self) -> Tensor:
        """Return the best velocity seen, the last one included."""
        self._remember(self.evaluate(self.velocity)[0])
        return self.best_velocity

    def falling(self) -> bool:
        """Tell whether the last loss seen is the lowest, so that the step after it can be trusted without the cost of looking once more."""
        return bool(self.losses) and self.losses[-1] <= self.best_loss

    def converged(self) -> bool:
        """Tell whether the loss has hardly fallen over the last steps."""
        if len(self.losses) <= PATIENCE:
            return False
        before = min(self.losses[:-PATIENCE])
        return before - min(self.losses[-PATIENCE:]) < self.settings.tolerance * abs(before)
