"""What a review says on paper, section by section; the page and the PDF only differ in how they set it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .grading import WORST_FIRST, GradedFigure, counts, worst_first
from .report import number_text
from .review import Review, Verdict
from .review_tables import LandmarkRow, StructureRow
from .tolerances import Grade

ROWS_AT_MOST = 40
"""A longer table is not read; the rest is in review.json."""

GRADE_COLORS = {
    Grade.GREEN: "#2e7d4f", Grade.AMBER: "#b26a00", Grade.RED: "#b3261e", Grade.NOT_MEASURED: "#6b7580", Grade.INFO: "#35618e",
}  # fmt: skip
"""Dark enough for white words on them; the word always stands beside the color."""


@dataclass(frozen=True)
class Section:
    """A heading, sentences, and a table whose rows may begin with a grade.

    Attributes
    ----------
    title : str
        Heading.
    sentences : tuple of str
        Above the table.
    head : tuple of str
        Column titles; empty without a table.
    rows : tuple of tuple of str
        Cells; where `graded`, the first is the value of a `Grade`.
    graded : bool
        Whether the first column is a grade.
    widths : tuple of float
        Shares of the page's width, one a column.
    """

    title: str
    sentences: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    graded: bool = False
    widths: tuple[float, ...] = ()


def title_of(review: Review) -> str:
    """Name what is reviewed: moving onto fixed."""
    fixed, moving = review.subject.images
    return f"{moving.name} → {fixed.name}"


def opening(review: Review) -> tuple[str, ...]:
    """Tell what is reviewed, who made it, how it was read, when."""
    fixed, moving = review.subject.images
    who, when = review.subject.made_by, _when(review.created)
    lines = [f"Moving “{moving.name}” onto fixed “{fixed.name}”. Transform made by {who}. Figures of {when}."]
    for image in (fixed, moving):
        size, spacing = " × ".join(map(str, image.shape)), " × ".join(f"{mm:.4g}" for mm in image.spacing_mm)
        lines.append(f"{image.role.capitalize()}: {size} voxels of {spacing} mm, axes {image.orientation}.")
    lines += [f"{file.name}: {file.convention} (sha256 {file.sha256[:12]}…)." for file in review.subject.transforms]
    return (*lines, f"Judged with {review.software}. {review.intended_use}")


def verdict_lines(review: Review) -> tuple[str, ...]:
    """Tell the verdict, who gave it, when and why."""
    if review.verdict is Verdict.UNDECIDED:
        lines = ["Verdict: undecided. Nobody has judged this registration yet."]
    else:
        lines = [f"Verdict: {review.verdict.value}. {review.verdict.help}"]
        lines.append(f"Reviewer: {review.reviewer}, {_when(review.signed)}.")
    return (*lines, *([review.comment] if review.comment else []))


def sections(review: Review) -> tuple[Section, ...]:
    """Lay out the tables in the order in which they are read."""
    parts = [_graded(review), _folds(review), _landmarks(review), _structures(review), _consistency(review), _info(review), _limits(review)]
    return tuple(part for part in parts if part is not None)


def review_text(review: Review) -> str:
    """Write the graded figures for a terminal, the worst first."""
    judged = _worst_first(review)
    lines = [f"{'grade':14}{'figure':52}{'value':>14}  tolerance"]
    for figure in judged:
        name, value, *_ = _figure_cells(figure)
        lines.append(f"{figure.grade.value:14}{name:52.52}{value:>14}  {figure.tolerance_text} (n = {figure.n})")
    lines += [f"! {sentence}" for sentence in review.attention]
    return "\n".join([*lines, *verdict_lines(review), review.intended_use])


def _worst_first(review: Review) -> list[GradedFigure]:
    return worst_first(figure for figure in review.figures if figure.tolerance is not None)


def _when(iso: str) -> str:
    return iso.replace("T", " ").replace("+00:00", " UTC")


def _graded(review: Review) -> Section:
    judged = _worst_first(review)
    tally = ", ".join(f"{count} {grade.value}" for grade, count in counts(review.figures).items() if count)
    return Section(
        "Figures beside their tolerances, worst first",
        (f"{tally}. Each stands for itself; there is no grade of the whole.", f"Judged by: {review.tolerances.name}."),
        ("grade", "figure", "value", "before", "tolerance", "taken over", "n", "why"),
        tuple((figure.grade.value, *_figure_cells(figure), figure.why) for figure in judged),
        graded=True,
        widths=(0.09, 0.17, 0.09, 0.08, 0.16, 0.17, 0.08, 0.16),
    )


def _figure_cells(figure: GradedFigure) -> tuple[str, ...]:
    name = figure.title + (f": {figure.structure}" if figure.structure else "")
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    value = "–" if figure.value is None else number_text(figure.value) + unit
    before = "" if figure.before is None else number_text(figure.before) + unit
    return (name, value, before, figure.tolerance_text, figure.domain, str(figure.n))


def _info(review: Review) -> Section | None:
    rows = [(*(_figure_cells(f)[n] for n in (0, 1, 2, 4, 5)), f.why) for f in review.figures if f.tolerance is None and not f.structure]
    head = ("figure", "value", "before", "taken over", "n", "remark")
    note = "Neither good nor bad by themselves; similarity least of all."
    return Section("For information", (note,), head, tuple(rows), widths=(0.25, 0.1, 0.1, 0.23, 0.08, 0.24)) if rows else None


def _folds(review: Review) -> Section:
    lines = [f"{c.test} over {c.domain}: {c.folded} of {c.voxels} voxels ({number_text(c.percent)} %)." for c in review.fold_counts]
    definitions = dict.fromkeys(f"{c.test.capitalize()}: {c.definition}" for c in review.fold_counts)
    if not review.folds:
        return Section("Folds", (*lines, "No voxel folds by the digital test.", *definitions))
    rows = tuple(
        (str(f.label), number_text(f.volume_mm3), str(f.voxels), str(f.foreground_voxels), number_text(f.smallest_determinant),
         ", ".join(f"{mm:.1f}" for mm in f.center_mm), f.structure)
        for f in review.folds[:ROWS_AT_MOST]
    )  # fmt: skip
    head = ("region", "mm³", "voxels", "in the foreground", "smallest determinant", "worst voxel (mm RAS)", "structure")
    more = [f"{review.fold_regions} regions; the worst {len(rows)} are listed."] if review.fold_regions > len(rows) else []
    return Section("Folds, worst first", (*lines, *definitions, *more), head, rows, widths=(0.08, 0.1, 0.1, 0.13, 0.15, 0.22, 0.22))


def _landmarks(review: Review) -> Section | None:
    if not review.landmarks:
        return None
    ordered = sorted(review.landmarks, key=lambda row: (row.kind == "fiducial", -row.after_mm))
    head = ("grade", "landmark", "kind", "before (mm)", "after (mm)", "R / A / S part (mm)", "fixed (mm RAS)", "inverse residual", "")
    notes = (
        "A target did not drive the registration: its error is a target registration error. A fiducial did: its error shows the fit.",
        *_cut(len(ordered), "landmarks"),
    )
    rows = tuple(_landmark_cells(row) for row in ordered[:ROWS_AT_MOST])
    return Section("Landmarks, worst first", notes, head, rows, graded=True, widths=(0.09, 0.13, 0.08, 0.08, 0.08, 0.17, 0.18, 0.09, 0.1))


def _landmark_cells(row: LandmarkRow) -> tuple[str, ...]:
    axes = " / ".join(f"{mm:+.2f}" for mm in row.after_axes_mm)
    place = ", ".join(f"{mm:.1f}" for mm in row.fixed_mm)
    residual = "< 0.001" if row.inverse_residual_mm < 1e-3 else number_text(row.inverse_residual_mm)
    outside = "outside the field" if row.outside_field else ""
    return (row.grade.value, row.name, row.kind, number_text(row.before_mm), number_text(row.after_mm), axes, place, residual, outside)


def _cut(count: int, what: str) -> Iterable[str]:
    if count > ROWS_AT_MOST:
        yield f"{count} {what}; the worst {ROWS_AT_MOST} are listed, all are in review.json."


def _structures(review: Review) -> Section | None:
    if not review.structures:
        return None
    ordered = sorted(review.structures, key=lambda row: (not row.in_both, 2.0 if row.dice_after is None else row.dice_after))
    head = (
        "grade", "structure", "Dice", "mean distance (mm)", "HD95 (mm)", "moving → moved → fixed (ml)", "volume change 1 / 50 / 99 %",
        "folded voxels",
    )  # fmt: skip
    notes = ("Before → after. Grade: the worse of Dice and mean distance to agreement.", *_cut(len(ordered), "structures"))
    rows = tuple(_structure_cells(row) for row in ordered[:ROWS_AT_MOST])
    widths = (0.09, 0.17, 0.12, 0.13, 0.13, 0.15, 0.13, 0.08)
    return Section("Structures, least overlap first", notes, head, rows, graded=True, widths=widths)


def _structure_cells(row: StructureRow) -> tuple[str, ...]:
    worst = min(row.dice_grade, row.mean_surface_distance_grade, key=WORST_FIRST.index)
    pairs = (
        (row.dice_before, row.dice_after),
        (row.mean_surface_distance_before_mm, row.mean_surface_distance_after_mm),
        (row.hd95_before_mm, row.hd95_after_mm),
    )
    volumes = (row.moving_volume_mm3, row.moved_volume_mm3, row.fixed_volume_mm3)
    changes = " / ".join(number_text(row.volume_change.get(statistic)) for statistic in ("p1", "p50", "p99"))
    name = row.name if row.in_both else f"{row.name} (in one image only)"
    return (
        worst.value, name, *(f"{number_text(before)} → {number_text(after)}" for before, after in pairs),
        " → ".join(number_text(None if mm3 is None else mm3 / 1000) for mm3 in volumes), changes, str(row.folded_voxels),
    )  # fmt: skip


def _consistency(review: Review) -> Section | None:
    found = review.consistency
    if found is None:
        return None
    statistics = (("mean", found.mean_mm), ("95 %", found.p95_mm), ("max", found.max_mm))
    values = ", ".join(f"{word} {number_text(mm)} mm" for word, mm in statistics)
    lines = (
        f"{values}; over {found.domain}, {found.n} voxels ({found.left_out} left the grid and are left out).",
        f"The inverse: {found.inverse}.",
        "A large error rules the registration out; a small one proves nothing. The map is inverse_consistency.nii.gz.",
    )
    return Section("Inverse consistency", lines)


def _limits(review: Review) -> Section:
    rows = tuple(
        (t.figure, f"{'≤' if t.better == 'lower' else '≥'} {t.limit:g}", "" if t.amber is None else f"{t.amber:g}", t.unit, t.source)
        for t in review.tolerances.tolerances
    )
    size = f"Largest voxel of the two images: {review.subject.largest_voxel_mm:.4g} mm."
    head = ("figure", "green", "amber up to", "in", "source")
    title = f"Tolerances: {review.tolerances.name}"
    return Section(title, (review.tolerances.source, size), head, rows, widths=(0.2, 0.08, 0.09, 0.11, 0.52))
