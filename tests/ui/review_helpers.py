"""A result with planted faults: one fold, and one structure that is 5 mm off."""

from dataclasses import replace

import numpy as np

from napari_deformreg.space import DisplacementField
from napari_deformreg.ui.pictures import picture_of_outcome
from napari_deformreg.workflow import evaluate

FOLD_VOXEL = (7, 15, 11)
SHIFT_MM = np.array([5.0, 0.0, 0.0])


def bump(shape, center, radius):
    """1 at the center, smoothly 0 from the radius on (voxels)."""
    at = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) - np.array(center)
    ramp = np.clip(1 - np.linalg.norm(at, axis=-1) / radius, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def planted_outcome(outcome, structure=None):
    """Fold the result at FOLD_VOXEL, and push a structure (by its number) 5 mm to the right."""
    grid = outcome.inputs.fixed.grid
    u = outcome.result.displacement.displacement_mm.astype(np.float64).copy()
    u[FOLD_VOXEL] += np.array([2.5, 0.0, 0.0]) * grid.spacing
    if structure is not None:
        inside = outcome.inputs.fixed_labels.data == structure
        center = np.argwhere(inside).mean(0)
        u += bump(grid.shape, center, 7.0)[..., None] ** 0.3 * SHIFT_MM
    result = replace(outcome.result, displacement=DisplacementField(grid, u.astype(np.float32)), velocity_vox=None)
    return evaluate(outcome.inputs, result)


def planted_picture(outcome, structure=None):
    """The picture of it."""
    return picture_of_outcome(planted_outcome(outcome, structure))
