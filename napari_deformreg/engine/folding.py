"""Folds: the barrier that holds them off while optimizing, the repair of what is left, and the inverse of the repaired field.

The repair has two parts. Projections make the smallest changes that raise the determinants, but can stall where several of them pull
against each other; there the displacement is evened out, over a region that grows until nothing folds, which always ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from ..space.jacobian import digital_fold_mask, digital_minimum
from .kernels import fold_cpu, inverse_cpu

REPAIR_PASSES = 60
"""Passes of the repair at most; planted folds of several voxels take under ten."""

STALLED_PASSES = 400
"""More passes at most over each place that still folds then; the composed flows of a brain slice took up to 180."""

SURE_DETERMINANT = 1e-3
"""Determinants up to this one count as folds that the projections left: rounding on export must not make a fold of a voxel."""

EVENED_PASSES = 20
"""Passes of the repair at most over a region that was evened out."""

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
    largest_change_vox, mean_change_vox : float
        Longest and mean change of a displacement vector, in voxels; the mean is over the changed ones.
    changed : int
        Voxels whose displacement was changed at all.
    evened : int
        Those of them whose displacement was blended toward its local mean, where the projections stalled.
    """

    folds_before: int
    folds_left: int
    passes: int
    largest_change_vox: float
    mean_change_vox: float = 0.0
    changed: int = 0
    evened: int = 0

    @property
    def text(self) -> str:
        """One sentence for people."""
        text = (
            f"{self.folds_before - self.folds_left} of {self.folds_before} folded voxels were repaired: {self.changed} voxels were changed "
            f"by {self.mean_change_vox:.2g} voxels in the mean and by {self.largest_change_vox:.2f} at most"
        )
        return f"{text}; {self.evened} of them were evened out with their surroundings." if self.evened else f"{text}."


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
    are looked at again, until none is below or the passes are used up. What the projections leave is evened out with its surroundings.
    """
    original = np.ascontiguousarray(field[0].cpu().numpy())
    smallest = digital_minimum(np.moveaxis(original, 0, -1))
    before, mask = int((smallest <= 0).sum()), smallest <= margin / 2
    del smallest
    if not mask.any():
        return field, Repair(before, before, 0, 0.0)
    array = original.copy()
    passes = _project(array, mask, margin, margin / 2, REPAIR_PASSES)
    projected = array
    if passes == REPAIR_PASSES or margin / 2 < SURE_DETERMINANT:  # else nothing is as low as that any more
        mask = _fold_voxels(array, SURE_DETERMINANT)
        regions, count = ndimage.label(ndimage.binary_dilation(mask, iterations=3), structure=np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            _project(array, mask & (regions == number), margin, SURE_DETERMINANT, STALLED_PASSES)
        projected = array.copy()
        even_out(array, _fold_voxels(array, SURE_DETERMINANT), margin)
    return torch.from_numpy(array)[None].to(field.device), _summed_up(original, projected, array, before, passes)


def repair_at(field: Float[np.ndarray, "3 i j k"], region: Bool[np.ndarray, "i j k"], margin: float) -> tuple[np.ndarray, Repair]:
    """Remove the folds of one place, as `repair` does of all: only this region's voxels and those that feel it are changed."""
    original = np.ascontiguousarray(field)
    array, projected, passes = _repaired_at(original, region, margin)
    return array, _summed_up(original, projected, array, int(_fold_voxels(original, 0.0).sum()), passes)


def only_repaired_at(field: Float[np.ndarray, "3 i j k"], region: Bool[np.ndarray, "i j k"], margin: float) -> np.ndarray:
    """Remove the folds of one place, as `repair_at` does, without summing up what it changed: that takes as long as a small repair."""
    return _repaired_at(np.ascontiguousarray(field), region, margin)[0]


def _repaired_at(field: np.ndarray, region: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the repaired field, what the projections alone had made of it, and how many passes they took."""
    array, near = field.copy(), ndimage.binary_dilation(region, iterations=2)
    passes = _project(array, _low_where(array, near, margin / 2), margin, margin / 2, REPAIR_PASSES)
    _project(array, _low_where(array, near, SURE_DETERMINANT), margin, SURE_DETERMINANT, STALLED_PASSES)
    projected = array.copy()
    even_out(array, _low_where(array, near, SURE_DETERMINANT), margin)
    return array, projected, passes


def _low_where(field: np.ndarray, where: np.ndarray, margin: float) -> np.ndarray:
    """Mark those of some voxels whose smallest determinant is not greater than the margin; only their surroundings are looked at."""
    low = np.zeros(where.shape, np.bool_)
    for place in ndimage.find_objects(where.astype(np.uint8)):
        # One voxel more on each side: the test looks at neighbors.
        around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in place)
        low[around] = _fold_voxels(np.ascontiguousarray(field[(slice(None), *around)]), margin) & where[around]
    return low


def _summed_up(original: np.ndarray, projected: np.ndarray, array: np.ndarray, before: int, passes: int) -> Repair:
    left = int(_fold_voxels(array, 0.0).sum())
    moved = (array != original).any(axis=0)
    change = np.sqrt(np.square(array[:, moved] - original[:, moved]).sum(axis=0)) if moved.any() else np.zeros(1)
    return Repair(
        before, left, passes, float(change.max()), float(change.mean()), int(moved.sum()),
        0 if projected is array else int((array != projected).any(axis=0).sum()),
    )


def _project(field: np.ndarray, mask: np.ndarray, margin: float, enough: float, most: int) -> int:
    """Raise the determinants at marked voxels, and those that fall because of that, to the margin; returns how many passes it took.

    Only the marked voxels' surroundings are looked at: a push at a voxel is felt two voxels away.
    """
    marked = np.argwhere(mask)
    for passes in range(most):
        if not len(marked):
            return passes
        fold_cpu.push_folds(field, _grown(marked, mask.shape, NEIGHBORS), margin, relax=1.0)
        felt = _grown(marked, mask.shape, FELT)
        marked = felt[fold_cpu.smallest_determinants(field, felt) <= enough]
    return most


NEIGHBORS = np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])
FELT = np.argwhere(np.ones((7, 7, 7))) - 3
"""Steps from a voxel to its nearest ones, and to all that a push of these is felt at."""


def _grown(voxels: np.ndarray, shape: tuple[int, ...], steps: np.ndarray) -> np.ndarray:
    """Return the voxels that are some step away from any of the given ones, in their order on the lattice."""
    last = np.array(shape) - 1
    steps = steps[(steps[:, last == 0] == 0).all(axis=1)]  # across a slice there is nowhere to go
    start = np.maximum(voxels.min(axis=0) + steps.min(axis=0), 0)
    size = np.minimum(voxels.max(axis=0) + steps.max(axis=0), last) + 1 - start
    if len(voxels) * len(steps) * SORTED_FRACTION < np.prod(size):  # to sort a few is faster than to look through all between them
        at = (voxels[:, None] + steps).reshape(-1, 3)
        i, j, k = at[((at >= 0) & (at <= last)).all(axis=1)].T
        return np.stack(np.unravel_index(np.unique(np.ravel_multi_index((i, j, k), shape)), shape), axis=-1)
    mask = np.zeros(size, np.bool_)
    fold_cpu.mark_steps(mask, voxels - start, steps)
    return np.asarray(np.argwhere(mask) + start)


SORTED_FRACTION = 50
"""Voxels of the box around them for each voxel that is sorted, from which sorting is faster."""


def even_out(field: Float[np.ndarray, "3 i j k"], mask: Bool[np.ndarray, "i j k"], margin: float) -> None:
    """Blend the displacement around marked voxels toward its local mean until no determinant there is low, in place.

    Each connected region of them is taken by itself, with a radius that doubles from one voxel on: the mean is a Gaussian's with that
    standard deviation, the blend falls off smoothly over twice that radius, and projections have another try. Far enough out the mean
    is one displacement for all, which folds nowhere, so this ends.

    Parameters
    ----------
    field : (3, i, j, k) array
        Displacement in voxels; changed in place.
    mask : (i, j, k) bool array
        Where determinants are at or below `SURE_DETERMINANT`.
    margin : float
        What the projections raise determinants to.
    """
    regions, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    for number, place in enumerate(ndimage.find_objects(regions), start=1):
        radius = 1
        while not _evened(field, regions, number, place, radius, margin):
            radius *= 2


def _evened(field: np.ndarray, regions: np.ndarray, number: int, place: tuple[slice, ...], radius: int, margin: float) -> bool:
    """Try one radius around one region; the field is changed only where that leaves no determinant low."""
    if radius > max(regions.shape):
        field[:] = field.mean(axis=(1, 2, 3), keepdims=True)
        return True
    window = tuple(slice(max(s.start - 6 * radius - 6, 0), s.stop + 6 * radius + 6) for s in place)  # all that the mean looks at
    own, inside = field[(slice(None), *window)], regions[window] == number
    low_before = _fold_voxels(own, SURE_DETERMINANT)
    if not (low_before & inside).any():  # an earlier region's change reached this one
        return True
    distance = ndimage.distance_transform_edt(~inside) - 1.0  # the neighbors of a fold take part in it
    ramp = np.clip(1.0 - distance / (2.0 * radius), 0.0, 1.0)
    weight = (ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    tried = own + weight * (ndimage.gaussian_filter(own, (0.0, radius, radius, radius), mode="nearest", truncate=4.0) - own)
    near = ndimage.binary_dilation(weight > 0, iterations=2)
    for _ in range(EVENED_PASSES):
        low = _fold_voxels(tried, SURE_DETERMINANT)
        if not (low & (near | ~low_before)).any():
            field[(slice(None), *window)] = tried
            return True
        fold_cpu.push_folds(tried, np.argwhere(ndimage.binary_dilation(low) & near), max(margin, 2 * SURE_DETERMINANT))
    return False


def invert_field(
    field: Float[Tensor, "1 3 i j k"], start: Float[Tensor, "1 3 i j k"], enough_vox: float = 0.0
) -> tuple[Tensor, float]:
    """Return the inverse displacement w with w(x) + u(x + w(x)) = 0, and the mean residual in voxels.

    Parameters
    ----------
    field : (1, 3, i, j, k) tensor
        u in voxels.
    start : (1, 3, i, j, k) tensor
        First guess: the integrated negative velocity.
    enough_vox : float
        Mean residual at which no further pass is made.
    """
    u, inverse = (np.ascontiguousarray(given[0].cpu().numpy()) for given in (field, start))
    del start  # full-resolution fields are what fills the memory
    best, best_miss = inverse, float("inf")
    for left in reversed(range(INVERSE_PASSES)):
        # After the last pass there is no further step to take.
        step, miss = inverse_cpu.inverse_step(u, inverse) if left else (inverse, inverse_cpu.mean_residual(u, inverse))
        if miss < best_miss:
            best, best_miss = inverse, miss
        if best is not inverse or miss <= enough_vox:
            break
        inverse = step
    return torch.from_numpy(best)[None].to(field.device), best_miss
