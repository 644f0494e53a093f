"""A region of a session solved again: harder, softer, or as one rigid piece."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...result import CorrectionKind
from ...settings import CorrectionSettings
from ...space import Box, LandmarkPairs, Region
from ..kernels import cpu
from .fields import composed, reach_voxels
from .regions import (
    STEPS_HARDER,
    STIFF_VOX,
    RegionKind,
    changed_settings,
    check_kind,
    embedded,
    region_window,
    rigid_displacement,
    softened,
)
from .settle import Settled, settle
from .solve import Place, Pulls, image_grids, refined_velocity
from .task import CONTEXT_VOX, Task

if TYPE_CHECKING:
    from .session import CorrectionSession

WIDENED_TIMES = 4
"""A rigid region's margin grows at most to five times what was asked for."""


def resolved(
    session: CorrectionSession, region: Region, kind: RegionKind, settings: CorrectionSettings, pairs: LandmarkPairs,
    weights: Mapping[str, float] | None,
) -> tuple[Task, Settled]:
    """Solve a region again against the present fields; see `CorrectionSession.resolve`."""
    check_kind(kind)
    if kind == "rigid":
        return _stiffened(session, region, settings, pairs)
    task = _region_task(session, region, kind, settings.margin_mm, pairs, weights)
    place, present = task.place, task.present
    base = present if kind == "harder" else softened(present, place.window, place.grid, settings.margin_mm)
    steps = settings.steps * (STEPS_HARDER if kind == "harder" else 1)
    velocity, lattice = refined_velocity(
        session.images.fixed_in(place.box), session.images.carried_in(place.box, base), place,
        image_grids(place.box, session.fixed_grid), changed_settings(session.settings, kind), settings.points_weight, steps, base,
    )

    def change(part: float) -> tuple[np.ndarray, np.ndarray]:
        start = present + part * (base - present)
        flow, back = lattice.full_flow(part * velocity), lattice.full_flow(part * velocity, -1.0)
        return composed(start, flow), cpu.compose(back, -part * (base - present))

    return task, settle(present, change, place, session.settings.folds.margin)


def _stiffened(session: CorrectionSession, region: Region, settings: CorrectionSettings, pairs: LandmarkPairs) -> tuple[Task, Settled]:
    """Make a region rigid; where its margin folds, a wider one is tried."""
    margin_mm = settings.margin_mm
    task, settled = _stiffened_within(session, region, margin_mm, pairs)
    for _ in range(WIDENED_TIMES):
        if settled.part == 1:
            break
        margin_mm *= 1.5
        task, settled = _stiffened_within(session, region, margin_mm, pairs)
        task.notices.append(f"The margin was widened to {margin_mm:.0f} mm, as a narrower one folds.")
    return task, settled


def _stiffened_within(session: CorrectionSession, region: Region, margin_mm: float, pairs: LandmarkPairs) -> tuple[Task, Settled]:
    task = _region_task(session, region, "rigid", margin_mm, pairs, None)
    place, present = task.place, task.present
    inside = embedded(region, place.box)
    stiff = rigid_displacement(present, inside, place.grid, session.automatic.affine)

    def change(part: float) -> tuple[np.ndarray, np.ndarray]:
        blend = np.ascontiguousarray(part * place.window * (stiff - present), dtype=np.float32)
        return present + blend, -blend

    settled = settle(present, change, place, session.settings.folds.margin)
    bent = float(np.abs(settled.after_vox - stiff)[:, inside].max())
    return task, settled if settled.part < 1 or bent < STIFF_VOX else replace(settled, part=0.99)


def _region_task(
    session: CorrectionSession, region: Region, kind: CorrectionKind, margin_mm: float, pairs: LandmarkPairs,
    weights: Mapping[str, float] | None,
) -> Task:
    """Find the box and the window of a region."""
    started, grid = time.perf_counter(), session.fixed_grid
    reach = reach_voxels(grid, margin_mm, CONTEXT_VOX)
    corners = np.array([region.box.start, region.box.stop], dtype=np.float64) - [[0.0], [1.0]]
    box = Box.around(corners, reach, grid.shape)
    if box is None or any(stop > size for stop, size in zip(region.box.stop, grid.shape, strict=True)):
        raise InputError(f"The region reaches beyond the fixed image's grid {grid.shape}; expected it drawn on that image.")
    window = region_window(embedded(region, box), box.grid(grid), margin_mm)
    given = np.array([1.0 if weights is None else float(weights.get(name, 1.0)) for name in pairs.names])
    inside = box.grid(grid).contains(pairs.fixed_points) & (given > 0)
    pulls = Pulls(pairs.fixed_points[inside], session.carried_back(pairs.moving_points[inside]), given[inside])
    size = 0.5 * float(np.linalg.norm(grid.spacing * np.array(region.box.shape)))
    place = Place.region(box, grid, window, margin_mm + size, pulls)
    return Task(kind, place, session.fields.forward_in(box), pairs, given, np.zeros((0, 3)), margin_mm, [], started)
