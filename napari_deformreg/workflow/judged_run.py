"""One registration from its inputs to a judged outcome, as a generator of steps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..io import check_result_folder_target
from ..result import Control, RegistrationResult, Step
from ..settings import Settings
from ..space import AffineTransform, LabelMap, LandmarkPairs, Volume
from .inputs import AnyPath, InputPaths, Inputs, check_inputs, driving_landmarks, read_inputs

if TYPE_CHECKING:
    from ..qa import FoldReport, LandmarkErrors, Report

T = TypeVar("T")

READ_UNTIL, REGISTER_UNTIL, EVALUATE_UNTIL = 0.02, 0.9, 0.97
"""Parts of the whole run, from typical seconds of a brain pair on two cores: progress bars need no more."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything one run gives.

    Attributes
    ----------
    inputs : Inputs
        As they were used: checked, labels and masks on their image's grid.
    result : RegistrationResult
        The transform both ways.
    moved : Volume
        Moving, resampled on the fixed grid through the transform.
    moving_before : Volume
        Moving, resampled on the fixed grid through the headers alone.
    moved_labels : LabelMap or None
        Moving labels on the fixed grid.
    report : Report
        All numbers, each with unit, domain and definition.
    """

    inputs: Inputs
    result: RegistrationResult
    moved: Volume
    moving_before: Volume
    moved_labels: LabelMap | None
    report: Report

    @property
    def jacobian(self) -> Volume:
        """Local volume change of fixed_to_moving, the affine included, on the fixed grid."""
        return self.report.jacobian

    @property
    def folds(self) -> FoldReport:
        """Folds: numbers, the list of connected regions, and their label array."""
        return self.report.folds

    @property
    def landmarks(self) -> LandmarkErrors | None:
        """Target registration errors point by point, or None without landmark pairs."""
        return self.report.landmarks


def run(inputs: Inputs, settings: Settings) -> Generator[Step, Control | None, Outcome]:
    """Check, register, resample and judge; yields a step at least once a second or so.

    Close the generator to cancel; send `Control.FINISH_NOW` to go on with the best so far.

    Returns
    -------
    Outcome
        Through ``yield from`` or `finished`.

    Raises
    ------
    InputError
        If the inputs do not belong together.
    EngineError
        If the computation fails.
    """
    from ..engine import register_steps

    yield Step("prepare", message="checking the inputs", fraction=READ_UNTIL)
    inputs = check_inputs(inputs, settings)
    steps = register_steps(
        inputs.fixed,
        inputs.moving,
        settings,
        fixed_mask=inputs.fixed_mask,
        moving_mask=inputs.moving_mask,
        landmarks=driving_landmarks(inputs, settings),
        fixed_labels=inputs.fixed_labels if settings.refine.label_weight > 0 else None,
        moving_labels=inputs.moving_labels if settings.refine.label_weight > 0 else None,
    )
    result = yield from within(steps, READ_UNTIL, REGISTER_UNTIL)
    result = _with_driving_points(result, driving_landmarks(inputs, settings))
    return (yield from within(evaluating(inputs, result), REGISTER_UNTIL, EVALUATE_UNTIL))


def _with_driving_points(result: RegistrationResult, pairs: LandmarkPairs | None) -> RegistrationResult:
    """Note which landmarks drove the registration: they must not judge it, today or when the folder is judged again."""
    points = () if pairs is None else tuple((float(x), float(y), float(z)) for x, y, z in pairs.fixed_points)
    return replace(result, provenance=replace(result.provenance, driving_points_mm=points))


def within(steps: Generator[Step, Control | None, T], first: float, last: float) -> Generator[Step, Control | None, T]:
    """Pass steps on with their fraction of 0 to 1 mapped to `first` to `last`; controls go the other way."""
    control: Control | None = None
    try:
        while True:
            step = steps.send(control)
            control = yield replace(step, fraction=first + (last - first) * step.fraction)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()


def evaluate(inputs: Inputs, result: RegistrationResult) -> Outcome:
    """Resample moving through a registration and judge it; `inputs` must have passed `check_inputs`."""
    return finished(evaluating(inputs, result))


def evaluating(inputs: Inputs, result: RegistrationResult) -> Generator[Step, Control | None, Outcome]:
    """Resample and judge, as a generator of steps; see `evaluate`."""
    from ..engine import resample, resample_labels
    from ..qa import report_steps

    grid = inputs.fixed.grid
    yield Step("evaluate", message="resampling the moving image")
    moved = replace(resample(inputs.moving, grid, result.fixed_to_moving), name="moved")
    yield Step("evaluate", message="resampling by the headers alone", fraction=0.15)
    before = replace(resample(inputs.moving, grid, AffineTransform.identity()), name="moving before")
    moved_labels = None
    if inputs.moving_labels is not None:
        yield Step("evaluate", message="resampling the labels", fraction=0.3)
        names = inputs.moving_labels.label_names
        moved_labels = replace(resample_labels(inputs.moving_labels, grid, result.fixed_to_moving), name="moved labels", label_names=names)
    result = _with_notices(result, inputs)
    judging = report_steps(
        inputs.fixed,
        inputs.moving,
        moved,
        before,
        result,
        fixed_mask=inputs.fixed_mask,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        moved_labels=moved_labels,
        fixed_landmarks=inputs.fixed_landmarks,
        moving_landmarks=inputs.moving_landmarks,
    )
    report = yield from within(judging, 0.4, 1.0)
    return Outcome(inputs, result, moved, before, moved_labels, report)


def _with_notices(result: RegistrationResult, inputs: Inputs) -> RegistrationResult:
    """Add what is to be said about labels and masks; the report itself adds what is to be said about the images."""
    known = {*result.provenance.notices, *inputs.fixed.notices, *inputs.moving.notices}
    more = tuple(notice for notice in inputs.notices if notice not in known)
    return replace(result, provenance=replace(result.provenance, notices=(*result.provenance.notices, *more))) if more else result


def run_files(paths: InputPaths, settings: Settings, folder: AnyPath) -> Generator[Step, Control | None, Outcome]:
    """Read files, run, and write the result folder: whole at the end, or not at all.

    Raises
    ------
    InputError
        If a file cannot be used, the inputs do not belong together, or the folder may not be written.
    EngineError
        If the computation fails.
    """
    from .folder import write_outcome

    check_result_folder_target(folder)
    yield Step("read", message="reading")
    inputs = read_inputs(paths)
    outcome = yield from run(inputs, settings)
    yield Step("write", message=f"writing {Path(folder)}", fraction=EVALUATE_UNTIL)
    write_outcome(outcome, folder, paths)
    yield Step("write", message="done", fraction=1.0, seconds_left=0.0)
    return outcome


def finished(steps: Generator[Step, Control | None, T]) -> T:
    """Run a generator of steps to its end and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value
