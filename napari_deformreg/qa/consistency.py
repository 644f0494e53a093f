"""Whether the two directions of a transform belong together, and whether the result still lies in the moving image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ..result import RegistrationResult
from ..space import Grid

POINTS_AT_MOST = 50_000
"""Enough to place the 95th percentile within a fraction of a percent; all 5 million of a brain would take seconds."""


@dataclass(frozen=True, eq=False)
class Consistency:
    """Errors at the points that were tried.

    Attributes
    ----------
    error_mm : (n,) float array
        |moving_to_fixed(fixed_to_moving(x)) - x| of the points that stay on the fixed grid; may be empty.
    points : int
        How many points were tried.
    sampled : bool
        Whether they are a random choice and not every voxel of the domain.
    outside_moving_percent, outside_moving_before_percent : float
        Share of the points that leave the moving image's field of view, by the registration and by the headers alone.
    """

    error_mm: Float[np.ndarray, "n"]
    points: int
    sampled: bool
    outside_moving_percent: float
    outside_moving_before_percent: float


def inverse_consistency(
    result: RegistrationResult, mask: Bool[np.ndarray, "i j k"], moving_grid: Grid, limit: int = POINTS_AT_MOST
) -> Consistency:
    """Go to moving space and back with the exported fields, from voxel centers of a mask on the fixed grid."""
    grid = result.displacement.grid
    where = np.flatnonzero(mask)
    sampled = len(where) > limit
    if sampled:  # always the same choice, so that a report can be repeated
        where = np.sort(np.random.default_rng(0).choice(where, limit, replace=False))
    points = grid.voxel_to_world(np.stack(np.unravel_index(where, grid.shape), -1).astype(np.float64))
    deformed = result.displacement.map(points)
    in_moving = result.affine.map(deformed)
    stays = result.inverse_displacement.grid.contains(deformed)
    back = result.moving_to_fixed.map(in_moving[stays])
    return Consistency(
        error_mm=np.linalg.norm(back - points[stays], axis=1),
        points=len(points),
        sampled=sampled,
        outside_moving_percent=100 * float((~moving_grid.contains(in_moving)).mean()),
        outside_moving_before_percent=100 * float((~moving_grid.contains(points)).mean()),
    )
