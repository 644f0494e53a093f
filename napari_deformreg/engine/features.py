"""Descriptors that look alike in images of different contrast."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
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
