"""What the user knows beyond intensities: landmark pairs and labels as terms of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..space import AffineTransform, LabelMap, LandmarkPairs
from .prepare import LevelPair, pulled
from .sampling import warp
from .tensors import Placed, to_tensor


@dataclass(frozen=True, eq=False)
class LandmarkTerm:
    """Mean squared distance, in squared voxels of the level (its mean spacing), between carried fixed landmarks and their partners.

    Each landmark pulls at the eight voxels around it, with the weights of the linear interpolation that reads the field there.
    """

    corners: Tensor
    """(n, 8) flat voxel indices."""
    weights: Tensor
    """(n, 8) interpolation weights."""
    wanted_vox: Tensor
    """(n, 3) displacement that would carry each fixed landmark onto its partner, in voxels."""
    unit: Tensor
    """(3,) voxel size in units of the mean spacing."""

    @classmethod
    def at_level(cls, pairs: LandmarkPairs, pair: LevelPair, affine: AffineTransform) -> LandmarkTerm:
        """Prepare the term for one level."""
        grid, device = pair.fixed.grid, pair.fixed.device
        start = grid.world_to_voxel(pairs.fixed_points)
        wanted = grid.world_to_voxel(affine.inverse().map(pairs.moving_points)) - start
        size = np.array(grid.shape)
        low = np.clip(np.floor(start), 0, np.maximum(size - 2, 0)).astype(int)
        upper = np.clip(start - low, 0, 1) * (size > 1)
        corners, weights = [], []
        for offset in np.ndindex(2, 2, 2):
            at = np.minimum(low + offset, size - 1)
            corners.append(np.ravel_multi_index(tuple(at.T), grid.shape))
            weights.append(np.prod(np.where(offset, upper, 1 - upper), axis=1))
        spacing = grid.spacing / np.exp(np.log(grid.spacing).mean())
        numbers = [torch.tensor(x, dtype=torch.float32, device=device) for x in (np.stack(weights, 1), wanted, spacing)]
        return cls(torch.tensor(np.stack(corners, 1), device=device), numbers[0], numbers[1], numbers[2])

    def value_and_gradient(self, displacement: Float[Tensor, "1 3 i j k"]) -> tuple[float, Tensor]:
        """Return the mean squared distance and its derivative by the displacement (both in voxels)."""
        flat = displacement[0].reshape(3, -1)
        now = (flat[:, self.corners] * self.weights).sum(-1).T
        miss = (now - self.wanted_vox) * self.unit
        count = len(miss)
        slope = 2 / count * miss * self.unit
        gradient = torch.zeros_like(flat)
        for axis in range(3):
            gradient[axis].index_add_(0, self.corners.flatten(), (slope[:, [axis]] * self.weights).flatten())
        return float(miss.square().sum()) / count, gradient.view_as(displacement[0])[None]


@dataclass(frozen=True, eq=False)
class LabelTerm:
    """One minus the mean soft Dice over the structures that both label maps have.

    References
    ----------
    Milletari et al. 2016, doi 10.1109/3DV.2016.79, in the form without squares of the denominators' terms.
    """

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
