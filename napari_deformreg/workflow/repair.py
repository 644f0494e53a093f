"""Repairs one fold of a judged registration, and says what that cost."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..result import Control, RegistrationResult, Step
from ..space import DisplacementField
from .judged_run import Outcome, evaluating, within

if TYPE_CHECKING:
    from ..qa.similarity import Similarity

SURROUNDINGS_MM = 15.0
"""The similarity around a fold is taken this far from the voxels that the repair changed."""


@dataclass(frozen=True, eq=False)
class RepairedFold:
    """What came of a repair.

    Attributes
    ----------
    outcome : Outcome
        The registration with the fold repaired, resampled and judged again.
    text : str
        What was changed, for people.
    near_before, near_after : Similarity
        Of fixed and moved around the fold; see `SURROUNDINGS_MM`.
    whole_before, whole_after : Similarity
        Of fixed and moved over the fixed foreground.
    near_voxels, whole_voxels : int
        Voxels behind them.
    """

    outcome: Outcome
    text: str
    near_before: Similarity
    near_after: Similarity
    whole_before: Similarity
    whole_after: Similarity
    near_voxels: int
    whole_voxels: int


def repair_fold(outcome: Outcome, label: int) -> Generator[Step, Control | None, RepairedFold]:
    """Re-solve the surroundings of one fold region, so that nothing there folds, with the smallest changes that do.

    Parameters
    ----------
    outcome : Outcome
        The registration.
    label : int
        Number of the region in `outcome.folds.labels`.

    Raises
    ------
    InputError
        If there is no such region.
    """
    from ..engine import repair_region

    region = outcome.folds.labels == label
    if not label or not region.any():
        count = len(outcome.folds.regions)
        raise InputError(f"There is no fold region {label}; this registration has {count}. Choose one of the list.")
    yield Step("folds", message=f"repairing fold {label}", fraction=0.05)
    result = outcome.result
    displacement, report = repair_region(result.displacement, region, result.settings.folds.margin)
    yield Step("inverse", message="inverting", fraction=0.2)
    repaired = _with_displacement(result, displacement)
    after = yield from within(evaluating(outcome.inputs, repaired), 0.35, 0.9)
    yield Step("evaluate", message="comparing", fraction=0.9)
    return _compared(outcome, after, report.text)


def _with_displacement(result: RegistrationResult, displacement: DisplacementField) -> RegistrationResult:
    from ..engine import inverse_near

    inverse = inverse_near(displacement, start=result.inverse_displacement)
    return replace(result, displacement=displacement, inverse_displacement=inverse, velocity_vox=None, velocity_grid=None)


def _compared(before: Outcome, after: Outcome, text: str) -> RepairedFold:
    from scipy import ndimage

    from ..qa import fixed_foreground
    from ..qa.similarity import similarities

    inputs = before.inputs
    changed = (before.result.displacement.displacement_mm != after.result.displacement.displacement_mm).any(axis=-1)
    near = ndimage.distance_transform_edt(~changed, sampling=inputs.fixed.grid.spacing) <= SURROUNDINGS_MM
    whole = fixed_foreground(inputs.fixed, inputs.fixed_mask).mask
    images = [before.moved.data, after.moved.data]
    near_before, near_after = similarities(inputs.fixed.data, images, near)
    whole_before, whole_after = similarities(inputs.fixed.data, images, whole)
    return RepairedFold(
        after, text, near_before, near_after, whole_before, whole_after, int(np.count_nonzero(near)), int(np.count_nonzero(whole))
    )
