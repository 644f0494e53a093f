"""From a report to a review: which of its numbers are graded, and the rows of the tables.

A review is made of what report.json holds, so that a result folder can be reviewed when its images are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import FileFormatError
from ..result import TransformFile
from .grading import GradedFigure, figure_title
from .metrics import METRICS
from .report import Report
from .review import ImageFacts, Review, Subject, now
from .review_tables import ConsistencyRow, FoldCount, FoldRow, LandmarkRow, StructureRow
from .tolerances import Grade, Tolerances

OWN_INVERSE = "exported with the registration (the velocity integrated backwards, then refined)"

STILL_VOX = 1e-3
"""A field that moves nothing farther than this beside its affine is an affine, written as a field."""

Content = Mapping[str, Any]
"""Of report.json, or a part of it."""


def build_review(
    report: Report | Content,
    tolerances: Tolerances | None = None,
    *,
    created: str = "",
) -> Review:
    """Grade a report's numbers and lay out the tables.

    Parameters
    ----------
    report : Report or mapping
        The numbers, or what report.json says of them.
    tolerances : Tolerances, optional
        What to judge by; TG-132's Table III when left out.
    created : str
        Date and time for the record; now (UTC) when left out.

    Raises
    ------
    FileFormatError
        If the mapping lacks something, as that of an early version does.
    """
    content = report.to_mapping() if isinstance(report, Report) else report
    try:
        return _review(content, created).graded_by(tolerances or Tolerances.tg132())
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"The report lacks something that a review needs ({type(error).__name__}: {error}); expected one that this version wrote. "
            "Measure the result again, with its images: `deformreg evaluate`."
        ) from error


def _review(report: Content, created: str) -> Review:
    origin, folds = report["provenance"], report["folds"]
    elsewhere = origin["origin"] or {"made_by": origin["software"], "files": [], "inverse": OWN_INVERSE}
    return Review(
        created=created or now(),
        software=f"{origin['software']} {origin['version']}",
        subject=Subject(
            images=(_facts(origin["inputs"][0]), _facts(origin["inputs"][1])), made_by=elsewhere["made_by"],
            transforms=tuple(TransformFile(**file) for file in elsewhere["files"]), inverse=elsewhere["inverse"],
            foreground=folds["foreground"]["domain"],
        ),
        attention=tuple(report["attention"]),
        tolerances=Tolerances.tg132(),
        figures=tuple(_figures(report)),
        fold_counts=tuple(_fold_counts(report)),
        fold_regions=folds["region_count"],
        folds=tuple(FoldRow.model_validate(_known(FoldRow, region)) for region in folds["regions"]),
        landmarks=tuple(_landmark(row) for row in report["landmarks"] or ()),
        structures=tuple(_structures(report)),
        consistency=_consistency(report, elsewhere["inverse"]),
    )  # fmt: skip


def _known(model: Any, row: Content) -> dict[str, Any]:
    """Take of a row what a model has a field for."""
    return {name: value for name, value in row.items() if name in model.model_fields}


def _facts(entry: Content) -> ImageFacts:
    return ImageFacts.model_validate(_known(ImageFacts, entry))


def _value(report: Content, name: str) -> Content:
    """Look up a number; where it was taken over two domains, the one over the foreground, which comes first."""
    found: Content = next(value for value in report["values"] if value["name"] == name)
    return found


def _figures(report: Content) -> Iterable[GradedFigure]:
    longest_mm, spacing = _value(report, "displacement_mm_max")["value"], report["provenance"]["inputs"][0]["spacing_mm"]
    still = (longest_mm or 0) < STILL_VOX * min(spacing)
    seen: set[str] = set()
    for value in report["values"]:
        per_structure = value["metric"] in ("dice", "hd95_mm", "mean_surface_distance_mm")
        if value["value"] is None or (per_structure and value["statistic"] == "mean"):
            continue  # a mean over structures hides the worst: each is graded on its own
        remark = "Shown beside; the fixed foreground is what counts." if value["name"] in seen else _remark(value["metric"], still)
        seen.add(value["name"])
        yield GradedFigure(
            figure=value["name"], title=figure_title(value["name"]), remark=remark, place_mm=value.get("place_mm"),
            **{name: value[name] for name in ("value", "before", "unit", "domain", "n", "definition")},
        )  # fmt: skip
    centers = {change["label"]: change["center_mm"] for change in report["structure_changes"]}
    for structure in report["structures"]:
        yield from _overlap_figures({"center_mm": centers.get(structure["label"]), **structure})
    for change in report["structure_changes"]:
        yield from _change_figures(change)


def _remark(metric: str, still: bool) -> str:
    if still and metric.startswith(("fold_", "inverse_consistency")):
        return "There is no deformation beside the affine: true by definition, not a merit."
    if metric in ("ncc", "lncc", "nmi"):
        return "Similarity has no tolerance: registrations maximize it, and a wrong one may score high."
    return ""


def _overlap_figures(structure: Content) -> Iterable[GradedFigure]:
    if not structure["in_both_images"]:
        return
    for name, after, before in (
        ("dice", "dice_after", "dice_before"),
        ("mean_surface_distance_mm", "mean_surface_distance_after_mm", "mean_surface_distance_before_mm"),
        ("hd95_mm", "hd95_after_mm", "hd95_before_mm"),
    ):
        if structure[after] is not None:
            yield _of_structure(name, structure[after], structure, structure[before])


def _change_figures(change: Content) -> Iterable[GradedFigure]:
    for statistic in ("p1", "p99"):
        yield _of_structure("structure_volume_change", change["volume_change"][statistic], change, statistic=statistic)


def _of_structure(metric: str, value: float, structure: Content, before: float | None = None, statistic: str = "") -> GradedFigure:
    figure, name = f"{metric}_{statistic}" if statistic else metric, structure["name"]
    return GradedFigure(
        figure=figure, title=figure_title(figure), structure=name, value=value, before=before, unit=METRICS[metric].unit,
        domain=f"{name} on the fixed grid", n=structure["voxels"], definition=METRICS[metric].definition,
        place_mm=structure["center_mm"],
    )  # fmt: skip


def _fold_counts(report: Content) -> Iterable[FoldCount]:
    flat = 1 in report["provenance"]["inputs"][0]["shape"]
    for domain in ("foreground", "whole_grid"):
        summary = report["folds"][domain]
        for test, kind in (("four determinants" if flat else "ten determinants", "digital"), ("central differences", "central")):
            yield FoldCount.model_validate(
                {
                    "test": test, "domain": summary["domain"], "voxels": summary["voxels"], "folded": summary[f"{kind}_count"],
                    "percent": summary[f"{kind}_percent"], "definition": METRICS[f"fold_{kind}_fraction"].definition,
                }
            )  # fmt: skip


def _landmark(row: Content) -> LandmarkRow:
    def point(title: str, unit: str = "") -> tuple[float, float, float]:
        return (row[f"{title}_x{unit}"], row[f"{title}_y{unit}"], row[f"{title}_z{unit}"])

    return LandmarkRow(
        name=row["name"],
        kind="fiducial" if row["drove_registration"] else "target",
        before_mm=row["tre_before_mm"],
        after_mm=row["tre_after_mm"],
        before_axes_mm=point("difference_before", "_mm"),
        after_axes_mm=point("difference_after", "_mm"),
        fixed_mm=point("fixed"),
        moving_mm=point("moving"),
        moving_in_fixed_mm=point("moving_in_fixed"),
        inverse_residual_mm=row["inverse_residual_mm"],
        outside_field=row["outside_field"],
        grade=Grade.INFO,
    )


def _structures(report: Content) -> Iterable[StructureRow]:
    overlaps = {overlap["label"]: overlap for overlap in report["structures"]}
    changes = {change["label"]: change for change in report["structure_changes"]}
    for label in sorted({*overlaps, *changes}):
        yield _structure(label, overlaps.get(label, {}), changes.get(label, {}))


def _structure(label: int, overlap: Content, change: Content) -> StructureRow:
    empty: dict[str, Any] = {
        "center_mm": None, "volume_change": {}, "folded_voxels": 0, "folded_central": 0, "dice_before": None, "dice_after": None,
        "mean_surface_distance_before_mm": None, "mean_surface_distance_after_mm": None, "hd95_before_mm": None, "hd95_after_mm": None,
        "moving_volume_mm3": None, "moved_volume_mm3": 0.0, "dice_grade": Grade.INFO, "mean_surface_distance_grade": Grade.INFO,
        "in_both": overlap.get("in_both_images", False), "label": label,
    }  # fmt: skip
    return StructureRow.model_validate({**empty, **_known(StructureRow, overlap), **_known(StructureRow, change)})


def _consistency(report: Content, inverse: str) -> ConsistencyRow:
    values = {statistic: _value(report, f"inverse_consistency_mm_{statistic}") for statistic in ("mean", "p95", "max")}
    measured, asked = values["mean"]["n"], _value(report, "outside_moving_fraction")["n"]
    return ConsistencyRow(
        domain=values["mean"]["domain"], n=measured, left_out=asked - measured, inverse=inverse,
        mean_mm=values["mean"]["value"], p95_mm=values["p95"]["value"], max_mm=values["max"]["value"],
    )  # fmt: skip
