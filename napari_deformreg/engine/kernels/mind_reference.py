"""Plain-torch twin of the compiled MIND-SSC descriptors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import box_sum


def mind(image: Tensor, pairs: np.ndarray, radius: int, floor: float, ceiling: float) -> Tensor:
    """Twin of `mind_cpu.mind` on (1, 1, i, j, k) images; returns (1, c, i, j, k)."""
    margin = [int(m) for m in np.abs(pairs).max(axis=(0, 1))]
    padded = F.pad(image, [margin[2], margin[2], margin[1], margin[1], margin[0], margin[0]], mode="replicate")
    shape = image.shape[2:]

    def shifted(offset: np.ndarray) -> Tensor:
        out = padded
        for axis in range(3):
            out = out.narrow(2 + axis, margin[axis] + int(offset[axis]), shape[axis])
        return out

    distances = torch.cat([(shifted(a) - shifted(b)).square() for a, b in pairs], dim=1)
    distances = box_sum(distances, radius)
    low = distances.amin(dim=1, keepdim=True)
    spread = (distances.mean(dim=1, keepdim=True) - low).clamp_min(0)
    mean = float(spread.double().mean())
    if mean <= 0:
        return torch.ones_like(distances)
    return torch.exp(-(distances - low) / spread.clamp(floor * mean, ceiling * mean))
