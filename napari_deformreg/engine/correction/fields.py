"""The present displacement and its inverse, read and changed in boxes; and how one small flow changes both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ...result import FieldPatch
from ...space import Box, DisplacementField, Grid, invert_points
from ...space.box import voxels_per_mm
from ...space.jacobian import digital_fold_mask, displacement_mm_to_vox, displacement_vox_to_mm
from ..kernels import cpu, inverse_cpu

DAMPED_STEP = 0.4
"""Part of what is missing that the inverse takes up where a whole step led away."""

INVERSE_PASSES = 3
"""Newton-like passes over the changed part of the inverse; it starts within a tenth of a voxel of the solution."""


@dataclass(frozen=True, eq=False)
class PresentFields:
    """World vectors on the fixed grid; the arrays change as corrections are applied and taken back.

    Attributes
    ----------
    grid : Grid
        The fixed grid.
    displacement_mm, inverse_mm : (i, j, k, 3) float32 array
        Own copies.
    """

    grid: Grid
    displacement_mm: Float[np.ndarray, "i j k 3"]
    inverse_mm: Float[np.ndarray, "i j k 3"]

    def forward_in(self, box: Box) -> Float[np.ndarray, "3 i j k"]:
        """Return the displacement in a box, in voxels."""
        return _voxels(self.displacement_mm[box.slices], self.grid)

    def backward_in(self, box: Box) -> Float[np.ndarray, "3 i j k"]:
        """Return the inverse in a box, in voxels."""
        return _voxels(self.inverse_mm[box.slices], self.grid)

    def forward_patch(self, box: Box, after_vox: Float[np.ndarray, "3 i j k"], changed: Bool[np.ndarray, "i j k"]) -> FieldPatch:
        """Note a change of the displacement; where nothing changed, not a bit does."""
        return _patch(self.displacement_mm, box, after_vox, changed, self.grid)

    def backward_patch(self, box: Box, after_vox: Float[np.ndarray, "3 i j k"], changed: Bool[np.ndarray, "i j k"]) -> FieldPatch:
        """Note a change of the inverse."""
        return _patch(self.inverse_mm, box, after_vox, changed, self.grid)

    def nothing_backward(self, box: Box) -> FieldPatch:
        """Note that nothing of the inverse changes, in one voxel of a box."""
        one = Box(box.start, (box.start[0] + 1, box.start[1] + 1, box.start[2] + 1))
        here = self.inverse_mm[one.slices].copy()
        return FieldPatch(one, here, here)

    def write(self, forward: FieldPatch, backward: FieldPatch, back: bool = False) -> None:
        """Put in what two patches found after a change, or before it."""
        for array, patch in ((self.displacement_mm, forward), (self.inverse_mm, backward)):
            array[patch.box.slices] = patch.before_mm if back else patch.after_mm

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry world points through the displacement."""
        return np.array([self._near(point[None], 0).map(point[None])[0] for point in points]).reshape(-1, 3)

    def solve(self, targets: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the world points that the displacement carries to these ones, by Newton steps in a part of the field around each."""
        return np.array([self._solved(target[None]) for target in targets]).reshape(-1, 3)

    def _solved(self, target: Float[np.ndarray, "1 3"]) -> Float[np.ndarray, "3"]:
        near = Box.around(self.grid.world_to_voxel(target), np.full(3, 1.0), self.grid.shape)
        start = target if near is None else DisplacementField(near.grid(self.grid), self.inverse_mm[near.slices]).map(target)
        found = invert_points(self._near(start, 8), target, start)
        if found.residual_mm[0] > 0.05 * self.grid.spacing.min() or found.outside_field[0]:
            found = invert_points(self._near(start, 64), target, start)
        point: Float[np.ndarray, "3"] = found.points[0]
        return point

    def _near(self, points: Float[np.ndarray, "n 3"], reach_vox: int) -> DisplacementField:
        """Return the part of the field around some points (its rim's displacement where they lie outside the grid)."""
        voxels = np.clip(self.grid.world_to_voxel(points), 0, np.array(self.grid.shape) - 1)
        box = Box.around(voxels, np.full(3, reach_vox + 1.0), self.grid.shape)
        assert box is not None  # clipped places lie in the grid
        return DisplacementField(box.grid(self.grid), self.displacement_mm[box.slices])


def _voxels(vectors_mm: Float[np.ndarray, "i j k 3"], grid: Grid) -> Float[np.ndarray, "3 i j k"]:
    return np.ascontiguousarray(np.moveaxis(displacement_mm_to_vox(vectors_mm, grid), -1, 0))


def _patch(
    present_mm: Float[np.ndarray, "i j k 3"], box: Box, after_vox: Float[np.ndarray, "3 i j k"], changed: Bool[np.ndarray, "i j k"],
    grid: Grid,
) -> FieldPatch:
    before = present_mm[box.slices].copy()
    after = displacement_vox_to_mm(np.ascontiguousarray(np.moveaxis(after_vox, 0, -1)), grid)
    return FieldPatch(box, before, np.where(changed[..., None], after, before))


def composed(present: Float[np.ndarray, "3 i j k"], flow: Float[np.ndarray, "3 i j k"]) -> Float[np.ndarray, "3 i j k"]:
    """Return the displacement of present o flow in one box: first the small flow, then what was there."""
    return cpu.compose(np.ascontiguousarray(present), np.ascontiguousarray(flow))


def fold_mask(displacement_vox: Float[np.ndarray, "3 i j k"], margin: float = 0.0) -> Bool[np.ndarray, "i j k"]:
    """Mark where a displacement fails the digital test."""
    return digital_fold_mask(np.moveaxis(displacement_vox, 0, -1), margin)


def inverse_after(
    fields: PresentFields, box: Box, after_vox: Float[np.ndarray, "3 i j k"], back_flow: Float[np.ndarray, "3 i j k"],
    changed: Bool[np.ndarray, "i j k"], passes: int = INVERSE_PASSES,
) -> FieldPatch:
    """Bring the inverse up to date after a change of the displacement in a box.

    (present o flow)^-1 = flow^-1 o present^-1; Newton-like passes then take in what the repair did and the rounding of both.

    Parameters
    ----------
    after_vox : (3, i, j, k) array
        The displacement in the box after the change.
    back_flow : (3, i, j, k) array
        Displacement of the inverse of the flow, in the box.
    changed : (i, j, k) bool array
        Where the displacement changed at all.
    passes : int
        Of the Newton-like steps.
    """
    target = _landing_box(fields, box, after_vox, changed)
    if target is None:
        return fields.nothing_backward(box)
    before = fields.backward_in(target)
    after = _at_box(back_flow, before, box, target)
    felt = ndimage.binary_dilation((after != before).any(axis=0), iterations=2)

    def residual(inverse: Float[np.ndarray, "3 a b c"]) -> Float[np.ndarray, "3 a b c"]:
        around = _read_box(fields, inverse, target).joined(box)
        forward = fields.forward_in(around)
        forward[(slice(None), *box.within(around))] = after_vox
        return _at_box(forward, inverse, around, target)

    return fields.backward_patch(target, _improved(after, residual, passes), felt)


def _improved(
    inverse: Float[np.ndarray, "3 a b c"], residual: Callable[[Float[np.ndarray, "3 a b c"]], Float[np.ndarray, "3 a b c"]], passes: int
) -> Float[np.ndarray, "3 a b c"]:
    """Take Newton-like steps, each only where it brings the inverse nearer.

    Where the map is nearly folded the inverse is so steep that a step leads away, and one after the other ever farther; a short step
    straight along what is missing is tried there next.
    """
    left = residual(inverse)
    off = np.einsum("dijk,dijk->ijk", left, left)
    refused = np.zeros(off.shape, bool)
    for _ in range(passes):
        trial = np.where(refused, inverse - DAMPED_STEP * left, inverse_cpu.inverse_update(inverse, left))
        found = residual(trial)
        square = np.einsum("dijk,dijk->ijk", found, found)
        better = square < off
        inverse, left, off = np.where(better, trial, inverse), np.where(better, found, left), np.where(better, square, off)
        refused = ~better
    return np.ascontiguousarray(inverse)


def _at_box(outer: Float[np.ndarray, "3 i j k"], inner: Float[np.ndarray, "3 a b c"], outer_box: Box, inner_box: Box) -> np.ndarray:
    """Return inner(x) + outer(x + inner(x)) on one box, the outer field lying in another box of the same grid."""
    offset = np.subtract(inner_box.start, outer_box.start).astype(np.float32)[:, None, None, None]
    return cpu.compose(np.ascontiguousarray(outer), np.ascontiguousarray(inner + offset)) - offset


def _landing_box(
    fields: PresentFields, box: Box, after_vox: Float[np.ndarray, "3 i j k"], changed: Bool[np.ndarray, "i j k"]
) -> Box | None:
    """Return the box that the changed voxels are carried into, before or after; None if that lies outside the grid."""
    places = np.argwhere(changed)
    if not len(places):
        return None
    here = places + np.array(box.start)
    landed = np.concatenate([here + field[:, changed].T for field in (fields.forward_in(box), after_vox)])
    return Box.around(landed, np.full(3, 2.0), fields.grid.shape)


def _read_box(fields: PresentFields, inverse_vox: Float[np.ndarray, "3 i j k"], target: Box) -> Box:
    """Return the box of the displacement that the inverse's voxels look at."""
    axes = np.moveaxis(np.indices(target.shape, dtype=np.float32), 0, -1).reshape(-1, 3) + np.array(target.start)
    places = axes + inverse_vox.reshape(3, -1).T
    inside = np.clip(places, 0, np.array(fields.grid.shape) - 1)
    found = Box.around(inside, np.full(3, 2.0), fields.grid.shape)
    assert found is not None  # clipped places lie in the grid
    return found


def reach_voxels(grid: Grid, radius_mm: float, more: int) -> Float[np.ndarray, "3"]:
    """Return how many voxels along each axis a radius takes, with some more; none along an axis of one voxel."""
    return np.where(np.array(grid.shape) > 1, np.ceil(radius_mm * voxels_per_mm(grid)) + more, 0.0)
