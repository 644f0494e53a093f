"""A region solved again: what its window is, and the displacement that it starts from."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ...errors import InputError
from ...settings import Settings
from ...space import AffineTransform, Box, Grid, LandmarkPairs, Region
from ...space.point_fits import fit_pairs

RegionKind = Literal["harder", "softer", "rigid"]

HARDER: dict[str, float] = {"update_smoothing_vox": 0.6, "velocity_smoothing_vox": 0.6, "regularizer_weight": 0.3}
SOFTER: dict[str, float] = {"update_smoothing_vox": 2.0, "velocity_smoothing_vox": 2.0, "regularizer_weight": 10.0}
"""By what the run's smoothing is multiplied: twice the length makes motion of half the detail."""

STEPS_HARDER = 2
"""Times as many steps."""

SOFTENED_PART = 0.5
"""Softer starts from the displacement smoothed with this part of the margin as standard deviation."""

FIT_POINTS = 4000
"""Voxels at most that a rigid motion is fitted through."""

STIFF_VOX = 0.05
"""A rigid region may deviate by this much from its motion."""


def check_kind(kind: str) -> None:
    """Refuse an unknown way to solve a region again.

    Raises
    ------
    InputError
        If it is none of harder, softer and rigid.
    """
    if kind not in get_args(RegionKind):
        raise InputError(f"Expected one of {', '.join(get_args(RegionKind))}; got {kind!r}.")


def changed_settings(settings: Settings, kind: RegionKind) -> Settings:
    """Return the run's settings with less smoothing, or with more."""
    factors = HARDER if kind == "harder" else SOFTER
    changes: dict[str, Any] = {name: min(getattr(settings.refine, name) * factor, 10.0) for name, factor in factors.items()}
    if kind == "softer" and settings.refine.velocity_smoothing_vox == 0:
        changes["velocity_smoothing_vox"] = 1.0
    return settings.changed(refine=changes)


def embedded(region: Region, box: Box) -> Bool[np.ndarray, "i j k"]:
    """Return the region's mask in a box around it."""
    out = np.zeros(box.shape, bool)
    out[region.box.within(box)] = region.mask
    return out


def region_window(inside: Bool[np.ndarray, "i j k"], grid: Grid, margin_mm: float) -> Float[np.ndarray, "i j k"]:
    """Return 1 inside, then a smooth descent (3 t^2 - 2 t^3) to 0 at the margin."""
    distance = ndimage.distance_transform_edt(~inside, sampling=grid.spacing)
    t = np.clip(1 - distance / margin_mm, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def softened(
    present: Float[np.ndarray, "3 i j k"], window: Float[np.ndarray, "i j k"], grid: Grid, margin_mm: float
) -> Float[np.ndarray, "3 i j k"]:
    """Blend a displacement toward its local mean."""
    sigma = [SOFTENED_PART * margin_mm / s if n > 1 else 0.0 for s, n in zip(grid.spacing, grid.shape, strict=True)]
    mean = ndimage.gaussian_filter(present, (0.0, *sigma), mode="nearest", truncate=2.5)
    return np.ascontiguousarray(present + window * (mean - present), dtype=np.float32)


def rigid_displacement(
    present: Float[np.ndarray, "3 i j k"], inside: Bool[np.ndarray, "i j k"], grid: Grid, affine: AffineTransform
) -> Float[np.ndarray, "3 i j k"]:
    """Return the displacement (voxels, in the whole box) of the rigid motion nearest to what the region does now.

    The whole of fixed to moving is rigid with it, the affine included: bone keeps its size.
    """
    voxels = np.argwhere(inside)
    if len(voxels) < 4:
        raise InputError(f"A rigid motion needs a region of at least four voxels that lie on no line; got {len(voxels)}.")
    chosen = voxels[:: max(1, len(voxels) // FIT_POINTS)]
    fixed = grid.voxel_to_world(chosen.astype(np.float64))
    moving = affine.map(grid.voxel_to_world(chosen + present[:, *chosen.T].T))
    motion = fit_pairs(LandmarkPairs(tuple(map(str, range(len(fixed)))), fixed, moving), "rigid")
    places = np.moveaxis(np.indices(inside.shape, dtype=np.float64), 0, -1).reshape(-1, 3)
    back = affine.inverse().map(motion.map(grid.voxel_to_world(places)))
    return np.ascontiguousarray((grid.world_to_voxel(back) - places).T.reshape(3, *inside.shape), dtype=np.float32)
