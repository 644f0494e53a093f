"""Descriptors that look alike in images of different contrast."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .kernels import mind_cpu, mind_reference

MIND_RADIUS_VOX = 1
"""Patches of three voxels an axis."""

MIND_DILATION_VOX = 2
"""Distance of the six neighbors, as in ConvexAdam (Siebert et al. 2021): patches of radius 1 then do not overlap."""

MIND_SPREAD_BOUNDS = (1e-3, 1e3)
"""Bounds of a voxel's spread relative to the image's mean spread: keeps a constant background from being divided by zero."""


def neighbor_pairs(shape: tuple[int, ...], dilation: int = MIND_DILATION_VOX) -> Int[np.ndarray, "c 2 3"]:
    """Return the pairs of neighbors a descriptor compares: those not opposite each other, along the axes that have voxels.

    Twelve pairs in a volume; four in a slice, its analogue within the plane.
    """
    steps = [sign * dilation * np.eye(3, dtype=np.int64)[axis] for axis in range(3) if shape[axis] > 1 for sign in (-1, 1)]
    pairs = [(a, b) for a, b in itertools.combinations(steps, 2) if not np.array_equal(a, -b)]
    if not pairs:  # a single line of voxels has no such pair: compare the two sides
        pairs = [(steps[0], steps[1])] if steps else [(np.zeros(3, np.int64), np.zeros(3, np.int64))]
    return np.array(pairs)


def mind_ssc(
    image: Float[Tensor, "1 1 i j k"], radius: int = MIND_RADIUS_VOX, dilation: int = MIND_DILATION_VOX
) -> Float[Tensor, "1 c i j k"]:
    """Describe each voxel by how alike the patches around it are among themselves (MIND-SSC), values in [0, 1].

    For each pair of neighbors a, b of a voxel: D = sum over the patch of (I(x + a) - I(x + b))^2; the descriptor is
    exp(-(D - min D) / mean(D - min D)), minimum and mean over the pairs.

    References
    ----------
    Heinrich et al., MICCAI 2013, doi 10.1007/978-3-642-40811-3_24, equations 1 to 3.
    """
    pairs = neighbor_pairs(tuple(image.shape[2:]), dilation)
    floor, ceiling = MIND_SPREAD_BOUNDS
    if image.device.type == "cpu":
        return torch.from_numpy(mind_cpu.mind(np.ascontiguousarray(image[0, 0].numpy()), pairs, radius, floor, ceiling))[None]
    return mind_reference.mind(image, pairs, radius, floor, ceiling)
