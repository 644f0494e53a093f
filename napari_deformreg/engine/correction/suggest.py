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
from .fields import PresentFields, reach_voxels
from .images import CachedImages

SEARCH_MM = 25.0
"""How far from the mapped place is looked."""

PATCH_MM = 8.0
"""Reach of what is compared around a place; its Gaussian weight has half of that as standard deviation."""

HOME_COST = 0.3
"""What a partner at the end of the search must gain, in units of the spread of costs: the present map is some evidence, too."""

CONTEXT = 4
"""Voxels beyond the patches that the descriptors look at."""

RIVAL_VOX = 2.5
"""A second-best place nearer than this to the best one is the same place."""


def suggested_partner(images: CachedImages, fields: PresentFields, point: Float[np.ndarray, "3"], reach_mm: float) -> Suggestion:
    """Search around where the present map carries a fixed point (RAS+ mm).

    Patches of MIND-SSC descriptors of the fixed image and of the moving one as it is carried to it are compared by their squared
    difference; the confidence is by how much the best place beats the second best, in units of how much it beats a place that means
    nothing.

    References
    ----------
    Heinrich et al. 2013, doi 10.1007/978-3-642-40811-3_24 (the descriptor); Lowe 2004, doi 10.1023/B:VISI.0000029664.99615.94, section 7.1
    (best against second best).
    """
    grid = fields.grid
    center = np.rint(grid.world_to_voxel(point[None]))
    if ((center < 0) | (center >= grid.shape)).any():
        raise InputError(f"The landmark {np.round(point, 1).tolist()} mm lies outside the fixed image; expected one in it.")
    reach, patch = (reach_voxels(grid, length, 0).astype(int) for length in (reach_mm, PATCH_MM))
    box = Box.around(center, (reach + patch + CONTEXT * (patch > 0)).astype(float), grid.shape)
    assert box is not None  # the center lies in the grid
    fixed, carried = images.fixed_in(box), images.carried_in(box, fields.forward_in(box))
    at = (center[0] - np.array(box.start)).astype(int)
    cost, home = _costs(mind_ssc(fixed.data), mind_ssc(carried.data), at, patch, reach, grid.spacing)
    offset, confidence = _best(cost, home, grid.spacing, reach_mm)
    place = point + grid.affine[:3, :3] @ offset
    found = images.affine.map(fields.map(place[None]))[0]
    here = images.affine.map(fields.map(point[None]))[0]
    return Suggestion(found, confidence, float(np.linalg.norm(found - here)))


def _costs(
    fixed: Float[Tensor, "1 c i j k"], carried: Float[Tensor, "1 c i j k"], at: np.ndarray, patch: np.ndarray, reach: np.ndarray,
    spacing: np.ndarray,
) -> tuple[Float[np.ndarray, "a b d"], np.ndarray]:
    """Return the cost of every offset and the index of offset zero; near the image's rim there are fewer offsets."""
    shape = np.array(fixed.shape[2:])
    low = np.minimum(patch, np.minimum(at, shape - 1 - at))  # a patch is cut at the image's rim, evenly
    window = tuple(slice(a - p, a + p + 1) for a, p in zip(at, low, strict=True))
    first = np.maximum(at - reach - low, 0)
    stop = np.minimum(at + reach + low + 1, shape)
    searched = tuple(slice(a, b) for a, b in zip(first, stop, strict=True))
    f = fixed[(slice(None), slice(None), *window)]
    c = carried[(slice(None), slice(None), *searched)]
    weight = torch.from_numpy(_patch_weight(low, spacing))[None, None]
    constant = float((weight * f.square()).sum())
    cross = torch.nn.functional.conv3d(c, (weight * f))[0, 0]
    square = torch.nn.functional.conv3d(c.square().sum(dim=1, keepdim=True), weight)[0, 0]
    cost = (constant - 2 * cross + square).clamp_min(0).numpy()
    return cost, at - low - first


def _patch_weight(reach: np.ndarray, spacing: np.ndarray) -> Float[np.ndarray, "a b d"]:
    axes = [np.exp(-0.5 * np.square(np.arange(-r, r + 1) * s / (PATCH_MM / 2))) for r, s in zip(reach, spacing, strict=True)]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.asarray(weight / weight.sum(), dtype=np.float32)


def _best(
    cost: Float[np.ndarray, "a b d"], home: np.ndarray, spacing: np.ndarray, reach_mm: float
) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the offset of the best place, in voxels and parts of them, and how sure it is."""
    distance = _distance(cost.shape, home, spacing)
    middle = float(np.median(cost))
    spread = middle - float(cost.min())
    judged = cost + HOME_COST * spread * np.square(distance / reach_mm) + np.where(distance > reach_mm, 10 * spread, 0.0)
    best = np.array(np.unravel_index(int(judged.argmin()), cost.shape))
    rivals = judged[(_distance(cost.shape, best, np.ones(3)) > RIVAL_VOX) & (distance <= reach_mm)]
    lowest = float(judged[tuple(best)])
    gap = (float(rivals.min()) - lowest) / max(middle - lowest, 1e-9) if rivals.size else 0.0
    return best - home + _below_voxels(judged, best), float(np.clip(gap, 0.0, 1.0))


def _distance(shape: tuple[int, ...], center: np.ndarray, spacing: np.ndarray) -> Float[np.ndarray, "a b d"]:
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
