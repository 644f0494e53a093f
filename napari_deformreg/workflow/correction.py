"""Corrects a judged registration by landmark pairs and regions, and judges it again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..result import Control, Step
from ..settings import Settings
from ..space import LandmarkPairs
from ..space.point_fits import FitName
from .inputs import Inputs, check_inputs
from .judged_run import Outcome, evaluating

if TYPE_CHECKING:
    from ..engine.correction import CorrectionSession


def correction_session(outcome: Outcome) -> CorrectionSession:
    """Open a session on a registration: a second or two for a brain; each correction after that takes a part of one."""
    from ..engine.correction import CorrectionSession

    inputs = outcome.inputs
    return CorrectionSession(inputs.fixed, inputs.moving, outcome.result, fixed_mask=inputs.fixed_mask, moving_mask=inputs.moving_mask)


def corrected_outcome(
    outcome: Outcome, session: CorrectionSession, driving_mm: Sequence[tuple[float, float, float]] = ()
) -> Generator[Step, Control | None, Outcome]:
    """Resample and judge the registration as the session has it now.

    Parameters
    ----------
    driving_mm : sequence of points
        Fixed ends (RAS+ mm) of the pairs that corrected it, beside those that drove it before: they must not judge it.
    """
    result = session.result()
    noted = result.provenance.driving_points_mm
    if driving_mm and (noted is not None or result.settings.refine.landmark_weight == 0):
        every = (*(noted or ()), *driving_mm)
        result = replace(result, provenance=replace(result.provenance, driving_points_mm=every))
    return (yield from evaluating(outcome.inputs, result))


def points_outcome(
    inputs: Inputs, pairs: LandmarkPairs, kind: FitName, settings: Settings, weights: np.ndarray | None = None
) -> Generator[Step, Control | None, Outcome]:
    """Register by landmark pairs alone (rigid, similarity, affine or thin_plate) and judge that."""
    from ..engine import register_points

    checked = check_inputs(inputs, settings)
    yield Step("affine", message="fitting the landmark pairs", fraction=0.05)
    result = register_points(checked.fixed.grid, pairs, kind, settings, weights)
    return (yield from evaluating(checked, result))
