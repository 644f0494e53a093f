"""What a correction session keeps of the images, prepared once: everything after this looks at a box only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...settings import Settings
from ...space import AffineTransform, Box, Grid, LabelMap, Volume
from ..kernels import cpu
from ..prepare import scaled
from ..pyramid import SMOOTHING_PER_FACTOR
from ..resample import default_background
from ..sampling import smooth, warp
from ..tensors import Placed


@dataclass(frozen=True, eq=False)
class CachedImages:
    """Both images as the run compared them, and the moving one as it is shown.

    Attributes
    ----------
    fixed, moving : Placed
        Intensities in [0, 1], the moving one smoothed to the fixed image's spacing; weights where masks were given.
    moving_raw : (i, j, k) float32 array
        The moving image's own intensities.
    background : float
        What lies outside of it.
    affine : AffineTransform
        World RAS+ mm, after the displacement.
    """

    fixed: Placed
    moving: Placed
    moving_raw: Float[np.ndarray, "i j k"]
    background: float
    affine: AffineTransform

    @classmethod
    def of(
        cls, fixed: Volume, moving: Volume, affine: AffineTransform, settings: Settings, masks: tuple[LabelMap | None, LabelMap | None]
    ) -> CachedImages:
        """Prepare them."""
        cpu_device = torch.device("cpu")
        still, pulled = scaled(fixed, settings, cpu_device, masks[0]), scaled(moving, settings, cpu_device, masks[1])
        sigma = [
            SMOOTHING_PER_FACTOR * wide / own if wide > 1.05 * own else 0.0
            for wide, own in zip(_spacing_along(moving.grid, fixed.grid, affine), moving.grid.spacing, strict=True)
        ]
        pulled = replace(pulled, data=smooth(pulled.data, (sigma[0], sigma[1], sigma[2])))
        return cls(still, pulled, np.ascontiguousarray(moving.data), default_background(moving), affine)

    def fixed_in(self, box: Box) -> Placed:
        """Cut the fixed image down to a box."""
        weight = self.fixed.weight
        return Placed(_cut(self.fixed.data, box), box.grid(self.fixed.grid), None if weight is None else _cut(weight, box))

    def matrix(self, box: Box) -> Float[np.ndarray, "4 4"]:
        """Return the matrix from voxels of a box of the fixed grid to voxels of the moving image."""
        return np.asarray(self.moving.grid.world_to_voxel_matrix @ self.affine.matrix @ box.grid(self.fixed.grid).affine)

    def carried_in(self, box: Box, displacement_vox: Float[np.ndarray, "3 i j k"]) -> Placed:
        """Pull the compared moving image into a box through a displacement (fixed voxels); its weight marks field of view and mask."""
        field = torch.from_numpy(np.ascontiguousarray(displacement_vox))[None]
        data, _, inside = warp(self.moving.data, field, self.matrix(box), weight=self.moving.weight)
        return Placed(data, box.grid(self.fixed.grid), inside)

    def moved_in(self, box: Box, displacement_vox: Float[np.ndarray, "3 i j k"]) -> Float[np.ndarray, "i j k"]:
        """Pull the moving image's own intensities into a box, by ITK's rules as `resample` does."""
        matrix = self.matrix(box)
        value, _, inside = cpu.warp(self.moving_raw, np.ascontiguousarray(displacement_vox), matrix[:3, :3], matrix[:3, 3], False)
        value[inside == 0] = self.background
        return value


def _cut(tensor: Tensor, box: Box) -> Tensor:
    return tensor[(slice(None), slice(None), *box.slices)].contiguous()


def _spacing_along(moving: Grid, fixed: Grid, affine: AffineTransform) -> list[float]:
    """Return the fixed image's spacing along each axis of the moving image: that of the axis which the affine carries nearest to it."""
    carried = affine.matrix[:3, :3] @ fixed.affine[:3, :3]
    cosines = np.abs(moving.direction.T @ (carried / np.linalg.norm(carried, axis=0)))
    return [float(fixed.spacing[int(row.argmax())]) for row in cosines]
