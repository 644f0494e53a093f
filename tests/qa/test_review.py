"""Grades against limits, the tables of a review, and JSON that reads back equal."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from qa_cases import Pair, make_result

from napari_deformreg.errors import FileFormatError, InputError, SettingsError
from napari_deformreg.qa import (
    SNAPSHOTS_AT_MOST,
    Grade,
    GradedFigure,
    Report,
    Review,
    Snapshot,
    Tolerance,
    Tolerances,
    Verdict,
    build_report,
    build_review,
    counts,
    grade_of,
    graded,
    review_text,
    worst_first,
)  # fmt: skip
from napari_deformreg.result import Provenance
from napari_deformreg.space import LabelMap

PNG = b"\x89PNG\r\n\x1a\n"


def _report(pair: Pair, **changes: object) -> Report:
    result = replace(pair.result, **changes)
    return build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, result, **pair.report_arguments())


@pytest.fixture
def review(pair: Pair) -> Review:
    return build_review(_report(pair), created="2026-01-02T03:04:05+00:00")


def test_a_review_is_made_of_what_the_report_file_holds(pair: Pair, review: Review) -> None:
    content = json.loads(_report(pair).to_json())
    assert build_review(content, created=review.created).model_copy(update={"subject": review.subject}) == review
    del content["structure_changes"]
    with pytest.raises(FileFormatError, match=r"lacks something that a review needs.*structure_changes"):
        build_review(content)


def test_extreme_figures_say_where_they_are(pair: Pair) -> None:
    grid = pair.fixed.grid
    voxel = np.unravel_index(int(np.argmax(pair.fixed.data)), grid.shape)
    field = np.zeros((*grid.shape, 3))
    field[voxel] = (0.0, 0.3, 0.0)
    report = _report(pair, displacement=make_result(grid, field).displacement)
    planted = grid.voxel_to_world(np.array([voxel], dtype=float))[0]
    assert report.value("displacement_mm_max").place_mm == pytest.approx(planted)
    assert report.landmarks is not None
    worst = int(np.argmax(report.landmarks.after_mm))
    assert report.value("tre_mm_max").place_mm == pytest.approx(report.landmarks.pairs.fixed_points[worst])
    assert {value.place_mm for value in report.values if value.domain == "whole grid"} == {None}
    review = build_review(report)
    centers = {row.name: row.center_mm for row in review.structures}
    for figure in review.figures:
        if figure.structure:
            assert figure.place_mm == centers[figure.structure]
    assert next(figure for figure in review.figures if figure.figure == "displacement_mm_max").place_mm == pytest.approx(planted)


TRE = Tolerance(figure="tre_mm_mean", limit=1.0, amber=2.0, unit="largest voxel", source="a test")
DICE = Tolerance(figure="dice", limit=0.9, amber=0.8, unit="1", better="higher", source="a test")
CONSISTENCY = Tolerance(figure="inverse_consistency_mm_p95", limit=1.0, unit="mm", proves=False, source="a test")


@pytest.mark.parametrize(
    ("value", "tolerance", "grade"),
    [
        (2.5, TRE, Grade.GREEN), (2.6, TRE, Grade.AMBER), (5.0, TRE, Grade.AMBER), (5.1, TRE, Grade.RED), (None, TRE, Grade.NOT_MEASURED),
        (0.9, DICE, Grade.GREEN), (0.85, DICE, Grade.AMBER), (0.79, DICE, Grade.RED),
        (0.5, CONSISTENCY, Grade.INFO), (1.5, CONSISTENCY, Grade.RED), (3.0, None, Grade.INFO),
    ],
)  # fmt: skip
def test_grades_at_the_limits(value: float | None, tolerance: Tolerance | None, grade: Grade) -> None:
    """Limits in voxels are multiples of the largest voxel (here 2.5 mm); a good consistency is never green."""
    assert grade_of(value, tolerance, largest_voxel_mm=2.5) is grade


def _figure(figure: str, value: float, structure: str = "") -> GradedFigure:
    unit = {"dice": "1", "fold_digital_fraction": "%"}.get(figure, "mm")
    return GradedFigure(figure=figure, title=figure, structure=structure, value=value, unit=unit, domain="all", n=1, definition="a test")


def test_figures_are_sorted_by_gravity_then_by_how_far_beyond() -> None:
    fold = Tolerance(figure="fold_digital_fraction", limit=0.0, unit="%", source="a test")
    surface = TRE.model_copy(update={"figure": "mean_surface_distance_mm"})
    tolerances = Tolerances(name="test", source="a test", tolerances=(TRE, DICE, surface, fold))
    measured = [
        _figure("dice", 0.95, "good"), _figure("dice", 0.79, "hardly red"), _figure("dice", 0.85, "amber"), _figure("dice", 0.5, "far off"),
        _figure("mean_surface_distance_mm", 7.5, "two bands"), _figure("fold_digital_fraction", 0.01), _figure("ncc", 0.9),
        _figure("mean_surface_distance_mm", 4.9, "hardly amber"), _figure("mean_surface_distance_mm", 2.4, "hardly green"),
    ]  # fmt: skip
    figures = worst_first(graded(measured, tolerances, 2.5))
    assert [figure.structure or figure.figure for figure in figures] == [
        "fold_digital_fraction",  # nothing is allowed
        "far off", "two bands", "hardly red",  # 4, 2 and 1.1 bands beyond green
        "hardly amber", "amber", "hardly green", "good", "tre_mm_mean", "ncc",
    ]  # fmt: skip
    assert [figure.grade for figure in figures] == ["red"] * 4 + ["amber"] * 2 + ["green"] * 2 + ["not measured", "info"]
    assert [figure.excess for figure in figures[1:3]] == pytest.approx([4, 2])
    texts = {figure.structure or figure.figure: figure.limits_text for figure in figures}
    assert texts["far off"] == "≥ 0.9 | 0.8"
    assert texts["two bands"] == "≤ 2.5 | 5 mm"
    assert texts["fold_digital_fraction"] == "≤ 0 %"
    assert texts["ncc"] == ""


def test_every_way_of_writing_has_the_same_order(review: Review) -> None:
    judged = [figure for figure in worst_first(review.figures) if figure.tolerance is not None]
    lines = review_text(review).splitlines()[1 : 1 + len(judged)]
    assert [line.split("  ")[0].strip() for line in lines] == [figure.grade.value for figure in judged]
    for line, figure in zip(lines, judged, strict=True):
        assert f"{figure.title}: {figure.structure}".removesuffix(": ")[:52] in line


def test_what_was_not_measured_is_listed_as_such(pair: Pair) -> None:
    bare = build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result)
    figures = build_review(bare).figures
    missing = {figure.figure for figure in figures if figure.grade is Grade.NOT_MEASURED}
    assert missing == {"tre_mm_mean", "mean_surface_distance_mm", "dice"}
    assert all(figure.n == 0 and figure.value is None for figure in figures if figure.figure in missing)
    assert counts(figures)[Grade.NOT_MEASURED] == 3


def test_each_figure_tells_domain_sample_size_and_definition(review: Review) -> None:
    for figure in review.figures:
        assert figure.domain
        assert figure.definition
        assert figure.why
        assert (figure.n > 0) == (figure.value is not None)
        assert (figure.grade in (Grade.GREEN, Grade.AMBER, Grade.RED)) <= (figure.tolerance is not None)
    names = [figure.figure for figure in review.figures if figure.tolerance]
    assert {"tre_mm_mean", "dice", "mean_surface_distance_mm", "fold_digital_fraction", "inverse_consistency_mm_p95"} <= set(names)
    assert names.count("dice") == 2  # each structure on its own, no mean
    similarity = next(figure for figure in review.figures if figure.figure == "nmi")
    assert similarity.grade is Grade.INFO
    assert "no tolerance" in similarity.why


def test_a_known_shift_gives_known_rows(pair: Pair, review: Review) -> None:
    shift = 2 * pair.fixed.grid.spacing[0]
    for row in review.landmarks:
        assert row.kind == "target"
        assert row.before_mm == pytest.approx(shift)
        assert row.after_mm == pytest.approx(0, abs=1e-4)
        assert row.grade is Grade.GREEN
        np.testing.assert_allclose(np.array(row.before_axes_mm), np.array(row.fixed_mm) - np.array(row.moving_mm), atol=1e-9)
    assert [row.name for row in review.structures] == ["left <block>", "right block"]
    for row in review.structures:
        assert row.dice_after == 1
        assert row.dice_grade is Grade.GREEN
        assert row.volume_change["min"] == pytest.approx(1, abs=1e-5)
        assert row.voxels == np.count_nonzero(pair.fixed_labels.data == row.label)
        inside = pair.fixed.grid.world_to_voxel(np.array([row.center_mm])).round().astype(int)[0]
        assert pair.fixed_labels.data[tuple(inside)] == row.label


def test_a_planted_fold_is_counted_and_found(pair: Pair) -> None:
    """One voxel thrown 4 voxels along i folds; the table names the structure, both tests count, the figures turn red."""
    grid = pair.fixed.grid
    field = np.zeros((*grid.shape, 3))
    place = (10, 10, grid.shape[2] // 2)
    field[place] = 4 * grid.affine[:3, 0]
    review = build_review(_report(pair, displacement=make_result(grid, field).displacement))
    worst = review.folds[0]
    assert worst.structure == "left <block>"
    assert worst.smallest_determinant < 0
    assert worst.volume_mm3 == pytest.approx(worst.voxels * abs(np.linalg.det(grid.affine[:3, :3])))
    assert np.linalg.norm(grid.world_to_voxel(np.array([worst.center_mm]))[0] - place) < 2
    by_test = {(count.test, count.domain): count for count in review.fold_counts}
    assert len(by_test) == 4
    whole = [count for count in review.fold_counts if count.domain == "whole grid"]
    assert all(count.voxels == np.prod(grid.shape) for count in whole)
    assert whole[0].folded == sum(row.voxels for row in review.folds) > whole[1].folded > 0
    assert review.structures[0].folded_voxels > 0
    assert review.structures[1].folded_voxels == 0
    graded = {figure.domain: figure for figure in review.figures if figure.figure == "fold_digital_fraction"}
    assert graded.pop("whole grid").grade is Grade.INFO
    (inside,) = graded.values()
    assert inside.grade is Grade.RED


def test_no_deformation_is_no_merit(pair: Pair) -> None:
    """Without a deformation nothing can fold: that is true by definition and not green."""
    still = make_result(pair.fixed.grid, np.zeros((*pair.fixed.grid.shape, 3)))
    review = build_review(_report(pair, displacement=still.displacement, inverse_displacement=still.inverse_displacement))
    folds = [figure for figure in review.figures if figure.figure == "fold_digital_fraction" and figure.value is not None]
    assert {figure.grade for figure in folds} == {Grade.INFO}
    assert "by definition" in folds[0].why


def test_landmarks_that_drove_are_fiducials(pair: Pair) -> None:
    first = tuple(pair.fixed_landmarks.points[0].tolist())
    noted = Provenance("9.9", "cpu", {}, driving_points_mm=(first,))
    review = build_review(_report(pair, provenance=noted))
    assert [row.kind for row in review.landmarks] == ["fiducial", "target", "target"]
    assert review.landmarks[0].grade is Grade.INFO
    by_name = {figure.figure: figure for figure in review.figures}
    assert by_name["fre_mm_mean"].n == 1
    assert by_name["fre_mm_mean"].grade is Grade.INFO
    assert by_name["tre_mm_mean"].n == 2


def test_other_tolerances_grade_again_without_measuring(review: Review) -> None:
    strict = Tolerance(figure="dice", limit=2.0, unit="1", better="higher", source="nothing is good enough")
    again = review.graded_by(review.tolerances.with_tolerance(strict))
    assert {row.dice_grade for row in again.structures} == {Grade.RED}
    assert {figure.grade for figure in again.figures if figure.figure == "dice"} == {Grade.RED}
    assert again.tolerances.name == "AAPM TG-132 (changed)"
    assert again.graded_by(review.tolerances) == review


def test_structures_are_named_without_measuring(pair: Pair) -> None:
    unnamed = {name: replace(part, label_names={}) for name, part in pair.report_arguments().items() if isinstance(part, LabelMap)}
    arguments = {**pair.report_arguments(), **unnamed}
    plain = build_review(build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result, **arguments))
    known = build_review(_report(pair), created=plain.created)
    names = pair.report_arguments()["fixed_labels"].label_names
    assert {row.name for row in plain.structures} == {f"structure {row.label}" for row in plain.structures}
    assert plain.named(names) == known
    assert plain.named({}) == plain
    first, second = (row.label for row in plain.structures[:2])
    swapped = plain.named({first: f"structure {second}", second: f"structure {first}"})
    assert [row.name for row in swapped.structures[:2]] == [f"structure {second}", f"structure {first}"]


def test_json_reads_back_equal(review: Review) -> None:
    full = review.with_opinion(reviewer=" Dr. Łęcka ", verdict=Verdict.LOCAL, comment="Good at the\nventricles; 5 > 3.")
    full = full.with_snapshots((Snapshot(caption="midline", taken="2026-01-02T03:04:05+00:00", png=PNG),))
    full = full.with_session({"view": {"zoom": 2.5, "center": (1, 2, 3)}, "layers": [None, True]})
    assert full.has_opinion
    assert not review.has_opinion
    assert full.reviewer == "Dr. Łęcka"
    back = Review.from_json(full.to_json())
    assert back.with_snapshots((Snapshot(caption="midline", taken=full.snapshots[0].taken, png=PNG),)) == full
    assert "research use only" in json.loads(full.to_json())["intended_use"].lower()
    for damaged in ("", "{}", '{"format": "deformreg-review/2"}', full.to_json()[:-5]):
        with pytest.raises(FileFormatError, match="no review that this version reads"):
            Review.from_json(damaged)


def test_opinions_that_cannot_be(review: Review) -> None:
    with pytest.raises(InputError, match="no reviewer"):
        review.with_opinion(reviewer="  ", verdict=Verdict.WHOLE, comment="")
    with pytest.raises(InputError, match="at most 10"):
        review.with_snapshots((Snapshot(png=PNG),) * (SNAPSHOTS_AT_MOST + 1))
    with pytest.raises(InputError, match="PNG"):
        review.with_snapshots((Snapshot(png=b"GIF89a"),))
    assert [verdict.level for verdict in Verdict] == [None, 0, 1, 2, 3, 4]
    assert review.with_opinion(reviewer="", verdict=Verdict.UNDECIDED, comment="later").signed == ""


@pytest.mark.parametrize("stereotactic", [False, True])
def test_tolerances_read_back_equal(stereotactic: bool) -> None:
    tolerances = Tolerances.tg132(stereotactic)
    assert Tolerances.from_json(tolerances.to_json()) == tolerances
    assert tolerances.of("tre_mm_mean").limits(3.0) == ((1.0, 2.0) if stereotactic else (3.0, 6.0))
    assert all(tolerance.source for tolerance in tolerances.tolerances)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "cannot be used"),
        ('{"name": "x", "source": "y", "tolerances": [{"figure": "tre", "limit": 1, "unit": "mm", "source": "z"}]}', "no figure 'tre'"),
        ('{"name": "x", "source": "y", "tolerances": [{"figure": "dice", "limit": 1, "unit": "inch", "source": "z"}]}', "unit.*inch"),
        (
            '{"name": "x", "source": "y", "tolerances": [{"figure": "dice", "limit": 0.8, "amber": 0.9, "unit": "1", "better": "higher",'
            ' "source": "z"}]}',
            "must be wider",
        ),
    ],
)  # fmt: skip
def test_tolerances_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Tolerances.from_json(text)
