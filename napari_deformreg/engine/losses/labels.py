"""How little the structures of two label maps overlap; lower is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..differentiable import warp
from .common import accumulates_wide, check_pair

SMALLEST_SIZE = 1e-5
"""Added to both parts of the fraction, VoxelMorph's and MONAI's number: a structure that both lack counts as found."""


def label_channels(labels: Tensor, wanted: Sequence[int]) -> Tensor:
    """Turn a label map (n, *spatial) into one channel a wanted label, (n, c, *spatial) float32; the others are not built."""
    values = torch.tensor(list(wanted), dtype=labels.dtype, device=labels.device).view(1, -1, *[1] * (labels.dim() - 1))
    return (labels.unsqueeze(1) == values).float()


def common_labels(fixed: Tensor, moving: Tensor, most: int | None = None, generator: torch.Generator | None = None) -> list[int]:
    """Return the labels above 0 that both maps have, at most so many, then drawn at random (generator on the CPU) and sorted."""
    both = sorted(set(torch.unique(fixed).tolist()) & set(torch.unique(moving).tolist()))
    labels = [int(label) for label in both if label > 0]
    if most is None or len(labels) <= most:
        return labels
    drawn = torch.randperm(len(labels), generator=generator)[:most].tolist()
    return sorted(labels[index] for index in drawn)


@accumulates_wide
def soft_dice(
    fixed: Tensor, moved: Tensor, weight: Tensor | None = None, denominator: Literal["squares", "sums"] = "squares"
) -> Tensor:
    """Return one minus the mean over structures of 2 |F M| / (|F|^2 + |M|^2), the overlap of soft channels.

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        One channel a structure, values in [0, 1]: one-hot or probabilities (see `label_channels`).
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    denominator : "squares" or "sums"
        Squares are least at equal probabilities; sums, which the optimizer's label term takes, only at equal one-hot channels.

    References
    ----------
    Milletari et al. 2016, doi 10.1109/3DV.2016.79.
    """
    check_pair(fixed, moved, weight)
    w = torch.ones_like(fixed[:1, :1]) if weight is None else weight.to(fixed)
    both = (w * fixed * moved).flatten(2).sum(dim=2)
    size = w * (fixed.square() + moved.square() if denominator == "squares" else fixed + moved)
    return 1 - ((2 * both + SMALLEST_SIZE) / (size.flatten(2).sum(dim=2) + SMALLEST_SIZE)).mean()


def warped_dice(
    fixed_labels: Tensor, moving_labels: Tensor, displacement_vox: Tensor, labels: Sequence[int], weight: Tensor | None = None
) -> Tensor:
    """Return `soft_dice` of the fixed labels and the moving labels pulled by a displacement, building only the wanted channels.

    Parameters
    ----------
    fixed_labels, moving_labels : (n, *spatial) integer tensors
        Label maps on the lattice of the displacement.
    displacement_vox : (n, d, *spatial) tensor
        From fixed to moving, in voxels.
    labels : sequence of int
        Which structures to compare, for example a few of `common_labels`.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.

    Returns
    -------
    scalar tensor
        0 where no label is wanted.
    """
    if not labels:
        return 0 * displacement_vox.sum()
    moved = warp(label_channels(moving_labels, labels), displacement_vox.float())
    return soft_dice(label_channels(fixed_labels, labels), moved, weight)
