"""The report: every number of one registration, each with unit, domain and definition, and where it all came from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ..errors import InputError
from ..result import RegistrationResult
from ..space import LabelMap, LandmarkPairs, Landmarks, Volume
from ..space.orientation import axis_codes
from .attention import things_to_check
from .consistency import Consistency, inverse_consistency
from .foreground import Foreground, fixed_foreground
from .jacobian import FoldReport, FoldSummary, fold_report
from .landmarks import LandmarkErrors, landmark_errors
from .metrics import METRICS, Better
from .overlap import StructureOverlap, structure_overlaps, structure_rows
from .similarity import Similarity, similarities
from .volume_change import StructureChange, structure_changes

REGIONS_IN_JSON = 200
"""A field that folds in more places is not read region by region."""


@dataclass(frozen=True)
class Value:
    """One number, ready to be read alone.

    Attributes
    ----------
    name : str
        Unique within its domain, e.g. ``"tre_mm_mean"``.
    metric, statistic : str
        Key in METRICS, and what was taken of it (``"mean"``, ``"p95"``, or empty).
    value, before : float or None
        After the registration, and by the headers alone where that makes sense; None where it cannot be computed.
    unit, better, definition : str
        From METRICS.
    domain : str
        Over what it was taken.
    n : int
        Number of points, voxels or structures behind it.
    """

    name: str
    metric: str
    statistic: str
    value: float | None
    before: float | None
    unit: str
    better: Better
    domain: str
    definition: str
    n: int


@dataclass(frozen=True, eq=False)
class Report:
    """Everything there is to say about one registration.

    Attributes
    ----------
    values : tuple of Value
        All numbers.
    landmarks : LandmarkErrors or None
        Point by point.
    structures : tuple of StructureOverlap
        Structure by structure; empty without labels.
    folds : FoldReport
        Folds and volume changes.
    consistency : Consistency
        Inverse consistency, as numbers and as a map.
    structure_changes : tuple of StructureChange
        Volume changes and folds, structure by structure; empty without fixed labels.
    attention : tuple of str
        What a reader should look at first, worst first; empty when nothing stands out.
    provenance : mapping
        Inputs, settings, seconds, device, versions, notices, status; plain values for JSON.
    """

    values: tuple[Value, ...]
    landmarks: LandmarkErrors | None
    structures: tuple[StructureOverlap, ...]
    folds: FoldReport
    consistency: Consistency
    structure_changes: tuple[StructureChange, ...]
    attention: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def jacobian(self) -> Volume:
        """Local volume change of fixed_to_moving, the affine included, on the fixed grid."""
        return self.folds.jacobian

    def value(self, name: str) -> Value:
        """Look up a number by its name; where it was taken over two domains, the one over the foreground.

        Raises
        ------
        InputError
            If the report has no such number.
        """
        for value in self.values:
            if value.name == name:
                return value
        raise InputError(f"The report has no value {name!r}. It has: {', '.join(sorted({v.name for v in self.values}))}.")

    def to_mapping(self) -> dict[str, Any]:
        """Give the report as plain mappings, lists, numbers and words; a number that does not exist is None."""
        folds = self.folds
        plain: dict[str, Any] = _plain(
            {
                "format": "deformreg-report/1",
                "attention": list(self.attention),
                "values": [vars(value) for value in self.values],
                "landmarks": None if self.landmarks is None else self.landmarks.rows(),
                "structures": structure_rows(self.structures),
                "structure_changes": [vars(change) for change in self.structure_changes],
                "folds": {
                    "foreground": vars(folds.foreground),
                    "whole_grid": vars(folds.whole_grid),
                    "region_count": len(folds.regions),
                    "regions": [vars(region) for region in folds.regions[:REGIONS_IN_JSON]],
                },
                "provenance": self.provenance,
            }
        )
        return plain

    def to_json(self) -> str:
        """Write the report as JSON (numbers that do not exist are null)."""
        return json.dumps(self.to_mapping(), indent=2, allow_nan=False)

    def to_text(self) -> str:
        """Write the main numbers and what needs attention for a terminal."""
        lines = [f"{'':38}{'before':>10}{'after':>10}"]
        for value in headline(self):
            title = METRICS[value.metric].title + (f" ({_STATISTICS[value.statistic]})" if value.statistic else "")
            unit = "" if value.unit == "1" else f" {value.unit}"
            lines.append(f"{title:38}{number_text(value.before):>10}{number_text(value.value):>10}{unit}")
        lines += [f"{self.provenance['status']['advice']}"]
        lines += [f"! {sentence}" for sentence in self.attention]
        return "\n".join(lines)


_STATISTICS = {"mean": "mean", "median": "median", "p95": "95 %", "max": "max", "min": "min", "p1": "1 %", "p50": "median", "p99": "99 %"}

_HEADLINE = (
    "tre_mm_mean", "tre_mm_median", "tre_mm_max", "fre_mm_mean", "dice_mean", "hd95_mm_mean", "mean_surface_distance_mm_mean",
    "ncc", "lncc", "nmi", "fold_digital_fraction", "ndv", "jacobian_determinant_p1", "jacobian_determinant_p99", "sd_log_jacobian",
    "inverse_consistency_mm_p95", "displacement_mm_median", "displacement_mm_max", "outside_moving_fraction",
)  # fmt: skip


def headline(report: Report) -> list[Value]:
    """Pick the numbers that people read first, those over the foreground."""
    first: dict[str, Value] = {}
    for value in report.values:
        first.setdefault(value.name, value)
    return [first[name] for name in _HEADLINE if name in first]


def statistic_text(statistic: str) -> str:
    """Write a statistic's key for people."""
    return _STATISTICS.get(statistic, "")


def number_text(number: float | None) -> str:
    """Write a number for people: three significant digits, whole large numbers, a dash for what does not exist."""
    if number is None or not math.isfinite(number):
        return "–"
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        return f"{number:.0f}"
    if abs(number) < 1e-3:
        return f"{number:.1e}"
    return f"{number:.{max(0, 2 - math.floor(math.log10(abs(number))))}f}"


def build_report(
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
) -> Report:
    """Judge a registration.

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
    landmarks = None
    if fixed_landmarks is not None and moving_landmarks is not None:
        landmarks = landmark_errors(result, LandmarkPairs.match(fixed_landmarks, moving_landmarks))
    structures: tuple[StructureOverlap, ...] = ()
    if fixed_labels is not None and moved_labels is not None:
        structures = structure_overlaps(fixed_labels, moved_labels, moving_labels)
    folds = fold_report(result, foreground, fixed_labels)
    consistency = inverse_consistency(result, foreground.mask, moving.grid)
    after, before = similarities(fixed.data, [moved.data, moving_before.data], foreground.mask)
    values = (
        *_landmark_values(landmarks),
        *_structure_values(structures),
        *_similarity_values(after, before, foreground),
        *_fold_values(folds),
        *_field_values(result, foreground, consistency),
    )
    return Report(
        values=values,
        landmarks=landmarks,
        structures=structures,
        folds=folds,
        consistency=consistency,
        structure_changes=() if fixed_labels is None else structure_changes(fixed_labels, folds),
        attention=things_to_check(result, landmarks, structures, folds, consistency, (before, after)),
        provenance=_provenance(fixed, moving, result, foreground, created),
    )


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


def _plain(thing: Any) -> Any:
    """Turn mappings, sequences and numbers into what JSON can hold."""
    if isinstance(thing, Mapping):
        return {str(key): _plain(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_plain(value) for value in thing]
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else None
    return thing
