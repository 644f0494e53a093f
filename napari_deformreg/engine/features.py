"""Descriptors that look alike in images of different contrast."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from .kernels import mind_cpu
from .losses.descriptors import MIND_DILATION_VOX, MIND_RADIUS_VOX, MIND_SPREAD_BOUNDS, mind_descriptors, neighbor_pairs


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
    if image.device.type != "cpu":
        return mind_descriptors(image, radius, dilation)
    pairs = neighbor_pairs(tuple(image.shape[2:]), dilation)
    floor, ceiling = MIND_SPREAD_BOUNDS
    return torch.from_numpy(mind_cpu.mind(np.ascontiguousarray(image[0, 0].numpy()), pairs, radius, floor, ceiling))[None]


def compact_mind_ssc(image: Float[Tensor, "1 1 i j k"]) -> Shaped[Tensor, "1 c i j k"]:
    """Describe likewise, for many comparisons: on a CPU in 255ths (uint8) with the channels last in memory, elsewhere as `mind_ssc`.

    Twelve floats a voxel of two images of 256^3, one of them padded, would be 2.3 GB, and it is memory that a step waits for; rounding a
    descriptor to 1/255 changes a difference of two by 0.002 at most.
    """
    if image.device.type != "cpu":
        return mind_ssc(image)
    pairs = neighbor_pairs(tuple(image.shape[2:]), MIND_DILATION_VOX)
    floor, ceiling = MIND_SPREAD_BOUNDS
    described = mind_cpu.mind_bytes(np.ascontiguousarray(image[0, 0].numpy()), pairs, MIND_RADIUS_VOX, floor, ceiling)
    return torch.from_numpy(described).movedim(-1, 0)[None]
