"""The inverse of a displacement field that no velocity is known of: one that another tool made."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from ..space import DisplacementField
from ..space.jacobian import displacement_mm_to_vox, displacement_vox_to_mm
from .folding import invert_field
from .tensors import guarded

SPREAD_VOX = 1.5
"""Spreads what each voxel brings with it over the gaps that an expanding field leaves; the steps that follow sharpen it."""


def inverse_of_field(field: DisplacementField) -> tuple[DisplacementField, float]:
    """Invert x + u(x) on its own grid.

    Returns
    -------
    inverse, residual
        The inverse displacement, and how far it misses in the mean, in voxels; a field that folds has no inverse there.
    """
    forward = displacement_mm_to_vox(field.displacement_mm, field.grid)
    with guarded():
        u, guess = (torch.from_numpy(np.ascontiguousarray(part.transpose(3, 0, 1, 2)))[None] for part in (forward, _carried_back(forward)))
        backward, residual = invert_field(u, guess)
    vectors = np.ascontiguousarray(backward[0].numpy().transpose(1, 2, 3, 0))
    return DisplacementField(field.grid, displacement_vox_to_mm(vectors, field.grid)), residual


def _carried_back(forward: Float[np.ndarray, "i j k 3"]) -> Float[np.ndarray, "i j k 3"]:
    """Guess the inverse: each voxel carries its own way back to where it lands, spread over its surroundings."""
    shape = forward.shape[:3]
    landed = np.rint(np.moveaxis(np.indices(shape, dtype=np.float32), 0, -1) + forward).astype(np.int64)
    inside = ((landed >= 0) & (landed < np.array(shape))).all(axis=-1)
    place = np.ravel_multi_index(tuple(landed[inside].T), shape)
    sigma = [SPREAD_VOX if n > 1 else 0.0 for n in shape]
    weight = _spread(np.bincount(place, minlength=int(np.prod(shape))).reshape(shape), sigma)
    out = np.empty_like(forward)
    for axis in range(3):
        back = _spread(np.bincount(place, -forward[..., axis][inside], minlength=int(np.prod(shape))).reshape(shape), sigma)
        out[..., axis] = np.where(weight > 1e-3, back / np.maximum(weight, 1e-3), -forward[..., axis])
    return out


def _spread(values: np.ndarray, sigma: list[float]) -> Float[np.ndarray, "i j k"]:
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float32), sigma, mode="constant", truncate=3.0))
