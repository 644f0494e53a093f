"""What the user knows beyond intensities: landmark pairs and labels as terms of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..space import AffineTransform, LabelMap, LandmarkPairs
from .losses import by_autograd, landmark_distance
from .prepare import LevelPair, pulled
from .sampling import warp
from .tensors import Placed, to_tensor


@dataclass(frozen=True, eq=False)
class LandmarkTerm:
    """The loss `landmark_distance` of one level, in squared voxels of its mean spacing."""

    fixed_vox: Tensor
    """(1, n, 3) places in voxels of the level."""
    moving_vox: Tensor
    """(1, n, 3) places of the partners, pulled back by the affine."""
    spacing: tuple[float, ...]
    """Voxel sizes in units of their mean."""

    @classmethod
    def at_level(cls, pairs: LandmarkPairs, pair: LevelPair, affine: AffineTransform) -> LandmarkTerm:
        """Prepare the term for one level."""
        grid = pair.fixed.grid
        partners = affine.inverse().map(pairs.moving_points)
        fixed, moving = (
            torch.tensor(grid.world_to_voxel(points), dtype=torch.float32, device=pair.fixed.device)[None]
            for points in (pairs.fixed_points, partners)
        )
        return cls(fixed, moving, tuple(grid.spacing / np.exp(np.log(grid.spacing).mean())))

    def value_and_gradient(self, displacement: Float[Tensor, "1 3 i j k"]) -> tuple[float, Tensor]:
        """Return the mean squared distance and its derivative by the displacement (in voxels)."""
        return by_autograd(lambda u: landmark_distance(u, self.fixed_vox, self.moving_vox, self.spacing), displacement)


@dataclass(frozen=True, eq=False)
class LabelTerm:
    """The loss `soft_dice` (denominator: sums) over the structures that both label maps have, with the compiled warp's derivative."""

    fixed: Tensor
    """(1, n, i, j, k), one channel a structure."""
    moving: Tensor
    """(1, n, a, b, c) on the padded lattice."""
    matrix: np.ndarray

    @classmethod
    def at_level(cls, fixed: LabelMap, moving: LabelMap, pair: LevelPair, affine: AffineTransform) -> LabelTerm:
        """Prepare the term for one level."""
        common = [label for label in fixed.labels if label in moving.labels]
        device = pair.fixed.device
        channels = [
            (
                pulled(Placed(to_tensor(fixed.data == label, device), fixed.grid), pair.fixed.grid, AffineTransform.identity()).data,
                pulled(Placed(to_tensor(moving.data == label, device), moving.grid), pair.moving.grid, affine).data,
            )
            for label in common
        ]
        return cls(torch.cat([f for f, _ in channels], 1), torch.cat([m for _, m in channels], 1), pair.to_moving)

    def value_and_gradient(self, displacement: Float[Tensor, "1 3 i j k"]) -> tuple[float, Tensor]:
        """Return the loss and its derivative by the displacement."""
        count = self.fixed.shape[1]
        total, gradient = 0.0, torch.zeros_like(displacement)
        for channel in range(count):
            f = self.fixed[:, [channel]]
            moved, slope, _ = warp(self.moving[:, [channel]], displacement, self.matrix, with_gradient=True)
            both, sizes = float((f * moved).sum()), float(f.sum() + moved.sum()) + 1e-6
            total += 2 * both / sizes
            gradient -= (2 * f / sizes - 2 * both / sizes**2) / count * slope
        return 1 - total / count, gradient
