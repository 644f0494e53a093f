"""Comparing images of different contrast by descriptors that look alike in both."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from .common import accumulates_wide, check_pair, weighted_mean
from .images import box_sum

MIND_RADIUS_VOX = 1
"""Patches of three voxels an axis."""

MIND_DILATION_VOX = 2
"""Distance of the six neighbors, as in ConvexAdam (Siebert et al. 2021): patches of radius 1 then do not overlap."""

MIND_SPREAD_BOUNDS = (1e-3, 1e3)
"""Bounds of a voxel's spread relative to the image's mean spread: keeps a constant background from being divided by zero."""


_SMALLEST_SPREAD = 1e-12
"""Far below the spread of anything that can be seen."""


def neighbor_pairs(shape: tuple[int, ...], dilation: int = MIND_DILATION_VOX) -> Int[np.ndarray, "c 2 3"]:
    """Return the pairs of neighbors a descriptor compares: those not opposite each other, along the axes that have voxels.

    Twelve pairs in a volume; four in a slice, its analogue within the plane.
    """
    steps = [sign * dilation * np.eye(3, dtype=np.int64)[axis] for axis in range(3) if shape[axis] > 1 for sign in (-1, 1)]
    pairs = [(a, b) for a, b in itertools.combinations(steps, 2) if not np.array_equal(a, -b)]
    if not pairs:  # a single line of voxels has no such pair: compare the two sides
        pairs = [(steps[0], steps[1])] if steps else [(np.zeros(3, np.int64), np.zeros(3, np.int64))]
    return np.array(pairs)


def mind_descriptors(image: Tensor, radius: int = MIND_RADIUS_VOX, dilation: int = MIND_DILATION_VOX) -> Tensor:
    """Describe each voxel of (n, 1, *spatial) images, 2-D or 3-D: (n, 12 or 4, *spatial); see `engine.features.mind_ssc`."""
    volume = image if image.dim() == 5 else image.unsqueeze(2)
    shape = volume.shape[2:]
    pairs = neighbor_pairs(tuple(shape), dilation)
    margin = [int(m) for m in np.abs(pairs).max(axis=(0, 1))]
    padded = F.pad(volume, [margin[2], margin[2], margin[1], margin[1], margin[0], margin[0]], mode="replicate")

    def shifted(offset: np.ndarray) -> Tensor:
        out = padded
        for axis in range(3):
            out = out.narrow(2 + axis, margin[axis] + int(offset[axis]), shape[axis])
        return out

    distances = box_sum(torch.cat([(shifted(a) - shifted(b)).square() for a, b in pairs], dim=1), radius)
    low = distances.amin(dim=1, keepdim=True)
    spread = (distances.mean(dim=1, keepdim=True) - low).clamp_min(0)
    mean = spread.detach().flatten(1).mean(dim=1).view(-1, 1, 1, 1, 1)
    floor, ceiling = MIND_SPREAD_BOUNDS
    # A constant image looks the same everywhere: all its distances are 0, and so is their quotient.
    bounded = spread.clamp(floor * mean, ceiling * mean).clamp_min(_SMALLEST_SPREAD)
    descriptors = torch.exp(-(distances - low) / bounded)
    return descriptors if image.dim() == 5 else descriptors.squeeze(2)


@accumulates_wide
def mind_ssc(
    fixed: Tensor, moved: Tensor, weight: Tensor | None = None, radius: int = MIND_RADIUS_VOX, dilation: int = MIND_DILATION_VOX
) -> Tensor:
    """Return the mean squared difference of both images' MIND-SSC descriptors, summed over twelve channels.

    Parameters
    ----------
    fixed, moved : (n, 1, *spatial) tensors
        Images of any contrast.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    radius, dilation : int
        Of the patches that are compared, and distance of the neighbors around which they lie, in voxels.

    References
    ----------
    Heinrich et al., MICCAI 2013, doi 10.1007/978-3-642-40811-3_24, equations 1 to 3.
    """
    check_pair(fixed, moved, weight)
    first, second = (mind_descriptors(image, radius, dilation) for image in (fixed, moved))
    return descriptor_distance(first, second, weight)


def descriptor_distance(fixed: Tensor, moved: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the weighted mean of the squared difference, per twelve channels, so that slices with fewer weigh the same."""
    return weighted_mean((fixed - moved).square(), weight).mean() * (12 / fixed.shape[1])
