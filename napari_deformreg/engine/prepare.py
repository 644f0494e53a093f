"""From volumes to what the engine compares: canonical axes, intensities in about [0, 1], weights, and the pair of one level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import InputError
from ..settings import Settings
from ..space import AffineTransform, Grid, LabelMap, Volume
from ..space.orientation import reorient
from .pyramid import SMOOTHING_PER_FACTOR, at_grid
from .sampling import box_sum, smooth, warp, zero_field
from .tensors import Placed, place

ROBUST_PERCENTILES = (0.5, 99.5)
"""Intensities outside are clipped: a few outliers would otherwise shrink all contrast (min-max scaling kills local correlation)."""

PADDING_FRACTION = 0.12
"""The moving image is kept this much beyond the fixed field of view on each side, so that structures can move in from there."""


def canonical_volume(volume: Volume) -> Volume:
    """Turn the array axes to the nearest of right, anterior, superior; no voxel moves in the world."""
    data, grid = reorient(volume.data, volume.grid)
    return Volume(np.ascontiguousarray(data), grid, volume.name, volume.notices)


def canonical_labels(labels: LabelMap) -> LabelMap:
    """Likewise for labels and masks."""
    data, grid = reorient(labels.data, labels.grid)
    return LabelMap(np.ascontiguousarray(data), grid, labels.name, labels.label_names)


def intensity_window(volume: Volume, settings: Settings) -> tuple[float, float]:
    """Choose the intensities that become 0 and 1.

    Raises
    ------
    InputError
        If the image is constant within them.
    """
    low, high = (float(x) for x in np.percentile(volume.data[:: _stride(volume)], ROBUST_PERCENTILES))
    if settings.intensity_range is not None:
        low, high = max(low, settings.intensity_range[0]), min(high, settings.intensity_range[1])
    if not high > low:
        low, high = float(volume.data.min()), float(volume.data.max())
    if not high > low:
        raise InputError(f"Image {volume.name!r} is constant ({low:g} everywhere): there is nothing to register. Choose another image.")
    return low, high


def _stride(volume: Volume) -> int:
    """Skip slices of a large image for the percentiles; half a million voxels settle them to far below any contrast."""
    return max(1, min(int(volume.data.shape[0]) // 16, int(volume.data.size) // 2_000_000))


def scaled(volume: Volume, settings: Settings, device: torch.device, mask: LabelMap | None) -> Placed:
    """Bring a canonical volume to the device with intensities in [0, 1]."""
    low, high = intensity_window(volume, settings)
    placed = place(volume, device, mask)
    data = ((placed.data - low) / (high - low)).clamp_(0, 1)
    weight = placed.weight
    if settings.modality == "different":
        weight = structured(data) if weight is None else weight * structured(data)
    return Placed(data, placed.grid, weight)


def structured(data: Float[Tensor, "1 1 i j k"]) -> Float[Tensor, "1 1 i j k"]:
    """Mark voxels with any structure nearby; where an image is flat (padding, outside a fan), descriptors of contrast say nothing."""
    count = box_sum(torch.ones_like(data), STRUCTURE_RADIUS_VOX)
    mean = box_sum(data, STRUCTURE_RADIUS_VOX) / count
    variance = box_sum(data * data, STRUCTURE_RADIUS_VOX) / count - mean * mean
    return (variance > FLAT_DEVIATION**2).float()


STRUCTURE_RADIUS_VOX = 2
"""Reach of a MIND-SSC descriptor (dilation 2)."""

FLAT_DEVIATION = 2e-3
"""Standard deviation, of intensities in [0, 1], below which a neighborhood is flat: half a gray level of 256."""


@dataclass(frozen=True, eq=False)
class LevelPair:
    """Both images on one lattice, the moving one pulled through the affine and padded beyond the fixed field of view.

    Attributes
    ----------
    fixed : Placed
        On the level's grid.
    moving : Placed
        On the level's grid with `padding` voxels more on each side of an axis; weight 0 outside the moving field of view or mask.
    padding : tuple of int
        Voxels added on each side along i, j, k.
    """

    fixed: Placed
    moving: Placed
    padding: tuple[int, int, int]

    @property
    def to_moving(self) -> Float[np.ndarray, "4 4"]:
        """Matrix from voxels of the level to voxels of the padded moving image."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.padding
        return matrix

    def cropped(self, tensor: Shaped[Tensor, "1 c a b d"]) -> Shaped[Tensor, "1 c i j k"]:
        """Cut what is sampled on the padded lattice down to the level's grid (many channels as a view: they are laid out anew)."""
        a, b, c = self.padding
        i, j, k = self.fixed.grid.shape
        cut = tensor[:, :, a : a + i, b : b + j, c : c + k]
        return cut if cut.shape[1] > 1 else cut.contiguous()


def padded_grid(grid: Grid, padding: tuple[int, int, int]) -> Grid:
    """Return the grid with more voxels on each side."""
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(padding)
    shape = [n + 2 * p for n, p in zip(grid.shape, padding, strict=True)]
    return Grid((shape[0], shape[1], shape[2]), affine)


def level_pair(fixed: Placed, moving: Placed, grid: Grid, affine: AffineTransform, padded: bool = True) -> LevelPair:
    """Bring both images to a level's grid."""
    padding = [round(PADDING_FRACTION * n) + 1 if n > 1 and padded else 0 for n in grid.shape]
    pads = (padding[0], padding[1], padding[2])
    lattice = padded_grid(grid, pads)
    return LevelPair(at_grid(fixed, grid), pulled(moving, lattice, affine), pads)


def pulled(
    moving: Placed, lattice: Grid, affine: AffineTransform, displacement: Float[Tensor, "1 3 a b d"] | None = None
) -> Placed:
    """Smooth the moving image to the lattice's spacing and pull it there; weights mark its field of view and mask.

    It is pulled through the affine, or first through a displacement (voxels of the lattice) and then through the affine.
    """
    sigma = [
        SMOOTHING_PER_FACTOR * wide / own if wide > 1.05 * own else 0.0
        for wide, own in zip(lattice.spacing, moving.grid.spacing, strict=True)
    ]
    matrix = moving.grid.world_to_voxel_matrix @ affine.matrix @ lattice.affine
    field = zero_field(lattice, moving.device) if displacement is None else displacement
    data, _, inside = warp(smooth(moving.data, (sigma[0], sigma[1], sigma[2])), field, matrix)
    if moving.weight is not None:
        inside = inside * warp(moving.weight, field, matrix)[0]
    return Placed(data, lattice, inside)
