"""The repair of one fold of a finished registration, and the inverse that belongs to it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool

from ..space import DisplacementField
from ..space.jacobian import displacement_mm_to_vox, displacement_vox_to_mm
from .folding import Repair, invert_field, repair_at
from .tensors import guarded


def repair_region(displacement: DisplacementField, region: Bool[np.ndarray, "i j k"], margin: float) -> tuple[DisplacementField, Repair]:
    """Remove the folds of one region of an exported field with the smallest changes that do.

    Parameters
    ----------
    displacement : DisplacementField
        As exported, on the fixed grid.
    region : (i, j, k) bool array
        Voxels of that grid that fold.
    margin : float
        What the determinants are raised to.
    """
    repaired, report = repair_at(_voxels(displacement), region, margin)
    return _millimeters(repaired, displacement), report


def inverse_near(displacement: DisplacementField, start: DisplacementField) -> DisplacementField:
    """Invert x + u(x) on its grid, from the inverse of a field that is almost the same."""
    forward = torch.from_numpy(_voxels(displacement))[None]
    guess = -forward if start.grid != displacement.grid else torch.from_numpy(_voxels(start))[None]
    with guarded():
        backward, _ = invert_field(forward, guess)
    return _millimeters(backward[0].numpy(), displacement)


def _voxels(field: DisplacementField) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(displacement_mm_to_vox(field.displacement_mm, field.grid), -1, 0))


def _millimeters(displacement_vox: np.ndarray, like: DisplacementField) -> DisplacementField:
    return DisplacementField(like.grid, displacement_vox_to_mm(np.ascontiguousarray(np.moveaxis(displacement_vox, 0, -1)), like.grid))
