"""Corrects a judged registration by landmark pairs and regions, and judges it again."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ..result import Control, Step
from .judged_run import Outcome, evaluating

if TYPE_CHECKING:
    from ..engine.correction import CorrectionSession


def correction_session(outcome: Outcome) -> CorrectionSession:
    """Open a session on a registration: a second or two for a brain; each correction after that takes a part of one."""
    from ..engine.correction import CorrectionSession

    inputs = outcome.inputs
    return CorrectionSession(inputs.fixed, inputs.moving, outcome.result, fixed_mask=inputs.fixed_mask, moving_mask=inputs.moving_mask)


def corrected_outcome(outcome: Outcome, session: CorrectionSession) -> Generator[Step, Control | None, Outcome]:
    """Resample and judge the registration as the session has it now."""
    return (yield from evaluating(outcome.inputs, session.result()))
