"""Figures beside their tolerances: each graded on its own, with domain, sample size and definition; never one tick for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .metrics import METRICS
from .report import statistic_text
from .tolerances import Frozen, Grade, Tolerance, Tolerances, metric_of


class GradedFigure(Frozen):
    """One figure of a review, ready to be read alone."""

    figure: str
    """Its name, e.g. `tre_mm_mean`; the same for every structure."""
    title: str
    """For people."""
    structure: str = ""
    """The structure it belongs to, if it belongs to one."""
    value: float | None
    """None where it could not be measured."""
    before: float | None = None
    """By the headers alone, where that makes sense."""
    unit: str
    """`1` for a plain number."""
    domain: str
    """Over what it was taken."""
    n: int
    """Number of points, voxels or structures behind it."""
    definition: str
    """Exactly what was computed."""
    place_mm: tuple[float, float, float] | None = None
    """Where to look: the place of an extreme value, or a place in the structure (RAS+ mm)."""
    remark: str = ""
    """Why it is not graded, although its kind has a tolerance; empty if it may be."""
    tolerance: Tolerance | None = None
    """What it is judged by."""
    limit: float | None = None
    """Its green limit in `unit`."""
    amber: float | None = None
    """Its amber limit in `unit`."""
    grade: Grade = Grade.INFO
    """How it stands."""
    why: str = ""
    """The grade in words."""

    @property
    def tolerance_text(self) -> str:
        """The limits in words; empty without a tolerance."""
        if self.tolerance is None or self.limit is None:
            return ""
        unit = "" if self.unit == "1" else f" {self.unit}"
        wider = "" if self.amber is None else f", amber {self._sign} {self.amber:.3g}{unit}"
        voxel = f" ({self.tolerance.limit:g} × largest voxel)" if self.tolerance.unit == "largest voxel" else ""
        return f"{self._sign} {self.limit:.3g}{unit}{wider}{voxel}"

    @property
    def limits_text(self) -> str:
        """The same for a narrow column: the green limit, a stroke, the amber one."""
        if self.tolerance is None or self.limit is None:
            return ""
        wider = "" if self.amber is None else f" | {self.amber:.3g}"
        return f"{self._sign} {self.limit:.3g}{wider}{'' if self.unit == '1' else f' {self.unit}'}"

    @property
    def excess(self) -> float:
        """How far it lies beyond its green limit: 0 at that limit, 1 at the amber one; infinite beyond a limit that has no amber."""
        if self.value is None or self.limit is None or self.tolerance is None:
            return 0.0
        beyond = (self.value - self.limit) * (1 if self.tolerance.better == "lower" else -1)
        band = 0.0 if self.amber is None else abs(self.amber - self.limit)
        return beyond / band if band else math.copysign(math.inf, beyond) if beyond else 0.0

    @property
    def _sign(self) -> str:
        return "≤" if self.tolerance is not None and self.tolerance.better == "lower" else "≥"


WORST_FIRST = (Grade.RED, Grade.AMBER, Grade.GREEN, Grade.NOT_MEASURED, Grade.INFO)


def worst_first(figures: Iterable[GradedFigure]) -> list[GradedFigure]:
    """Sort by gravity: by grade, then those farthest beyond their tolerance; as they come where nothing tells them apart."""
    return sorted(figures, key=lambda figure: (WORST_FIRST.index(figure.grade), -figure.excess))


def graded(figures: Iterable[GradedFigure], tolerances: Tolerances, largest_voxel_mm: float) -> tuple[GradedFigure, ...]:
    """Grade measured figures, and list each tolerance for which nothing was measured.

    Parameters
    ----------
    figures : iterable of GradedFigure
        Earlier grades are replaced; entries that were not measured are dropped.
    tolerances : Tolerances
        What to judge by.
    largest_voxel_mm : float
        Largest voxel dimension of the two images.

    Returns
    -------
    tuple of GradedFigure
        Those with a tolerance first, in its order; then those for information.
    """
    measured = [_judged(figure, tolerances, largest_voxel_mm) for figure in figures if figure.value is not None]
    found = {figure.figure for figure in measured if figure.tolerance is not None}
    missing = [_missing(t, largest_voxel_mm) for t in tolerances.tolerances if t.figure not in found]
    order = {tolerance.figure: n for n, tolerance in enumerate(tolerances.tolerances)}
    both = [*(figure for figure in measured if figure.tolerance is not None), *missing]
    judged = sorted(both, key=lambda figure: order[figure.figure])
    return (*judged, *(figure for figure in measured if figure.tolerance is None))


def grade_of(value: float | None, tolerance: Tolerance | None, largest_voxel_mm: float) -> Grade:
    """Grade one value in its figure's unit."""
    if tolerance is None:
        return Grade.INFO
    if value is None:
        return Grade.NOT_MEASURED
    limit, amber = tolerance.limits(largest_voxel_mm)
    sign = 1 if tolerance.better == "lower" else -1
    if sign * value <= sign * limit:
        return Grade.GREEN if tolerance.proves else Grade.INFO
    return Grade.AMBER if amber is not None and sign * value <= sign * amber else Grade.RED


def counts(figures: Sequence[GradedFigure]) -> dict[Grade, int]:
    """Count the figures that have a tolerance, by grade."""
    judged = [figure.grade for figure in figures if figure.tolerance is not None]
    return {grade: judged.count(grade) for grade in Grade}


def _judged(figure: GradedFigure, tolerances: Tolerances, largest_voxel_mm: float) -> GradedFigure:
    tolerance = None if figure.remark else tolerances.of(figure.figure)
    if tolerance is None:
        why = figure.remark or "No tolerance is set for it."
        return figure.model_copy(update={"tolerance": None, "limit": None, "amber": None, "grade": Grade.INFO, "why": why})
    limit, amber = tolerance.limits(largest_voxel_mm)
    grade = grade_of(figure.value, tolerance, largest_voxel_mm)
    return figure.model_copy(update={"tolerance": tolerance, "limit": limit, "amber": amber, "grade": grade, "why": _WHY[grade]})


_WHY = {
    Grade.GREEN: "Within the tolerance.",
    Grade.AMBER: "Beyond the tolerance, within the wider limit.",
    Grade.RED: "Beyond the tolerance.",
    Grade.INFO: "Within the limit, which proves nothing: only a bad value tells.",
    Grade.NOT_MEASURED: "Not measured.",
}


def _missing(tolerance: Tolerance, largest_voxel_mm: float) -> GradedFigure:
    name = metric_of(tolerance.figure)
    metric = METRICS[str(name)]
    limit, amber = tolerance.limits(largest_voxel_mm)
    return GradedFigure(
        figure=tolerance.figure, title=figure_title(tolerance.figure), value=None, unit=metric.unit, domain="nothing to measure it on", n=0,
        definition=metric.definition, tolerance=tolerance, limit=limit, amber=amber, grade=Grade.NOT_MEASURED,
        why=f"Not measured: it needs {metric.needs}." if metric.needs != "nothing more" else "Not measured.",
    )  # fmt: skip


def figure_title(figure: str) -> str:
    """Name a figure for people."""
    name = metric_of(figure)
    if name is None:
        return figure
    statistic = figure.removeprefix(name).removeprefix("_")
    return METRICS[name].title + (f", {statistic_text(statistic) or statistic}" if statistic else "")
