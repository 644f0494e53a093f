"""What a training step is given, whoever makes it: the generator of synthetic pairs or a user's own images."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """Two images on one lattice, roughly aligned, and what is known about how they correspond; 2-D or 3-D, any batch size n.

    Attributes
    ----------
    fixed, moving : (n, 1, *spatial) float32 tensor
        Intensities in [0, 1].
    fixed_labels, moving_labels : (n, *spatial) int64 tensor or None
        Structures; one number means the same structure in both, 0 is background.
    velocity_vox : (n, d, *spatial) float32 tensor or None
        The true stationary velocity on the fixed lattice, in voxels: exp(v) carries fixed voxels to moving ones.
    fixed_landmarks_vox, moving_landmarks_vox : (n, p, d) float32 tensor or None
        Corresponding points in voxels, axis order i, j, k.
    """

    fixed: Float[Tensor, "n 1 *spatial"]
    moving: Float[Tensor, "n 1 *spatial"]
    fixed_labels: Int[Tensor, "n *spatial"] | None = None
    moving_labels: Int[Tensor, "n *spatial"] | None = None
    velocity_vox: Float[Tensor, "n d *spatial"] | None = None
    fixed_landmarks_vox: Float[Tensor, "n p d"] | None = None
    moving_landmarks_vox: Float[Tensor, "n p d"] | None = None

    def to(self, device: torch.device) -> TrainingPair:
        """Return a copy on another device."""
        there = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in there.items() if value is not None})


class PairSource(Protocol):
    """Any number of pairs, each a function of its number: exact resume and several processes need no more than that."""

    def pair(self, index: int) -> TrainingPair:
        """Make or read pair number `index`, from 0; the same number gives the same pair."""
        ...
