"""From a report to a review: which of its numbers are graded, and the rows of the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..result import TransformFile
from .grading import GradedFigure, figure_title
from .jacobian import FoldRegion, FoldReport, FoldSummary
from .metrics import METRICS
from .overlap import StructureOverlap
from .report import Report, Value
from .review import REGIONS_AT_MOST, ImageFacts, Review, Subject, now
from .review_tables import ConsistencyRow, FoldCount, FoldRow, LandmarkRow, StructureRow
from .tolerances import Grade, Tolerances
from .volume_change import StructureChange

OWN_INVERSE = "exported with the registration (the velocity integrated backwards, then refined)"

STILL_VOX = 1e-3
"""A field that moves nothing farther than this beside its affine is an affine, written as a field."""


def build_review(
    report: Report,
    tolerances: Tolerances | None = None,
    *,
    created: str = "",
) -> Review:
    """Grade a report's numbers and lay out the tables.

    Parameters
    ----------
    report : Report
        The numbers.
    tolerances : Tolerances, optional
        What to judge by; TG-132's Table III when left out.
    created : str
        Date and time for the record; now (UTC) when left out.
    """
    tolerances = tolerances or Tolerances.tg132()
    origin, folds = report.provenance, report.folds
    elsewhere = origin["origin"] or {"made_by": origin["software"], "files": [], "inverse": OWN_INVERSE}
    review = Review(
        created=created or now(),
        software=f"{origin['software']} {origin['version']}",
        subject=Subject(
            images=(_facts(origin["inputs"][0]), _facts(origin["inputs"][1])), made_by=elsewhere["made_by"],
            transforms=tuple(TransformFile(**file) for file in elsewhere["files"]), inverse=elsewhere["inverse"],
            foreground=folds.foreground.domain,
        ),
        attention=report.attention,
        tolerances=tolerances,
        figures=tuple(_figures(report)),
        fold_counts=tuple(_fold_counts(folds)),
        fold_regions=len(folds.regions),
        folds=tuple(_fold(region) for region in folds.regions[:REGIONS_AT_MOST]),
        landmarks=tuple(_landmarks(report)),
        structures=tuple(_structures(report)),
        consistency=_consistency(report, elsewhere["inverse"]),
    )  # fmt: skip
    return review.graded_by(tolerances)


def _facts(entry: Mapping[str, Any]) -> ImageFacts:
    return ImageFacts.model_validate({name: entry[name] for name in ImageFacts.model_fields})


def _fold(region: FoldRegion) -> FoldRow:
    return FoldRow.model_validate({name: getattr(region, name) for name in FoldRow.model_fields})


def _figures(report: Report) -> Iterable[GradedFigure]:
    still = (report.value("displacement_mm_max").value or 0) < STILL_VOX * float(report.folds.grid.spacing.min())
    seen: set[str] = set()
    for value in report.values:
        if value.value is None or (value.metric in ("dice", "hd95_mm", "mean_surface_distance_mm") and value.statistic == "mean"):
            continue  # a mean over structures hides the worst: each is graded on its own
        remark = "Shown beside; the fixed foreground is what counts." if value.name in seen else _remark(value, still)
        seen.add(value.name)
        yield _figure(value, remark)
    for structure in report.structures:
        yield from _overlap_figures(structure)
    for change in report.structure_changes:
        yield from _change_figures(change)


def _remark(value: Value, still: bool) -> str:
    if still and value.metric.startswith(("fold_", "inverse_consistency")):
        return "There is no deformation beside the affine: true by definition, not a merit."
    if value.metric in ("ncc", "lncc", "nmi"):
        return "Similarity has no tolerance: registrations maximize it, and a wrong one may score high."
    return ""


def _figure(value: Value, remark: str) -> GradedFigure:
    return GradedFigure(
        figure=value.name, title=figure_title(value.name), value=value.value, before=value.before, unit=value.unit, domain=value.domain,
        n=value.n, definition=value.definition, remark=remark,
    )  # fmt: skip


def _overlap_figures(structure: StructureOverlap) -> Iterable[GradedFigure]:
    if not structure.in_both:
        return
    for name, after, before in (
        ("dice", structure.dice_after, structure.dice_before),
        ("mean_surface_distance_mm", structure.mean_surface_distance_after_mm, structure.mean_surface_distance_before_mm),
        ("hd95_mm", structure.hd95_after_mm, structure.hd95_before_mm),
    ):
        if after is not None:
            yield _of_structure(name, after, structure.name, structure.voxels, before)


def _change_figures(change: StructureChange) -> Iterable[GradedFigure]:
    for statistic in ("p1", "p99"):
        yield _of_structure("structure_volume_change", change.volume_change[statistic], change.name, change.voxels, statistic=statistic)


def _of_structure(
    metric: str, value: float, structure: str, n: int, before: float | None = None, statistic: str = ""
) -> GradedFigure:
    figure = f"{metric}_{statistic}" if statistic else metric
    return GradedFigure(
        figure=figure, title=figure_title(figure), structure=structure, value=value, before=before, unit=METRICS[metric].unit,
        domain=f"structure {structure} on the fixed grid", n=n, definition=METRICS[metric].definition,
    )  # fmt: skip


def _fold_counts(folds: FoldReport) -> Iterable[FoldCount]:
    for summary in (folds.foreground, folds.whole_grid):
        yield from _counts_over(summary, flat=folds.grid.is_2d)


def _counts_over(summary: FoldSummary, flat: bool) -> Iterable[FoldCount]:
    for test, count, percent, metric in (
        ("four determinants" if flat else "ten determinants", summary.digital_count, summary.digital_percent, "fold_digital_fraction"),
        ("central differences", summary.central_count, summary.central_percent, "fold_central_fraction"),
    ):
        yield FoldCount.model_validate(
            {
                "test": test, "domain": summary.domain, "voxels": summary.voxels, "folded": count, "percent": percent,
                "definition": METRICS[metric].definition,
            }
        )  # fmt: skip


def _landmarks(report: Report) -> Iterable[LandmarkRow]:
    for row in () if report.landmarks is None else report.landmarks.rows():

        def point(title: str, row: dict[str, Any] = row, suffix: str = "") -> tuple[float, float, float]:
            return (row[f"{title}_x{suffix}"], row[f"{title}_y{suffix}"], row[f"{title}_z{suffix}"])

        yield LandmarkRow(
            name=row["name"],
            kind="fiducial" if row["drove_registration"] else "target",
            before_mm=row["tre_before_mm"],
            after_mm=row["tre_after_mm"],
            before_axes_mm=point("difference_before", suffix="_mm"),
            after_axes_mm=point("difference_after", suffix="_mm"),
            fixed_mm=point("fixed"),
            moving_mm=point("moving"),
            moving_in_fixed_mm=point("moving_in_fixed"),
            inverse_residual_mm=row["inverse_residual_mm"],
            outside_field=row["outside_field"],
            grade=Grade.INFO,
        )


def _structures(report: Report) -> Iterable[StructureRow]:
    overlaps = {overlap.label: overlap for overlap in report.structures}
    changes = {change.label: change for change in report.structure_changes}
    for label in sorted({*overlaps, *changes}):
        yield _structure(label, overlaps.get(label), changes.get(label))


def _structure(label: int, overlap: StructureOverlap | None, change: StructureChange | None) -> StructureRow:
    given = {} if overlap is None else {name: value for name, value in vars(overlap).items() if name in StructureRow.model_fields}
    if change is not None:
        given.update(name=change.name, voxels=change.voxels, center_mm=change.center_mm, volume_change=dict(change.volume_change))
        given.update(folded_voxels=change.folded_voxels, folded_central=change.folded_central)
    empty: dict[str, Any] = {
        "center_mm": None, "volume_change": {}, "folded_voxels": 0, "folded_central": 0, "dice_before": None, "dice_after": None,
        "mean_surface_distance_before_mm": None, "mean_surface_distance_after_mm": None, "hd95_before_mm": None, "hd95_after_mm": None,
        "moving_volume_mm3": None, "moved_volume_mm3": 0.0, "dice_grade": Grade.INFO, "mean_surface_distance_grade": Grade.INFO,
        "in_both": overlap is not None and overlap.in_both, "label": label,
    }  # fmt: skip
    return StructureRow.model_validate({**empty, **given})


def _consistency(report: Report, inverse: str) -> ConsistencyRow:
    found = report.consistency
    values = {s: report.value(f"inverse_consistency_mm_{s}") for s in ("mean", "p95", "max")}
    return ConsistencyRow(
        domain=values["mean"].domain, n=len(found.error_mm), left_out=found.points - len(found.error_mm), inverse=inverse,
        mean_mm=values["mean"].value, p95_mm=values["p95"].value, max_mm=values["max"].value,
    )  # fmt: skip
