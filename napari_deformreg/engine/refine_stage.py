"""The stage that refines: flow after flow, level after level, each kept only if the loss says so."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..errors import OutOfMemoryError
from ..result import Control, Status, Step
from ..settings import Settings
from ..space import AffineTransform
from .case import Case, Run
from .flows import carried_image, carried_labels, carried_landmarks
from .model_start import Start, is_used_up, ways_in
from .optimize import LevelOptimizer, Term
from .plan import Level, Progress, plan_levels
from .prepare import level_pair
from .pyramid import level_grid
from .sampling import resize_field, zero_field
from .tensors import guarded, threads_beside_kernels
from .terms import LabelTerm, LandmarkTerm


def refine_steps(
    case: Case, affine: AffineTransform, start: Start | None, run: Run
) -> Generator[Step, Control | None, tuple[list[Tensor], Status]]:
    """Refine flow after flow; their velocities, each on the last lattice of its own, and how it ended."""
    levels = plan_levels(case.fixed.grid, run.settings, run.device) if run.settings.refine.mode == "on" else []
    if not levels:
        velocity, status = _unrefined(case, start, run)
        return [velocity], status
    progress = Progress.of(levels)
    with run.timed("refine"):
        velocity, status = yield from _one_flow(case, affine, start, 0, progress, run)
        flows = [velocity]
        for flow in range(1, levels[-1].flow + 1):
            if status in (Status.KEPT_START, Status.FINISHED_EARLY):
                break
            try:
                carried = _carried(case, affine, flows, run.settings)
                velocity, ended = yield from _one_flow(carried, AffineTransform.identity(), None, flow, progress, run)
            except OutOfMemoryError as error:
                run.notices.append(f"{error} Flow {flow + 1} was left out: the result is that of the flows before it.")
                break
            if ended is Status.KEPT_START:  # too little was left to gain
                break
            flows.append(velocity)
            status = ended
    return flows, status


def _one_flow(
    case: Case, affine: AffineTransform, start: Start | None, flow: int, progress: Progress, run: Run
) -> Generator[Step, Control | None, tuple[Tensor, Status]]:
    """Refine one stationary velocity over its levels; the velocity on the last one's lattice, and how it ended."""
    numbers = [number for number, level in enumerate(progress.levels) if level.flow == flow]
    judged = _judged_level(numbers, flow, run)
    velocity: Tensor | None = None
    status = Status.STEPS_USED_UP
    for number in numbers:
        level = progress.levels[number]
        base = zero_field(level.grid.resized(level.shape), run.device) if velocity is None else resize_field(velocity, level.shape)
        try:
            optimizer = level_optimizer(case, affine, level, base, run)
            start = _taken_up(optimizer, start, velocity, level)
            last = number == numbers[-1]
            yield from _level_steps(optimizer, number, last, progress, run)
            with threads_beside_kernels(run.device, level.grid):
                velocity = optimizer.velocity if optimizer.falling() else optimizer.finish()
            status = Status.CONVERGED if optimizer.converged() else Status.STEPS_USED_UP
            if number == judged and not _gains_enough(optimizer, flow, run):
                velocity, status = torch.zeros_like(velocity), Status.KEPT_START
        except OutOfMemoryError as error:
            if velocity is None:
                raise
            run.notices.append(
                f"{error} Level {number + 1} of {len(progress.levels)} was left out: the result is that of the coarser level."
            )
            break
        if run.finish_now:
            status = Status.FINISHED_EARLY
            break
    assert velocity is not None  # there is at least one level, and an error on the first is raised
    return velocity, status


def _carried(case: Case, affine: AffineTransform, flows: list[Tensor], settings: Settings) -> Case:
    """Return the case with the moving side as the flows so far have carried it; no affine is left between the two."""
    grid, labels, landmarks = case.fixed.grid, case.moving_labels, case.landmarks
    with guarded():
        return replace(
            case, moving=carried_image(case.moving, grid, affine, flows),
            landmarks=None if landmarks is None else carried_landmarks(landmarks, grid, affine, flows),
            moving_labels=(
                None if labels is None or settings.refine.label_weight <= 0 else carried_labels(labels, grid, affine, flows)
            ),
        )


def _unrefined(case: Case, start: Start | None, run: Run) -> tuple[Tensor, Status]:
    """Give what there is without any steps: the start, or nothing."""
    if start is not None:
        return start.velocity, Status.STEPS_USED_UP
    return zero_field(level_grid(case.fixed.grid, float(case.fixed.grid.spacing.max()) * 8), run.device), Status.CONVERGED


def level_optimizer(case: Case, affine: AffineTransform, level: Level, velocity: Tensor, run: Run) -> LevelOptimizer:
    """Return what optimizes a level: both images on it, and the terms that the settings ask for.

    Raises
    ------
    OutOfMemoryError
        If the level does not fit on the device.
    """
    with guarded():
        pair = level_pair(case.fixed, case.moving, level.grid, affine)
        terms: list[tuple[float, Term]] = []
        refine = run.settings.refine
        if case.landmarks is not None and len(case.landmarks) and refine.landmark_weight > 0:
            terms.append((refine.landmark_weight, LandmarkTerm.at_level(case.landmarks, pair, affine).value_and_gradient))
        if case.fixed_labels is not None and case.moving_labels is not None and refine.label_weight > 0:
            term = LabelTerm.at_level(case.fixed_labels, case.moving_labels, pair, affine)
            terms.append((refine.label_weight, term.value_and_gradient))
        return LevelOptimizer(pair, velocity, run.settings, terms)


def _taken_up(optimizer: LevelOptimizer, start: Start | None, before: Tensor | None, level: Level) -> Start | None:
    """Begin a level from what the chosen start offers it, where the loss says that this is better; returns what finer levels may use.

    A coarse level can misjudge a start that is right in detail, so every level up to the start's own resolution is asked.
    """
    if start is None:
        return None
    with guarded(), threads_beside_kernels(optimizer.velocity.device, level.grid):
        optimizer.begin_at_best([optimizer.velocity, *ways_in(start, before, level.shape)])
    return None if is_used_up(start, level.shape) else start


def _least_gain(flow: int, run: Run) -> float:
    return run.settings.refine.least_gain if flow == 0 else run.settings.refine.later_gain


def _judged_level(numbers: list[int], flow: int, run: Run) -> int:
    """Choose the level after which a flow is compared with none: the last, or, where any gain will do, the one before it.

    There it costs an eighth as much, and what is worse than nothing is replaced by nothing before the last level begins.
    """
    return numbers[-1] if len(numbers) < 2 or _least_gain(flow, run) > 0 else numbers[-2]


def _gains_enough(optimizer: LevelOptimizer, flow: int, run: Run) -> bool:
    """Tell whether a flow is better than none, by as much as the settings ask for; says so in a notice if the first is not."""
    with threads_beside_kernels(run.device, optimizer.pair.fixed.grid):
        without = optimizer.evaluate(torch.zeros_like(optimizer.velocity))[0]
    gain = (without - optimizer.best_loss) / max(abs(without), 1e-9)
    least = _least_gain(flow, run)
    if gain > 0 and gain >= least:
        return True
    if flow == 0:
        run.notices.append(
            f"The deformation brought the images only {100 * gain:.1f} % nearer (at least {100 * least:g} % wanted): it was dropped."
        )
    return False


def _level_steps(
    optimizer: LevelOptimizer, number: int, last: bool, progress: Progress, run: Run
) -> Generator[Step, Control | None, None]:
    level = progress.levels[number]
    place = partial(Step, "refine", level=number, levels=len(progress.levels), count=level.steps)
    barrier_from = level.steps - run.settings.folds.barrier_steps if last else level.steps
    for index in range(level.steps):
        with guarded(), threads_beside_kernels(run.device, level.grid):
            loss = optimizer.step(barrier=index >= barrier_from)
        message = f"Refining at {level.grid.spacing.mean():.2g} mm"
        run.heed((yield run.placed(place(index=index + 1, loss=loss, message=message), progress.done(number, index + 1))))
        if run.finish_now or (optimizer.converged() and index < barrier_from):
            return
