"""Whether the two images look alike where a landmark pair says they do: what a mis-click does not know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...space import Box
from ..features import mind_ssc
from ..pyramid import at_grid, level_grid
from .fields import PresentFields, reach_voxels
from .images import CachedImages
from .suggest import COARSE_UNITS, CONTEXT, HOME_COST, PATCH_UNITS, SEARCH_UNITS, best_place, costs_around, distances

FARTHEST_UNITS = 60.0
"""A partner farther than this from the mapped place is not looked at: it is taken to look like any other place."""

CLICKED_VOX = 1
"""A click means the best place within so many voxels of the search's lattice."""


@dataclass(frozen=True)
class Look:
    """What the images say about a pair.

    Attributes
    ----------
    worse : float
        0 where the partner's patch is as much like the fixed one as the best place's, 1 where it is like that of a place that means nothing
        (the median).
    confidence : float
        How sure the best place is, 0 to 1, as for suggestions: where nothing stands out, a worse look says little.
    """

    worse: float
    confidence: float


def look_at(
    images: CachedImages, fields: PresentFields, point: Float[np.ndarray, "3"], partner: Float[np.ndarray, "3"]
) -> Look | None:
    """Compare the moving image at a pair's partner with the best place around where the registration has it.

    Patches of MIND-SSC descriptors, as for suggestions. None where the fixed point lies outside its image, or the partner at the rim of it.

    References
    ----------
    Heinrich et al. 2013, doi 10.1007/978-3-642-40811-3_24 (the descriptor).
    """
    grid = fields.grid
    if not grid.contains(point[None])[0]:
        return None
    unit = min(1.0, float(grid.spacing[np.array(grid.shape) > 1].min()))
    way = fields.solve(images.affine.inverse().map(partner[None]))[0] - point
    length = float(np.linalg.norm(way))
    if not length < FARTHEST_UNITS * unit:
        return Look(1.0, 0.0)
    coarse, patch_mm = max(COARSE_UNITS * unit, unit), PATCH_UNITS * unit
    reach = max(SEARCH_UNITS * unit, length + 2 * coarse)
    many = np.array(grid.shape) > 1
    context = np.where(many, CONTEXT * max(coarse / float(grid.spacing.min()), 1.0), 0.0)
    beyond = reach_voxels(grid, patch_mm, 0) + context + reach_voxels(grid, reach, 0)
    box = Box.around(np.clip(grid.world_to_voxel(point[None]), 0, np.array(grid.shape) - 1), beyond, grid.shape)
    assert box is not None  # the point lies in the grid
    lattice = level_grid(box.grid(grid), coarse)
    fixed, carried = at_grid(images.fixed_in(box), lattice), at_grid(images.carried_in(box, fields.forward_in(box)), lattice)
    at = np.clip(np.rint(lattice.world_to_voxel(point[None]))[0], 0, np.array(lattice.shape) - 1).astype(int)
    patch, searched = (reach_voxels(lattice, part, 0).astype(int) for part in (patch_mm, reach))
    cost, origin = costs_around(mind_ssc(fixed.data), mind_ssc(carried.data), (at, at), patch, searched, lattice.spacing / patch_mm)
    clicked = np.rint(np.linalg.solve(lattice.affine[:3, :3], way) - origin).astype(int)
    nearest = np.clip(clicked, 0, np.array(cost.shape) - 1)
    if np.abs(clicked - nearest).max() > CLICKED_VOX:
        return None  # So near the image's rim the fixed patch has no counterpart.
    here = float(cost[tuple(slice(max(n - CLICKED_VOX, 0), n + CLICKED_VOX + 1) for n in nearest)].min())
    near = cost[distances(cost.shape, -origin, lattice.spacing) <= SEARCH_UNITS * unit]
    best, usual = float(near.min()), float(np.median(near))
    _, confidence = best_place(cost, origin, np.zeros(3), lattice.spacing, SEARCH_UNITS * unit, HOME_COST)
    return Look(float(np.clip((here - best) / max(usual - best, 1e-9), 0.0, 1.0)), confidence)
