"""The stage that finds what the refinement begins from: nothing, a network's prediction, or the coarse search's field."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..errors import OutOfMemoryError
from ..result import Control, Step
from ..space import AffineTransform
from .case import Case, Run
from .initialize import coarse_search_steps
from .model_start import SEARCHED, Start, choose_start, judge_grid, network_start
from .plan import Level
from .prepare import level_pair
from .pyramid import level_grid
from .refine_stage import level_optimizer
from .sampling import zero_field
from .tensors import guarded, threads_beside_kernels

SEARCH_VOXELS = 700_000
"""Size of the lattice of the coarse search, near 90 voxels an axis: brain_t1 gains .04 Dice over 300 000, for under two seconds."""

RIVAL_VOXELS = 90_000
"""The same where the search only has to show whether it is any rival to a network's start: it then takes an eighth of the time."""

REACH_FRACTION = 0.15
"""The coarse search looks no farther than this part of the longest side of the field of view, whatever reach is set."""


def start_steps(case: Case, affine: AffineTransform, run: Run) -> Generator[Step, Control | None, Start | None]:
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
            with guarded(), threads_beside_kernels(run.device, grid):
                judge = level_optimizer(case, affine, Level(grid, 0, grid.shape), nothing, run)
                start, run.start = choose_start(starts, nothing, lambda velocity: judge.evaluate(velocity)[0], sha256)
        except OutOfMemoryError as error:  # the coarser levels may still fit, and each asks its own loss whether the start pays
            run.notices.append(f"{error} The starts could not be compared; the first, {starts[0].name}, was offered.")
            return starts[0]
    return start
