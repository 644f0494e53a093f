"""Folds: the barrier that holds them off while optimizing, the repair of what is left, and the inverse of the repaired field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from ..space.jacobian import digital_fold_mask
from .kernels import fold_cpu
from .sampling import compose

REPAIR_PASSES = 60
"""Passes of the repair at most; planted folds of several voxels take under ten."""

INVERSE_PASSES = 4
"""Newton-like passes over the inverse field; each about squares the residual, down to the interpolation's own."""


@dataclass(frozen=True)
class Repair:
    """What the repair did.

    Attributes
    ----------
    folds_before, folds_left : int
        Voxels that fail the digital test on the whole grid.
    passes : int
        How often the folds' surroundings were gone over.
    largest_change_vox : float
        Longest change of a displacement vector, in voxels.
    """

    folds_before: int
    folds_left: int
    passes: int
    largest_change_vox: float


def _fold_voxels(field: np.ndarray, margin: float) -> np.ndarray:
    return digital_fold_mask(np.moveaxis(field, 0, -1), margin)


def push_off_folds(field: Float[Tensor, "1 3 i j k"], margin: float) -> tuple[Tensor, int]:
    """Return the barrier's push: the smallest change that raises determinants below the margin, and how many voxels were below."""
    array = np.ascontiguousarray(field[0].cpu().numpy())
    below = np.argwhere(_fold_voxels(array, margin))
    if not len(below):
        return torch.zeros_like(field), 0
    pushed = array.copy()
    fold_cpu.push_folds(pushed, below, margin, relax=0.8)
    return torch.from_numpy(pushed - array)[None].to(field.device), len(below)


def repair(field: Float[Tensor, "1 3 i j k"], margin: float) -> tuple[Float[Tensor, "1 3 i j k"], Repair]:
    """Remove the folds of a displacement (voxels of its grid) with the smallest changes that do.

    Every determinant of the digital test below the margin is raised to it by a projection onto its linearized constraint; the voxels around
    are looked at again, until none is below or the passes are used up. What is left is counted, never hidden.
    """
    original = np.ascontiguousarray(field[0].cpu().numpy())
    before = int(_fold_voxels(original, 0.0).sum())
    mask = _fold_voxels(original, margin / 2)
    if not mask.any():
        return field, Repair(before, before, 0, 0.0)
    array = original.copy()
    passes = 0
    while mask.any() and passes < REPAIR_PASSES:
        around = ndimage.binary_dilation(mask, iterations=1)
        fold_cpu.push_folds(array, np.argwhere(around), margin, relax=1.0)
        mask = _fold_voxels(array, margin / 2)
        passes += 1
    left = int(_fold_voxels(array, 0.0).sum())
    change = float(np.sqrt(np.square(array - original).sum(axis=0).max()))
    return torch.from_numpy(array)[None].to(field.device), Repair(before, left, passes, change)


def invert_field(field: Float[Tensor, "1 3 i j k"], start: Float[Tensor, "1 3 i j k"]) -> tuple[Tensor, float]:
    """Return the inverse displacement w with w(x) + u(x + w(x)) = 0, and the mean residual in voxels.

    Parameters
    ----------
    field : (1, 3, i, j, k) tensor
        u in voxels.
    start : (1, 3, i, j, k) tensor
        First guess: the integrated negative velocity.
    """
    best, best_miss = start, float("inf")
    inverse = start
    for _ in range(INVERSE_PASSES):
        residual = compose(field, inverse)
        miss = float(residual.square().sum(dim=1).sqrt().mean())
        if miss < best_miss:
            best, best_miss = inverse, miss
        else:
            break
        step = fold_cpu.inverse_update(np.ascontiguousarray(inverse[0].cpu().numpy()), np.ascontiguousarray(residual[0].cpu().numpy()))
        inverse = torch.from_numpy(step)[None].to(field.device)
    return best, best_miss
