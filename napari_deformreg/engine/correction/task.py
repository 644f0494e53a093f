"""One correction that is being made, and how well it meets the landmark pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...errors import InputError
from ...result import CorrectionKind, FieldPatch, PairFit, PairRole
from ...space import AffineTransform, Grid, LandmarkPairs
from .fields import fold_mask
from .solve import Place

CONTEXT_VOX = 3
"""Voxels of the images around what may move, so that windows of local correlation at its rim see both sides."""


@dataclass(frozen=True, eq=False)
class Task:
    """One correction that is being made: where, through which landmarks, from what.

    Attributes
    ----------
    kind : str
        What it will be.
    place : Place
        What is solved again.
    present : (3, i, j, k) array
        The displacement in the box, voxels.
    pairs : LandmarkPairs
        All that were given.
    weights : (n,) float array
        Of these; 0 for those that are left out.
    centers : (n, 3) float array
        What was touched, RAS+ mm; empty for a region.
    radius_mm : float
        Beyond which nothing moves.
    notices : list of str
        What has come up so far.
    """

    kind: CorrectionKind
    place: Place
    present: Float[np.ndarray, "3 i j k"]
    pairs: LandmarkPairs
    weights: Float[np.ndarray, "n"]
    centers: Float[np.ndarray, "m 3"]
    radius_mm: float
    notices: list[str]
    started: float


def pair_fits(
    task: Task, before_mm: Float[np.ndarray, "n"], after: Float[np.ndarray, "3 i j k"], affine: AffineTransform
) -> tuple[PairFit, ...]:
    """Say how far every pair was off, how far it is, and what it makes of the whole.

    Parameters
    ----------
    before_mm : (n,) array
        How far each was off.
    after : (3, i, j, k) array
        The displacement in the box afterwards, voxels.
    affine : AffineTransform
        What follows it.
    """
    pairs, place, now = task.pairs, task.place, before_mm.copy()
    took_part = {tuple(point) for point in place.pulls.points}
    drove = np.array([tuple(point) in took_part for point in pairs.fixed_points], dtype=bool)
    near = np.flatnonzero(place.holds(pairs.fixed_points))
    if len(near):
        landed = place.grid.voxel_to_world(place.landed(after, pairs.fixed_points[near]))
        now[near] = np.linalg.norm(affine.map(landed) - pairs.moving_points[near], axis=1)
    shares = np.where(drove, task.weights * now**2, 0.0)
    shares = shares / max(float(shares.sum()), 1e-12)
    roles: list[PairRole] = ["excluded" if w == 0 else "drove" if d else "outside" for w, d in zip(task.weights, drove, strict=True)]
    return tuple(PairFit(name, float(before_mm[n]), float(now[n]), float(shares[n]), roles[n]) for n, name in enumerate(pairs.names))


def no_pairs() -> LandmarkPairs:
    """Return no landmark pairs."""
    return LandmarkPairs((), np.zeros((0, 3)), np.zeros((0, 3)))


def finest_spacing(grid: Grid) -> float:
    """Return the smallest voxel size in mm, a slice's thickness left out."""
    return float(grid.spacing[np.array(grid.shape) > 1].min())


def touched_centers(pairs: LandmarkPairs, touched: Sequence[str], around_mm: Float[np.ndarray, "n 3"] | None) -> Float[np.ndarray, "n 3"]:
    """Return the places that were touched, RAS+ mm in the fixed image.

    Raises
    ------
    InputError
        If a name is unknown or nothing was touched.
    """
    unknown = [name for name in touched if name not in pairs.names]
    if unknown:
        raise InputError(f"There is no landmark pair {', '.join(unknown[:5])}; known: {', '.join(pairs.names[:10]) or 'none'}.")
    points = [pairs.fixed_points[pairs.names.index(name)] for name in touched]
    more = [] if around_mm is None else list(np.asarray(around_mm, dtype=np.float64).reshape(-1, 3))
    if not points and not more:
        raise InputError("Nothing was touched; expected at least one landmark pair or place to solve around.")
    return np.array([*points, *more], dtype=np.float64)


def longest_change(patch: FieldPatch, where: np.ndarray | None) -> float:
    """Return the longest change in mm, everywhere or where a mask says."""
    change = patch.after_mm - patch.before_mm
    square = np.einsum("ijkc,ijkc->ijk", change, change)
    chosen = square if where is None else square[where]
    return float(np.sqrt(chosen.max())) if chosen.size else 0.0


def folds_where(displacement_vox: Float[np.ndarray, "3 i j k"], where: np.ndarray) -> int:
    """Count the voxels of a mask that fail the digital test."""
    return int(np.count_nonzero(fold_mask(displacement_vox) & where))
