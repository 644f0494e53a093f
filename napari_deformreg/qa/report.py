"""The report: every number of one registration, each with unit, domain and definition, and where it all came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..space import Volume
from .consistency import Consistency
from .jacobian import FoldReport
from .landmarks import LandmarkErrors
from .metrics import METRICS, Better
from .overlap import StructureOverlap, structure_rows
from .volume_change import StructureChange

REGIONS_AT_MOST = 1000
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
    place_mm : tuple of float or None
        Where it is decided, for a largest or smallest value: a world point (RAS+ mm) of the fixed image.
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
    place_mm: tuple[float, float, float] | None = None


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
                    "regions": [vars(region) for region in folds.regions[:REGIONS_AT_MOST]],
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


def _plain(thing: Any) -> Any:
    """Turn mappings, sequences and numbers into what JSON can hold."""
    if isinstance(thing, Mapping):
        return {str(key): _plain(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_plain(value) for value in thing]
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else None
    return thing
