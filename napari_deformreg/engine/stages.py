"""The stages of a registration in their order: prepare, align, search, refine, repair, invert."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from ..errors import OutOfMemoryError
from ..result import Control, Provenance, RegistrationResult, StageName, StartChoice, Status, Step
from ..settings import EFFORTS, Effort, Settings
from ..space import AffineTransform, DisplacementField, Grid, LabelMap, LandmarkPairs, Volume
from ..space.jacobian import displacement_vox_to_mm
from ..space.orientation import axis_codes, reorient
from ..space.point_fits import fit_start
from .affine import align_steps
from .flows import carried_image, carried_labels, carried_landmarks, flow_displacement, inverse_displacement
from .folding import invert_field, repair
from .initialize import coarse_search_steps
from .kernels import gpu_check
from .model_start import SEARCHED, Start, choose_start, is_used_up, judge_grid, network_start, settled_model, ways_in
from .models.weights import TrainedModel
from .optimize import LevelOptimizer, Term
from .own_world import Worlds
from .plan import Level, Progress, plan_levels
from .prepare import canonical_labels, canonical_volume, level_pair, scaled
from .pyramid import level_grid
from .sampling import resize_field, zero_field
from .tensors import Placed, choose_device, describe_device, guarded, one_torch_thread, to_array
from .terms import LabelTerm, LandmarkTerm

Steps = Generator[Step, Control | None, RegistrationResult]

SEARCH_VOXELS = 700_000
"""Size of the lattice of the coarse search, near 90 voxels an axis: brain_t1 gains .04 Dice over 300 000, for under two seconds."""

RIVAL_VOXELS = 90_000
"""The same where the search only has to show whether it is any rival to a network's start: it then takes an eighth of the time."""

REACH_FRACTION = 0.15
"""The coarse search looks no farther than this part of the longest side of the field of view, whatever reach is set."""

SHARES: dict[StageName, tuple[float, float]] = {
    "prepare": (0.0, 0.02),
    "affine": (0.02, 0.12),
    "predict": (0.12, 0.16),
    "search": (0.16, 0.2),
    "refine": (0.2, 0.9),
    "folds": (0.9, 0.96),
    "inverse": (0.96, 1.0),
}
"""Rough part of a run's time that each stage takes on a CPU, for the progress bar."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is registered, in canonical orientation; everything is placed in the images' own worlds."""

    worlds: Worlds
    fixed: Placed
    moving: Placed
    landmarks: LandmarkPairs | None
    fixed_labels: LabelMap | None
    moving_labels: LabelMap | None


@dataclass
class Run:
    """What a run collects on its way; `settings` are what the effort makes of those that it was `told`."""

    told: Settings
    settings: Settings
    device: torch.device
    model: TrainedModel | None = None
    start: StartChoice | None = None
    started: float = field(default_factory=time.perf_counter)
    history: list[Step] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    seconds: dict[StageName, float] = field(default_factory=dict)
    finish_now: bool = False

    @property
    def effort(self) -> Effort:
        """What was asked for beyond the settings' numbers."""
        return EFFORTS[self.told.effort]

    def placed(self, step: Step, part: float) -> Step:
        """Complete a step with the run's progress and time left, and keep it; `part` is the stage's own progress, 0 to 1."""
        low, high = SHARES[step.stage]
        before = self.history[-1].fraction if self.history else 0.0
        fraction = max(before, low + (high - low) * min(max(part, 0.0), 1.0))
        elapsed = time.perf_counter() - self.started
        left = elapsed * (1 - fraction) / fraction if fraction > 0.05 else None
        done = replace(step, fraction=fraction, seconds_left=left)
        self.history.append(done)
        return done

    def heed(self, control: Control | None) -> None:
        """Remember what the consumer sent."""
        self.finish_now = self.finish_now or control is Control.FINISH_NOW

    @contextmanager
    def timed(self, stage: StageName) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def register_steps(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: LabelMap | None = None,
    moving_mask: LabelMap | None = None,
    landmarks: LandmarkPairs | None = None,
    fixed_labels: LabelMap | None = None,
    moving_labels: LabelMap | None = None,
) -> Steps:
    """Register a moving volume to a fixed one, step by step.

    Close the generator to cancel; send `Control.FINISH_NOW` to end refinement with the best so far.

    Parameters
    ----------
    fixed, moving : Volume
        Of any orientation and spacing; both 3-D, or both one slice.
    settings : Settings, optional
        The generic preset when left out.
    fixed_mask, moving_mask : LabelMap, optional
        Non-zero voxels count, the others do not.
    landmarks, fixed_labels, moving_labels : optional
        Drive the registration only as far as ``settings.refine.landmark_weight`` and ``label_weight`` say; with ``affine.start`` as
        landmarks the pairs give the start position.

    Yields
    ------
    Step
        At least once an optimizer step.

    Returns
    -------
    RegistrationResult

    Raises
    ------
    InputError
        If an image is constant or the two show nothing in common.
    EngineError
        If the computation itself fails.
    """
    chosen = settings or Settings()
    device = choose_device(chosen.device)
    arguments = (fixed, moving, chosen, fixed_mask, moving_mask, landmarks, fixed_labels, moving_labels)
    try:
        with guarded():
            return (yield from _run(device, (), *arguments))
    except OutOfMemoryError as error:
        if device.type == "cpu":
            raise
        notice = f"{error} The whole registration was repeated on the CPU."
    with guarded():
        return (yield from _run(torch.device("cpu"), (notice,), *arguments))


def register(
    fixed: Volume,
    moving: Volume,
    settings: Settings | None = None,
    *,
    fixed_mask: LabelMap | None = None,
    moving_mask: LabelMap | None = None,
    landmarks: LandmarkPairs | None = None,
    fixed_labels: LabelMap | None = None,
    moving_labels: LabelMap | None = None,
) -> RegistrationResult:
    """Register without looking at the steps; see `register_steps` for the parameters."""
    steps = register_steps(
        fixed, moving, settings, fixed_mask=fixed_mask, moving_mask=moving_mask, landmarks=landmarks, fixed_labels=fixed_labels,
        moving_labels=moving_labels,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: RegistrationResult = end.value
            return result


def _run(
    device: torch.device, notices: tuple[str, ...], fixed: Volume, moving: Volume, settings: Settings, fixed_mask: LabelMap | None,
    moving_mask: LabelMap | None, landmarks: LandmarkPairs | None, fixed_labels: LabelMap | None, moving_labels: LabelMap | None,
) -> Steps:
    model, remarks = settled_model(settings, fixed.grid)
    run = Run(settings, settings.at_effort, device, model, notices=[*notices, *remarks])
    compiling = "for a minute or so" if device.type == "cpu" else "its kernels, and each process checks those of the GPU once"
    run.heed((yield run.placed(Step("prepare", message=f"the images; the first run on a machine compiles {compiling}"), 0.0)))
    with run.timed("prepare"):
        case = _case(device, fixed, moving, run.settings, (fixed_mask, moving_mask), landmarks, (fixed_labels, moving_labels))
    affine = yield from _align(case, run)
    start = yield from _start(case, affine, run)
    flows, status = yield from _refine(case, affine, start, run)
    return (yield from _export(fixed, case, affine, flows, status, run))


def _case(
    device: torch.device, fixed: Volume, moving: Volume, settings: Settings, masks: tuple[LabelMap | None, LabelMap | None],
    landmarks: LandmarkPairs | None, labels: tuple[LabelMap | None, LabelMap | None],
) -> Case:
    """Turn everything to canonical axes and bring it into the own worlds."""
    volumes = canonical_volume(fixed), canonical_volume(moving)
    worlds = Worlds.of(volumes[0].grid, volumes[1].grid)
    sides = (worlds.fixed, worlds.moving)
    mask, label = (
        [None if given is None else own.labels(canonical_labels(given)) for own, given in zip(sides, pair, strict=True)]
        for pair in (masks, labels)
    )
    images = [scaled(own.volume(v), settings, device, m) for own, v, m in zip(sides, volumes, mask, strict=True)]
    pairs = None if landmarks is None else worlds.landmarks(landmarks)
    return Case(worlds, images[0], images[1], pairs, label[0], label[1])


def _align(case: Case, run: Run) -> Generator[Step, Control | None, AffineTransform]:
    with run.timed("affine"):
        steps = align_steps(case.fixed, case.moving, run.settings, _position(case, run.settings))
        count = 0
        while True:
            try:
                step = next(steps) if not run.finish_now else steps.send(Control.FINISH_NOW)
            except StopIteration as end:
                run.notices.extend(end.value.notices)
                affine: AffineTransform = end.value.affine
                return affine
            count += 1
            part = (step.level + step.index / max(step.count, 1)) / max(step.levels, 1)
            run.heed((yield run.placed(step, part)))


def _position(case: Case, settings: Settings) -> AffineTransform:
    """Return how the images lie to each other before the affine stage: as the headers say, or as landmark pairs do."""
    if settings.affine.start != "landmarks" or case.landmarks is None:
        return case.worlds.header
    return fit_start(case.landmarks, affine=settings.affine.mode != "rigid")


def _start(case: Case, affine: AffineTransform, run: Run) -> Generator[Step, Control | None, Start | None]:
    """Find what the refinement begins from: the best of nothing, a network's start, and the search's.

    Beside a network's start that beats nothing the search is first made on a coarser lattice, and again in full only where it beats the
    network's even so.
    """
    predicted = yield from _predict(case, affine, run)
    start = _chosen_start(case, affine, predicted, run)
    voxels = _search_voxels(case, start, run)
    searched = yield from _search(case, affine, voxels, run)
    if searched:
        start = _chosen_start(case, affine, [*searched, *predicted], run)
        if voxels == RIVAL_VOXELS and start in searched:
            searched = yield from _search(case, affine, SEARCH_VOXELS, run)
            start = _chosen_start(case, affine, [*searched, *predicted], run)
    return start


def _search_voxels(case: Case, predicted: Start | None, run: Run) -> int:
    """Return the size of the search's lattice; 0 for none. In a slice it takes no time, and is always made in full."""
    if run.model is None or run.settings.search.mode == "on" or run.effort.search_with_network == "full":
        return SEARCH_VOXELS
    if run.effort.search_with_network == "never":
        return 0
    return SEARCH_VOXELS if predicted is None or case.fixed.grid.is_2d else RIVAL_VOXELS


def _search(case: Case, affine: AffineTransform, voxels: int, run: Run) -> Generator[Step, Control | None, list[Start]]:
    """Run the coarse search on a lattice of at most so many voxels, if it is wanted."""
    settings = run.settings
    wanted = voxels > 0 and settings.search.mode != "off" and settings.search.reach_mm > 0 and settings.refine.mode != "off"
    if not wanted or run.finish_now:
        return []
    with run.timed("search"):
        spacing = float(case.fixed.grid.spacing.min())
        grid = level_grid(case.fixed.grid, spacing)
        while np.prod(grid.shape) > voxels:
            spacing *= 1.1
            grid = level_grid(case.fixed.grid, spacing)
        pair = level_pair(case.fixed, case.moving, grid, affine, padded=False)
        side = float((case.fixed.grid.spacing * (np.array(case.fixed.grid.shape) - 1)).max())
        steps = coarse_search_steps(pair.fixed, pair.moving, settings, reach_mm=min(settings.search.reach_mm, REACH_FRACTION * side))
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return [Start(SEARCHED, end.value)]
            run.heed((yield run.placed(step, (step.level + step.index / max(step.count, 1)) / max(step.levels, 1))))


def _predict(case: Case, affine: AffineTransform, run: Run) -> Generator[Step, Control | None, list[Start]]:
    """Let the network predict, if there is one."""
    if run.model is None or run.finish_now:
        return []
    run.heed((yield run.placed(Step("predict", message=f"Asking the network {run.model.name}"), 0.0)))
    with run.timed("predict"):
        start, notices = network_start(run.model, case.fixed, case.moving, affine)
    run.notices.extend(notices)
    return [] if start is None else [start]


def _chosen_start(case: Case, affine: AffineTransform, starts: list[Start], run: Run) -> Start | None:
    """Choose what the refinement begins from, and note why."""
    if not starts:
        return None
    with run.timed("predict" if run.model else "search"):
        grid = judge_grid(case.fixed.grid)
        nothing = zero_field(grid, run.device)
        sha256 = run.model.sha256 if run.model else ""
        try:
            with guarded():
                judge = _level_optimizer(case, affine, Level(grid, 0, grid.shape), nothing, run)
                start, run.start = choose_start(starts, nothing, lambda velocity: judge.evaluate(velocity)[0], sha256)
        except OutOfMemoryError as error:  # the coarser levels may still fit, and each asks its own loss whether the start pays
            run.notices.append(f"{error} The starts could not be compared; the first, {starts[0].name}, was offered.")
            return starts[0]
    return start


def _refine(
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
            optimizer = _level_optimizer(case, affine, level, base, run)
            start = _taken_up(optimizer, start, velocity, level)
            last = number == numbers[-1]
            yield from _level_steps(optimizer, number, last, progress, run)
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


def _level_optimizer(case: Case, affine: AffineTransform, level: Level, velocity: Tensor, run: Run) -> LevelOptimizer:
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
    with guarded():
        offered = [optimizer.velocity, *ways_in(start, before, level.shape)]
        optimizer.velocity = min(offered, key=lambda velocity: optimizer.evaluate(velocity)[0])
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
        # In a slice torch's second thread has next to nothing to do, and waiting it keeps a core from everybody: three times slower.
        with guarded(), one_torch_thread() if level.grid.is_2d else nullcontext():
            loss = optimizer.step(barrier=index >= barrier_from)
        message = f"Refining at {level.grid.spacing.mean():.2g} mm"
        run.heed((yield run.placed(place(index=index + 1, loss=loss, message=message), progress.done(number, index + 1))))
        if run.finish_now or (optimizer.converged() and index < barrier_from):
            return


def _export(
    fixed: Volume, case: Case, affine: AffineTransform, flows: list[Tensor], status: Status, run: Run
) -> Steps:
    """Bring the velocities to the fixed image's full resolution, integrate, repair and invert."""
    grid = case.worlds.fixed.header_grid
    flows = [velocity.cpu() for velocity in flows]  # the repair runs on the CPU, and a full-resolution field need not fit on the GPU
    only = flows[0] if len(flows) == 1 else None
    run.heed((yield run.placed(Step("folds", message="Checking for folds at full resolution"), 0.0)))
    with run.timed("folds"):
        forward = flow_displacement(flows, grid.shape, run.effort.integrate_full)
        left = 0
        if run.settings.folds.repair:
            forward, report = repair(forward, run.settings.folds.margin)
            left = report.folds_left
            if report.folds_before:
                run.notices.append(report.text)
    run.heed((yield run.placed(Step("inverse", message="Inverting the deformation"), 0.0)))
    with run.timed("inverse"):
        backward, _ = invert_field(
            forward, inverse_displacement(flows, grid.shape, run.effort.integrate_full), run.effort.inverse_residual_vox
        )  # fmt: skip
    displacement, inverse = _to_world(forward, grid, fixed.grid), _to_world(backward, grid, fixed.grid)
    yield run.placed(Step("inverse", message="Registered"), 1.0)
    return RegistrationResult(
        affine=case.worlds.to_header(affine),
        displacement=displacement,
        inverse_displacement=inverse,
        velocity_vox=None if only is None else to_array(only),
        velocity_grid=None if only is None else grid.resized((only.shape[2], only.shape[3], only.shape[4])),
        status=Status.FOLDS_LEFT if left else status, history=tuple(run.history), settings=run.told,
        provenance=Provenance(
            version=version("napari-deformreg"), device=describe_device(run.device), seconds=dict(run.seconds),
            notices=(*run.notices, *gpu_check.notices(run.device)),
            libraries={name: version(name) for name in ("torch", "numpy", "numba")}, start=run.start,
        ),
    )


def _to_world(field: Tensor, grid: Grid, original: Grid) -> DisplacementField:
    """Turn voxels of the canonical grid into world mm on the fixed image's own grid."""
    millimeters = displacement_vox_to_mm(to_array(field), grid)
    turned, _ = reorient(millimeters, grid, axis_codes(original))
    return DisplacementField(original, np.ascontiguousarray(turned))
