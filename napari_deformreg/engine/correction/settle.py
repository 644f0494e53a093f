"""From a flow to a correction: no new fold, nothing moved beyond the window, both fields and the moved image in their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage

from ...result import FieldPatch
from ...settings import Settings
from ...space import Box
from ...space.jacobian import central_determinant, digital_minimum
from ..folding import SURE_DETERMINANT, only_repaired_at
from ..optimize import weight_of
from ..similarities import SIMILARITIES
from ..tensors import Placed
from .fields import PresentFields, fold_mask, inverse_after
from .images import CachedImages
from .solve import Change, Place
from .task import Task

SHRINK = 0.7
"""What folds is tried again with this part of its velocity."""

SHRINK_TIMES = 9
"""At most; it is a twenty-fifth of what it was then."""

ALLOWED_BEYOND_VOX = 0.05
"""The repair of a fold may move this much beyond the window."""

MADE_SMALLER = "The whole of it would have folded: only {part:.0f} % of the motion could be made."
NOTHING_POSSIBLE = "Nothing could be changed here without folding; try a larger radius."


@dataclass(frozen=True, eq=False)
class Settled:
    """A change of the displacement that folds nowhere anew.

    Attributes
    ----------
    after_vox : (3, i, j, k) array
        The displacement in the box.
    back_flow : (3, i, j, k) array
        Of the inverse of the flow.
    changed : (i, j, k) bool array
        Where it changed at all.
    folds_before, folds_after : int
        Voxels that fold, where the change is felt.
    part : float
        Of the velocity that was asked for.
    """

    after_vox: Float[np.ndarray, "3 i j k"]
    back_flow: Float[np.ndarray, "3 i j k"]
    changed: Bool[np.ndarray, "i j k"]
    folds_before: int
    folds_after: int
    part: float

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be said about it."""
        if self.part == 1:
            return ()
        return (MADE_SMALLER.format(part=100 * self.part),) if self.part > 0 else (NOTHING_POSSIBLE,)


@dataclass(frozen=True, eq=False)
class Solved:
    """A correction of which all is known but its inverse and what is measured.

    Attributes
    ----------
    task : Task
        What was asked for.
    settled : Settled
        What came of it.
    moved : (i, j, k) float32 array
        The moved image in the box.
    """

    task: Task
    settled: Settled
    moved: Float[np.ndarray, "i j k"]

    @property
    def box(self) -> Box:
        """Of the fixed grid; nothing is changed outside of it."""
        return self.task.place.box


def settle(present: Float[np.ndarray, "3 i j k"], change: Change, place: Place, margin: float) -> Settled:
    """Make a change; where it folds anew it is repaired, and where the repair is not enough made smaller.

    Parameters
    ----------
    present : (3, i, j, k) array
        The displacement as it is, in voxels.
    change : callable
        See `Change`.
    margin : float
        What a repair raises determinants to.
    """
    lowest = _smallest(present)
    low = lowest <= SURE_DETERMINANT
    felt = ndimage.binary_dilation(place.window > 0)  # at the rim of a box that is not the image's, the test sees too little
    folds_before = int(np.count_nonzero((lowest <= 0) & felt))
    part = 1.0
    for _ in range(SHRINK_TIMES):
        wanted, back_flow = change(part)
        made = _repaired(wanted, low, place, margin)
        if made is not None:
            after, lowest = made
            changed = np.asarray((after != present).any(axis=0))
            folds_after = int(np.count_nonzero((lowest <= 0) & felt))
            return Settled(after, back_flow, changed, folds_before, folds_after, part)
        part *= SHRINK
    return Settled(present, np.zeros_like(present), np.zeros(place.box.shape, bool), folds_before, folds_before, 0.0)


def _repaired(
    after: Float[np.ndarray, "3 i j k"], low_before: Bool[np.ndarray, "i j k"], place: Place, margin: float
) -> tuple[Float[np.ndarray, "3 i j k"], Float[np.ndarray, "i j k"]] | None:
    """Return a displacement in which nothing is low that was not before, with its smallest determinants.

    None if the repair does not manage that within the window.
    """
    lowest = _smallest(after)
    low = lowest <= SURE_DETERMINANT
    if not (low & ~low_before).any():
        return after, lowest
    repaired = only_repaired_at(after, low & (place.window > 0), margin)
    beyond = np.abs(repaired - after)[:, place.window == 0]
    if beyond.size and float(beyond.max()) > ALLOWED_BEYOND_VOX:
        return None
    lowest = _smallest(repaired)
    return None if ((lowest <= SURE_DETERMINANT) & ~low_before).any() else (repaired, lowest)


def _smallest(displacement_vox: Float[np.ndarray, "3 i j k"]) -> Float[np.ndarray, "i j k"]:
    """Return the smallest determinant of the digital test at every voxel."""
    return digital_minimum(np.moveaxis(displacement_vox, 0, -1))


def warm_up() -> None:
    """Repair one small fold that nobody sees: what repairs is loaded or compiled on first use, which may take seconds."""
    field = np.zeros((3, 9, 9, 9), np.float32)
    field[0, 4, 4, 4] = 2.5
    only_repaired_at(field, fold_mask(field), SURE_DETERMINANT)


@dataclass(frozen=True, eq=False)
class Shown:
    """What a change looks like in its box."""

    moved: Float[np.ndarray, "i j k"]
    moved_before: Float[np.ndarray, "i j k"]
    jacobian: Float[np.ndarray, "i j k"]


def shown(
    images: CachedImages, box: Box, present: Float[np.ndarray, "3 i j k"], after: Float[np.ndarray, "3 i j k"],
    moved: Float[np.ndarray, "i j k"] | None = None,
) -> Shown:
    """Pull the moving image through both displacements, as far as `moved` is not there yet, and measure the volume change after."""
    volume = np.float32(abs(np.linalg.det(images.affine.matrix[:3, :3])))
    jacobian = central_determinant(np.moveaxis(after, 0, -1)) * volume
    return Shown(images.moved_in(box, after) if moved is None else moved, images.moved_in(box, present), jacobian)


def similarity_of(fixed: Placed, moved: Placed, place: Place, settings: Settings) -> float:
    """Return the run's data term over what the window covers, lower is better."""
    spec = SIMILARITIES[settings.refine.similarity]
    weight = weight_of(fixed) * torch.from_numpy((place.window > 0).astype(np.float32))[None, None]
    term = spec.prepare(spec.features(fixed.data), weight, settings.refine)
    return term.value_and_gradient(spec.features(moved.data), weight_of(moved))[0]


def patches(fields: PresentFields, place: Place, settled: Settled, passes: int) -> tuple[FieldPatch, FieldPatch]:
    """Return what changes of the displacement and of its inverse."""
    forward = fields.forward_patch(place.box, settled.after_vox, settled.changed)
    return forward, inverse_after(fields, place.box, settled.after_vox, settled.back_flow, settled.changed, passes)
