"""The partner of a landmark: where around the mapped place the moving image looks like the fixed one around the landmark."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ...result import Suggestion
from ...space import Box
from ..features import mind_ssc
from ..pyramid import at_grid, level_grid
from .fields import PresentFields, reach_voxels
from .images import CachedImages

SEARCH_UNITS = 25.0
"""How far from the mapped place is looked, in mm; in images finer than 1 mm in voxels."""

PATCH_UNITS = 8.0
"""Reach of what is compared around a place, likewise; its Gaussian weight has half of that as standard deviation."""

COARSE_UNITS = 2.0
"""Spacing at which the whole search is done, likewise; what surrounds its best place is searched again at the image's own."""

FINE_REACH = 1.5
"""How far that second search goes, in coarse spacings."""

HOME_COST = 0.3
"""What a partner at the end of the search must gain, in units of the spread of costs: the present map is some evidence, too."""

CONTEXT = 4
"""Voxels beyond the patches that the descriptors look at."""

RIVAL_VOX = 2.5
"""A second-best place nearer than this to the best one is the same place."""


def suggested_partner(
    images: CachedImages, fields: PresentFields, point: Float[np.ndarray, "3"], reach_mm: float | None = None
) -> Suggestion:
    """Search around where the present map carries a fixed point (RAS+ mm).

    Patches of MIND-SSC descriptors of the fixed image and of the moving one as it is carried to it are compared by their squared
    difference; the confidence is by how much the best place beats the second best, in units of how much it beats a place that means
    nothing.

    Parameters
    ----------
    reach_mm : float, optional
        How far is looked; `SEARCH_UNITS` when left out.

    References
    ----------
    Heinrich et al. 2013, doi 10.1007/978-3-642-40811-3_24 (the descriptor); Lowe 2004, doi 10.1023/B:VISI.0000029664.99615.94, section 7.1
    (best against second best).
    """
    grid = fields.grid
    if not grid.contains(point[None])[0]:
        raise InputError(f"The landmark {np.round(point, 1).tolist()} mm lies outside the fixed image; expected one in it.")
    unit = min(1.0, float(grid.spacing[np.array(grid.shape) > 1].min()))
    reach = SEARCH_UNITS * unit if reach_mm is None else reach_mm
    coarse = max(COARSE_UNITS * unit, unit)
    way, confidence = _searched(images, fields, point, np.zeros(3), reach, unit, coarse)
    if coarse > 1.05 * float(grid.spacing.min()):
        fine = max(FINE_REACH * coarse, 1.01 * float(grid.spacing[np.array(grid.shape) > 1].max()))
        way, _ = _searched(images, fields, point, way, fine, unit, 0.0)
    found = images.affine.map(fields.map((point + way)[None]))[0]
    here = images.affine.map(fields.map(point[None]))[0]
    return Suggestion(found, confidence, float(np.linalg.norm(found - here)))


def _searched(
    images: CachedImages, fields: PresentFields, point: Float[np.ndarray, "3"], way: Float[np.ndarray, "3"], reach_mm: float,
    unit: float, spacing_mm: float,
) -> tuple[Float[np.ndarray, "3"], float]:
    """Search around a place that lies some way (world mm) from the point, on a lattice of this spacing; the way to the best place there."""
    whole, patch_mm = fields.grid, PATCH_UNITS * unit
    context = np.where(np.array(whole.shape) > 1, CONTEXT * max(spacing_mm / float(whole.spacing.min()), 1.0), 0.0)
    beyond = reach_voxels(whole, patch_mm, 0) + context
    home = whole.world_to_voxel(np.stack([point, point + way]))
    searched = Box.around(np.clip(home, 0, np.array(whole.shape) - 1), beyond + reach_voxels(whole, reach_mm, 0), whole.shape)
    assert searched is not None  # clipped places lie in the grid
    grid = level_grid(searched.grid(whole), spacing_mm) if spacing_mm > 0 else searched.grid(whole)
    fixed = at_grid(images.fixed_in(searched), grid)
    carried = at_grid(images.carried_in(searched, fields.forward_in(searched)), grid)
    at, around = np.clip(np.rint(grid.world_to_voxel(np.stack([point, point + way]))), 0, np.array(grid.shape) - 1).astype(int)
    patch, reach = (reach_voxels(grid, length, 0).astype(int) for length in (patch_mm, reach_mm))
    cost, origin = costs_around(mind_ssc(fixed.data), mind_ssc(carried.data), (at, around), patch, reach, grid.spacing / patch_mm)
    offset, confidence = best_place(cost, origin, around - at, grid.spacing, reach_mm, HOME_COST if spacing_mm > 0 else 0.0)
    return grid.affine[:3, :3] @ offset, confidence


def costs_around(
    fixed: Float[Tensor, "1 c i j k"], carried: Float[Tensor, "1 c i j k"], places: tuple[np.ndarray, np.ndarray], patch: np.ndarray,
    reach: np.ndarray, spacing: np.ndarray,
) -> tuple[Float[np.ndarray, "a b d"], np.ndarray]:
    """Return the cost of every offset and the first offset; near the image's rim there are fewer.

    Parameters
    ----------
    places : two (3,) integer arrays
        The fixed patch's center, and the middle of the search.
    spacing : (3,) array
        Voxel sizes in units of the patch's reach.
    """
    at, around = places
    shape = np.array(fixed.shape[2:])
    low = np.minimum(patch, np.minimum(at, shape - 1 - at))  # a patch is cut at the image's rim, evenly
    window = tuple(slice(a - p, a + p + 1) for a, p in zip(at, low, strict=True))
    first = np.clip(around - reach - low, 0, shape - 2 * low - 1)
    stop = np.minimum(around + reach + low + 1, shape)
    searched = tuple(slice(a, max(b, a + 2 * p + 1)) for a, b, p in zip(first, stop, low, strict=True))
    f = fixed[(slice(None), slice(None), *window)]
    c = carried[(slice(None), slice(None), *searched)]
    weight = torch.from_numpy(_patch_weight(low, spacing))[None, None]
    constant = float((weight * f.square()).sum())
    cross = torch.nn.functional.conv3d(c, weight * f)[0, 0]
    square = torch.nn.functional.conv3d(c.square().sum(dim=1, keepdim=True), weight)[0, 0]
    return (constant - 2 * cross + square).clamp_min(0).numpy(), first + low - at


def _patch_weight(reach: np.ndarray, spacing: np.ndarray) -> Float[np.ndarray, "a b d"]:
    i, j, k = (np.exp(-2.0 * np.square(np.arange(-r, r + 1) * s)) for r, s in zip(reach, spacing, strict=True))
    weight = i[:, None, None] * j[None, :, None] * k[None, None, :]
    return np.asarray(weight / weight.sum(), dtype=np.float32)


def best_place(
    cost: Float[np.ndarray, "a b d"], origin: np.ndarray, middle_offset: np.ndarray, spacing: np.ndarray, reach_mm: float, home_cost: float
) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the offset of the best place, in voxels and parts of them, and how sure it is."""
    distance = distances(cost.shape, middle_offset - origin, spacing)
    middle = float(np.median(cost))
    spread = middle - float(cost.min())
    judged = cost + home_cost * spread * np.square(distance / reach_mm)
    best = np.array(np.unravel_index(int(np.where(distance <= reach_mm, judged, np.inf).argmin()), cost.shape))
    rivals = judged[(distances(cost.shape, best, np.ones(3)) > RIVAL_VOX) & (distance <= reach_mm)]
    lowest = float(judged[tuple(best)])
    gap = (float(rivals.min()) - lowest) / max(middle - lowest, 1e-9) if rivals.size else 0.0
    return best + origin + _below_voxels(judged, best), float(np.clip(gap, 0.0, 1.0))


def distances(shape: tuple[int, ...], center: np.ndarray, spacing: np.ndarray) -> Float[np.ndarray, "a b d"]:
    """Return every place's distance to a center."""
    i, j, k = (np.square((np.arange(n) - c) * s) for n, c, s in zip(shape, center, spacing, strict=True))
    return np.asarray(np.sqrt(i[:, None, None] + j[None, :, None] + k[None, None, :]))


def _below_voxels(cost: Float[np.ndarray, "a b d"], best: np.ndarray) -> Float[np.ndarray, "3"]:
    """Return the vertex of the parabola through three costs along each axis, at most half a voxel off."""
    out = np.zeros(3)
    for axis in range(3):
        if 0 < best[axis] < cost.shape[axis] - 1:
            before, after = (cost[tuple(best + step * np.eye(3, dtype=int)[axis])] for step in (-1, 1))
            bend = before - 2 * cost[tuple(best)] + after
            out[axis] = np.clip(0.5 * (before - after) / bend, -0.5, 0.5) if bend > 0 else 0.0
    return out
