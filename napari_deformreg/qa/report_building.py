"""Builds a report: every number of a registration, part by part, so that progress is seen and a cancel is quick."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ParamSpec

import numpy as np

from ..errors import InputError
from ..result import Control, RegistrationResult, Step
from ..space import LabelMap, LandmarkPairs, Landmarks, Volume
from ..space.orientation import axis_codes
from .attention import things_to_check
from .consistency import Consistency, inverse_consistency
from .extremes import extreme_places, placed
from .foreground import Foreground, fixed_foreground
from .jacobian import FoldReport, FoldSummary, fold_report
from .landmarks import LandmarkErrors, landmark_errors
from .metrics import METRICS
from .overlap import StructureOverlap, overlap_steps
from .report import Report, Value
from .similarity import Similarity, similarities
from .volume_change import structure_changes


def report_steps(
    fixed: Volume,
    moving: Volume,
    moved: Volume,
    moving_before: Volume,
    result: RegistrationResult,
    *,
    fixed_mask: LabelMap | None = None,
    fixed_labels: LabelMap | None = None,
    moving_labels: LabelMap | None = None,
    moved_labels: LabelMap | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    created: str = "",
) -> Generator[Step, Control | None, Report]:
    """Judge a registration, part by part; see `build_report` for it in one go.

    Parameters
    ----------
    fixed, moving : Volume
        The two images on their own grids.
    moved, moving_before : Volume
        Moving, resampled on the fixed grid through the registration and through the headers alone.
    result : RegistrationResult
        The registration.
    fixed_mask : LabelMap, optional
        Where the fixed image counts, on the fixed grid; a threshold is used without it.
    fixed_labels, moved_labels : LabelMap, optional
        Structures on the fixed grid; overlap is measured when both are given.
    moving_labels : LabelMap, optional
        The moving structures on their own grid, for the state before and the volumes.
    fixed_landmarks, moving_landmarks : Landmarks, optional
        Pairs tied by name; errors are measured when both are given.
    created : str
        Date and time for the record; now (UTC) when left out.

    Raises
    ------
    InputError
        If something does not lie on the fixed grid, the mask is empty, or landmark names do not match.
    """
    for volume, role in ((moved, "moved"), (moving_before, "moving_before")):
        if volume.grid != fixed.grid:
            raise InputError(f"The {role} image must lie on the fixed grid {fixed.grid.shape}, not on {volume.grid.shape}; resample it.")
    if result.displacement.grid != fixed.grid:
        raise InputError(f"The displacement must lie on the fixed grid {fixed.grid.shape}, not on {result.displacement.grid.shape}.")
    foreground = fixed_foreground(fixed, fixed_mask)
    yield Step("evaluate", message="measuring landmarks")
    landmarks = None
    if fixed_landmarks is not None and moving_landmarks is not None:
        landmarks = landmark_errors(result, LandmarkPairs.match(fixed_landmarks, moving_landmarks))
    yield Step("evaluate", message="comparing structures", fraction=0.05)
    structures: tuple[StructureOverlap, ...] = ()
    if fixed_labels is not None and moved_labels is not None:
        structures = yield from overlap_steps(fixed_labels, moved_labels, moving_labels, 0.05, 0.55)
    yield Step("evaluate", message="looking for folds", fraction=0.55)
    folds = fold_report(result, foreground, fixed_labels)
    yield Step("evaluate", message="going there and back", fraction=0.75)
    consistency = inverse_consistency(result, foreground.mask, moving.grid)
    yield Step("evaluate", message="comparing intensities", fraction=0.8)
    after, before = similarities(fixed.data, [moved.data, moving_before.data], foreground.mask)
    yield Step("evaluate", message="volume change of each structure", fraction=0.93)
    changes = () if fixed_labels is None else structure_changes(fixed_labels, folds)
    values = (
        *_landmark_values(landmarks),
        *_structure_values(structures),
        *_similarity_values(after, before, foreground),
        *_fold_values(folds),
        *_field_values(result, foreground, consistency),
    )
    return Report(
        values=placed(values, extreme_places(result, foreground.mask, folds, consistency, landmarks)),
        landmarks=landmarks,
        structures=structures,
        folds=folds,
        consistency=consistency,
        structure_changes=changes,
        attention=things_to_check(result, landmarks, structures, folds, consistency, (before, after)),
        provenance=_provenance(fixed, moving, result, foreground, created),
    )


P = ParamSpec("P")


def _in_one_go(steps: Callable[P, Generator[Step, Control | None, Report]]) -> Callable[P, Report]:
    def build_report(*arguments: P.args, **keywords: P.kwargs) -> Report:
        running = steps(*arguments, **keywords)
        while True:
            try:
                next(running)
            except StopIteration as stop:
                report: Report = stop.value
                return report

    return build_report


build_report = _in_one_go(report_steps)
"""`report_steps` to its end: returns the report."""


def _value(metric: str, statistic: str, value: float | None, domain: str, n: int, before: float | None = None) -> Value:
    row = METRICS[metric]
    name = f"{metric}_{statistic}" if statistic else metric
    return Value(name, metric, statistic, value, before, row.unit, row.better, domain, row.definition, n)


_TAKEN: Mapping[str, Callable[[np.ndarray], Any]] = {
    "mean": np.mean,
    "median": np.median,
    "p95": lambda values: np.percentile(values, 95),
    "max": np.max,
}


def _landmark_values(landmarks: LandmarkErrors | None) -> Iterable[Value]:
    if landmarks is None or not len(landmarks):
        return
    for metric, domain, chosen in (
        ("tre_mm", "landmark pairs that did not drive the registration", ~landmarks.drove),
        ("fre_mm", "landmark pairs that drove the registration", landmarks.drove),
    ):
        after, before = landmarks.after_mm[chosen], landmarks.before_mm[chosen]
        for statistic, taken in _TAKEN.items() if len(after) else ():
            yield _value(metric, statistic, float(taken(after)), domain, len(after), float(taken(before)))
    domain = "landmark pairs"
    yield _value("landmark_residual_mm", "max", float(landmarks.inverse_residual_mm.max()), domain, len(landmarks))


def _structure_values(structures: tuple[StructureOverlap, ...]) -> Iterable[Value]:
    shared = [structure for structure in structures if structure.in_both]
    if not shared:
        return
    for metric, after_name, before_name in (
        ("dice", "dice_after", "dice_before"),
        ("hd95_mm", "hd95_after_mm", "hd95_before_mm"),
        ("mean_surface_distance_mm", "mean_surface_distance_after_mm", "mean_surface_distance_before_mm"),
    ):
        after = [getattr(s, after_name) for s in shared if getattr(s, after_name) is not None]
        before = [getattr(s, before_name) for s in shared if getattr(s, before_name) is not None]
        mean = float(np.mean(after)) if after else None
        mean_before = float(np.mean(before)) if before else None
        yield _value(metric, "mean", mean, "structures in both images", len(after), mean_before)


def _similarity_values(after: Similarity, before: Similarity, foreground: Foreground) -> Iterable[Value]:
    for metric in ("ncc", "lncc", "nmi"):
        yield _value(metric, "", getattr(after, metric), foreground.description, foreground.voxels, getattr(before, metric))


def _fold_values(folds: FoldReport) -> Iterable[Value]:
    for summary in (folds.foreground, folds.whole_grid):
        yield from _summary_values(summary)
    yield _value("affine_determinant", "", folds.affine_determinant, "everywhere", 1)


def _summary_values(summary: FoldSummary) -> Iterable[Value]:
    numbers: list[tuple[str, str, float | None]] = [
        ("fold_digital_fraction", "", summary.digital_percent),
        ("ndv", "", summary.ndv_percent),
        ("fold_central_fraction", "", summary.central_percent),
        ("digital_minimum", "", summary.digital_minimum),
        ("jacobian_determinant", "min", summary.jacobian_min),
        *[("jacobian_determinant", f"p{p}", v) for p, v in summary.jacobian_percentiles.items()],
        ("jacobian_determinant", "max", summary.jacobian_max),
        ("sd_log_jacobian", "", summary.sd_log_jacobian),
        ("sd_log_jacobian_l2r", "", summary.sd_log_jacobian_l2r),
    ]
    for metric, statistic, number in numbers:
        yield _value(metric, statistic, number, summary.domain, summary.voxels)


def _field_values(result: RegistrationResult, foreground: Foreground, consistency: Consistency) -> Iterable[Value]:
    domain, error = foreground.description, consistency.error_mm
    for statistic in ("mean", "p95", "max"):
        yield _value("inverse_consistency_mm", statistic, float(_TAKEN[statistic](error)) if error.size else None, domain, error.size)
    inside = result.displacement.displacement_mm[foreground.mask]
    length = np.sqrt(np.einsum("nc,nc->n", inside, inside))
    for statistic in ("median", "p95", "max"):
        yield _value("displacement_mm", statistic, float(_TAKEN[statistic](length)), foreground.description, length.size)
    outside, before = consistency.outside_moving_percent, consistency.outside_moving_before_percent
    yield _value("outside_moving_fraction", "", outside, domain, consistency.points, before)


def _provenance(fixed: Volume, moving: Volume, result: RegistrationResult, foreground: Foreground, created: str) -> dict[str, Any]:
    origin = result.provenance
    return {
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "software": "napari-deformreg",
        "version": origin.version,
        "device": origin.device,
        "seconds": dict(origin.seconds),
        "seconds_total": sum(origin.seconds.values()),
        "status": {"name": result.status.name, "advice": result.status.value},
        "start": None if origin.start is None else {**vars(origin.start), "text": origin.start.text},
        "notices": [*origin.notices, *fixed.notices, *moving.notices],
        "libraries": dict(origin.libraries),
        "origin": None if origin.origin is None else asdict(origin.origin),
        "driving_points_mm": None if origin.driving_points_mm is None else [list(point) for point in origin.driving_points_mm],
        "inputs": [_input(fixed, "fixed"), _input(moving, "moving")],
        "foreground": {"description": foreground.description, "voxels": foreground.voxels},
        "affine_matrix_ras_mm": result.affine.matrix.tolist(),
        "settings": result.settings.model_dump(mode="json"),
        "intended_use": "Research use only. Not a medical device.",
    }


def _input(volume: Volume, role: str) -> dict[str, Any]:
    grid = volume.grid
    return {
        "role": role,
        "name": volume.name,
        "shape": list(grid.shape),
        "spacing_mm": [round(float(s), 6) for s in grid.spacing],
        "orientation": axis_codes(grid),
        "affine_ras_mm": grid.affine.tolist(),
        "intensity_range": [float(volume.data.min()), float(volume.data.max())],
    }
