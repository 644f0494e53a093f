"""What a figure is judged by: tolerances as data, with their source, read from and written to JSON.

The defaults follow AAPM TG-132 (Brock et al., Med Phys 2017, doi 10.1002/mp.12256), Table III. No later review found thresholds that hold
everywhere (Nenoff et al. 2023, doi 10.1088/1361-6560/ad0d8a): the number, its domain and its sample size are what counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import SettingsError
from .metrics import METRICS

LimitUnit = Literal["largest voxel", "mm", "1", "%"]


class Frozen(BaseModel):
    """Base of the models of a review."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Grade(StrEnum):
    """How a figure stands against its tolerance; there is no grade of a whole registration."""

    GREEN = "green"
    """Within the tolerance."""
    AMBER = "amber"
    """Beyond it, within the wider limit."""
    RED = "red"
    """Beyond both."""
    NOT_MEASURED = "not measured"
    """There is a tolerance, but nothing to measure it on."""
    INFO = "info"
    """No tolerance, or a value that proves nothing: for information only."""


class Tolerance(Frozen):
    """Limits of one figure."""

    figure: str
    """The figure's name: a metric, with its statistic where it has one, e.g. `tre_mm_mean`, or `dice` for each structure."""
    limit: float
    """Green up to here (down to here, where higher is better)."""
    amber: float | None = None
    """Amber up to here, red beyond; without it there is no amber."""
    unit: LimitUnit
    """What the limits are given in; `largest voxel`: times the largest voxel dimension of the two images."""
    better: Literal["lower", "higher"] = "lower"
    """Which way is better."""
    proves: bool = True
    """Whether being within the limit speaks for the registration; if not, such a value is for information and never green."""
    source: Annotated[str, Field(min_length=1)]
    """Where the limits come from."""

    @model_validator(mode="after")
    def _checked(self) -> Tolerance:
        wider = self.amber is None or (self.amber >= self.limit if self.better == "lower" else self.amber <= self.limit)
        if not wider:
            raise ValueError(f"the amber limit of {self.figure} ({self.amber:g}) must be wider than the green one ({self.limit:g})")
        return self

    def limits(self, largest_voxel_mm: float) -> tuple[float, float | None]:
        """Give the green and the amber limit in the figure's own unit."""
        factor = largest_voxel_mm if self.unit == "largest voxel" else 1.0
        return self.limit * factor, None if self.amber is None else self.amber * factor


class Tolerances(Frozen):
    """What a review judges by; as JSON, a file that people edit."""

    name: str
    """For people."""
    source: str
    """Where the set comes from, and what to know about it."""
    tolerances: tuple[Tolerance, ...]
    """One a figure."""

    @model_validator(mode="after")
    def _checked(self) -> Tolerances:
        names = [tolerance.figure for tolerance in self.tolerances]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"there is more than one tolerance for {', '.join(twice)}")
        unknown = [name for name in names if metric_of(name) is None]
        if unknown:
            raise ValueError(f"there is no figure {unknown[0]!r}; expected a metric with its statistic, such as tre_mm_mean")
        return self

    def of(self, figure: str) -> Tolerance | None:
        """Give the tolerance of a figure, or None."""
        return next((tolerance for tolerance in self.tolerances if tolerance.figure == figure), None)

    def with_tolerance(self, tolerance: Tolerance) -> Tolerances:
        """Return a set with this tolerance instead of the figure's old one, named as changed.

        Raises
        ------
        SettingsError
            If the figure is unknown.
        """
        others = tuple(old for old in self.tolerances if old.figure != tolerance.figure)
        name = self.name if self.name.endswith(_CHANGED) else self.name + _CHANGED
        return Tolerances.from_mapping({"name": name, "source": self.source, "tolerances": (*others, tolerance)})

    @classmethod
    def tg132(cls, stereotactic: bool = False) -> Tolerances:
        """Return Table III of TG-132, for general use or for stereotactic purposes (1 mm at landmarks)."""
        return cls(name="AAPM TG-132" + (", stereotactic" if stereotactic else ""), source=_SOURCE, tolerances=tuple(_rows(stereotactic)))

    @classmethod
    def from_json(cls, text: str) -> Tolerances:
        """Read a set from JSON.

        Raises
        ------
        SettingsError
            If it is no JSON, or a value in it cannot be used; says which.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(f"The tolerances are not valid JSON: {error}. Start from what `--write-tolerances` gives.") from error
        return cls.from_mapping(given)

    @classmethod
    def from_mapping(cls, given: Any) -> Tolerances:
        """Read a set from nested mappings; see `from_json`."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(f"These tolerances cannot be used: {first_mistake(error)}.") from error

    def to_json(self) -> str:
        """Write the set as JSON that `from_json` reads back."""
        return self.model_dump_json(indent=2)


def first_mistake(error: ValidationError) -> str:
    """Tell the first of a model's mistakes in one phrase."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    got = f"; got {first['input']!r:.80}" if isinstance(first.get("input"), (str, int, float)) else ""
    return f"{where or 'the whole'}: {first['msg']}{got}"


def metric_of(figure: str) -> str | None:
    """Name the metric that a figure is a statistic of, or None."""
    fitting = [name for name in METRICS if figure == name or figure.startswith(name + "_")]
    return max(fitting, key=len, default=None)


_CHANGED = " (changed)"

_SOURCE = (
    "Brock et al., AAPM TG-132, Med Phys 2017;44:e43, doi 10.1002/mp.12256, Table III, as quoted by later literature; read the report "
    "itself before you rely on a limit. Amber limits are this program's, where TG-132 names a single one. No thresholds hold for every "
    "purpose (doi 10.1088/1361-6560/ad0d8a): edit them."
)

_VOXEL = "TG-132 Table III: the largest voxel dimension of the two images (about 2 to 3 mm). Amber: up to twice that (this program's)."


def _rows(stereotactic: bool) -> Iterable[Tolerance]:
    if stereotactic:
        near = "TG-132 Table III: 1 mm for stereotactic use. Amber: up to 2 mm (this program's)."
        yield Tolerance(figure="tre_mm_mean", limit=1.0, amber=2.0, unit="mm", source=near)
    else:
        yield Tolerance(figure="tre_mm_mean", limit=1.0, amber=2.0, unit="largest voxel", source=_VOXEL)
    contours = _VOXEL + " Or the contouring uncertainty."
    yield Tolerance(figure="mean_surface_distance_mm", limit=1.0, amber=2.0, unit="largest voxel", source=contours)
    yield Tolerance(
        figure="dice", limit=0.9, amber=0.8, unit="1", better="higher",
        source="TG-132 Table III: about 0.80 to 0.90, within contouring uncertainty; small structures score lower at the same distance.",
    )  # fmt: skip
    for figure in ("fold_digital_fraction", "fold_central_fraction"):
        yield Tolerance(figure=figure, limit=0.0, unit="%", source="TG-132 Table III: no negative values of the Jacobian determinant.")
    for statistic in ("mean", "p95"):
        yield Tolerance(
            figure=f"inverse_consistency_mm_{statistic}", limit=1.0, amber=2.0, unit="largest voxel", proves=False,
            source=_VOXEL + " A large error rules a registration out; a small one proves nothing.",
        )  # fmt: skip
