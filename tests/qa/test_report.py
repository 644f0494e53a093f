"""The whole report: every row of METRICS, known values, honest JSON, a page that stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from qa_cases import Pair, make_result

from napari_deformreg.errors import InputError
from napari_deformreg.qa import METRICS, Report, build_report, fixed_foreground, metrics_markdown, report_html
from napari_deformreg.qa.report import number_text
from napari_deformreg.result import Status
from napari_deformreg.settings import Settings
from napari_deformreg.space import Grid, LabelMap, Volume
from napari_deformreg.space.jacobian import displacement_vox_to_mm


@pytest.fixture
def report(pair: Pair) -> Report:
    return build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result, **pair.report_arguments(), created="today")


def test_every_metric_occurs_with_its_definition(report: Report) -> None:
    of_reviews = {"fre_mm", "structure_volume_change"}  # landmarks that drive, and structures one by one: see test_review.py
    assert {value.metric for value in report.values} == set(METRICS) - of_reviews
    for value in report.values:
        row = METRICS[value.metric]
        assert (value.unit, value.better, value.definition) == (row.unit, row.better, row.definition)
        assert value.name == (f"{value.metric}_{value.statistic}" if value.statistic else value.metric)
        assert value.domain
        assert value.n > 0
    places = [(value.name, value.domain) for value in report.values]
    assert len(set(places)) == len(places)


def test_table_of_metrics_is_whole() -> None:
    lines = metrics_markdown().splitlines()
    assert len(lines) == len(METRICS) + 2
    assert {line.count("|") for line in lines} == {6}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert re.fullmatch(r"10\.\d{4,}/\S+", metric.doi)


def test_known_values_of_a_perfect_registration(pair: Pair, report: Report) -> None:
    shift_mm = 2 * pair.fixed.grid.spacing[0]
    assert report.value("tre_mm_mean").value == pytest.approx(0, abs=1e-4)
    assert report.value("tre_mm_mean").before == pytest.approx(shift_mm)
    assert report.value("dice_mean").value == 1
    # Each block shares all but two of its layers: 6 of 8 and 4 of 6.
    assert report.value("dice_mean").before == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert report.value("hd95_mm_mean").value == 0
    assert report.value("ncc").value == pytest.approx(1)
    assert report.value("ncc").before < 1
    assert report.value("displacement_mm_median").value == pytest.approx(shift_mm, rel=1e-5)
    assert report.value("fold_digital_fraction").value == 0
    assert report.value("inverse_consistency_mm_max").value == pytest.approx(0, abs=1e-4)
    assert report.value("sd_log_jacobian").domain.startswith("fixed foreground")
    assert report.attention == ()


def test_asking_for_what_is_not_there(report: Report) -> None:
    with pytest.raises(InputError, match=r"no value 'tre'.*tre_mm_mean"):
        report.value("tre")


def test_json_is_standard_and_complete(report: Report) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads(report.to_json(), parse_constant=refuse)
    assert {value["name"] for value in read["values"]} == {value.name for value in report.values}
    assert {row["name"] for row in read["landmarks"]} == {"a", "b", "c"}
    assert {row["name"] for row in read["structures"]} == {"left <block>", "right block"}
    origin = read["provenance"]
    assert origin["created"] == "today"
    assert origin["seconds_total"] == 2.5
    assert Settings.from_mapping(origin["settings"]) == Settings()
    assert [entry["name"] for entry in origin["inputs"]] == ["fixed & image", "moving"]
    assert origin["notices"] == ["Something to know."]


def test_numbers_that_do_not_exist_are_null(pair: Pair) -> None:
    """A moving image that does not overlap the fixed one before is constant there: no correlation to speak of."""
    nothing = Volume(np.zeros(pair.fixed.grid.shape), pair.fixed.grid)
    report = build_report(pair.fixed, pair.moving, pair.moved, nothing, pair.result)
    values = {value["name"]: value for value in json.loads(report.to_json())["values"]}
    assert values["nmi"]["before"] is None
    assert values["nmi"]["value"] == pytest.approx(2)
    assert "tre_mm_mean" not in values
    assert report.structures == ()
    assert "–" in report.to_text()


def test_text_names_the_main_numbers(report: Report) -> None:
    text = report.to_text()
    for words in ("Target registration error (mean)", "Dice overlap", "Folded voxels (digital)", Status.CONVERGED.value):
        assert words in text


def test_things_to_check_are_said(pair: Pair) -> None:
    """The inverse motion with a fold: everything gets worse, and the report says so."""
    grid = pair.fixed.grid
    u = np.zeros((*grid.shape, 3), np.float32)
    u[..., 0] = -2
    u[12, 10, grid.shape[2] // 2, 1] += 1.6
    result = make_result(grid, displacement_vox_to_mm(u, grid), np.zeros(u.shape), status=Status.KEPT_START)
    worse = LabelMap(np.roll(pair.fixed_labels.data, 4, axis=0), grid)
    moved = Volume(np.roll(pair.fixed.data, 4, axis=0), grid)
    arguments = {**pair.report_arguments(), "moved_labels": worse}
    report = build_report(pair.fixed, pair.moving, moved, pair.moving_before, result, **arguments)
    said = "\n".join(report.attention)
    assert report.attention[0] == Status.KEPT_START.value
    for words in ("less similar than before", "folds at", "in left <block>", "3 of 3 landmarks", "overlap less", "two directions"):
        assert words in said


def test_a_given_mask_is_the_domain(pair: Pair) -> None:
    mask = np.zeros(pair.fixed.grid.shape, np.int32)
    mask[9:20, 8:18] = 1
    report = build_report(
        pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result, fixed_mask=LabelMap(mask, pair.fixed.grid)
    )
    assert report.value("ncc").domain == "inside the fixed mask"
    assert report.value("ncc").n == np.count_nonzero(mask)


def test_refusals(pair: Pair) -> None:
    other = Volume(np.ones((4, 4, 4)), Grid((4, 4, 4), np.eye(4)))
    with pytest.raises(InputError, match="moved image must lie on the fixed grid"):
        build_report(pair.fixed, pair.moving, other, pair.moving_before, pair.result)
    with pytest.raises(InputError, match="displacement must lie on the fixed grid"):
        build_report(other, pair.moving, other, other, pair.result)
    with pytest.raises(InputError, match="mask is empty"):
        fixed_foreground(pair.fixed, LabelMap(np.zeros(pair.fixed.grid.shape, int), pair.fixed.grid))
    with pytest.raises(InputError, match="mask must lie on the fixed grid"):
        fixed_foreground(pair.fixed, LabelMap(np.ones((4, 4, 4), int), other.grid))


def test_foreground_threshold(rng: np.random.Generator) -> None:
    data = rng.uniform(0, 1, (20, 20, 20))
    data[5:15, 5:15, 5:15] += 200
    found = fixed_foreground(Volume(data, Grid((20, 20, 20), np.eye(4))))
    assert found.voxels == 1000
    assert found.mask[5:15, 5:15, 5:15].all()


class _Page(HTMLParser):
    """Remembers what a page loads and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_stands_alone(report: Report) -> None:
    text = report_html(report, {"preview": b"\x89PNG not really"})
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.loaded
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert "script" not in page.tags
    assert "Research use only. Not a medical device." in text
    for metric in {METRICS[value.metric] for value in report.values}:
        assert metric.title in text


def test_page_escapes_names(pair: Pair) -> None:
    evil = replace(pair.fixed, name="<script>alert(1)</script>")
    report = build_report(evil, pair.moving, pair.moved, pair.moving_before, pair.result, **pair.report_arguments())
    text = report_html(report)
    assert "<script>" not in text
    assert "left &lt;block&gt;" in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"), (float("nan"), "–"), (0.0, "0"), (0.98765, "0.988"), (12.345, "12.3"), (123.4, "123"), (43210.5, "43210"),
        (0.00012, "1.2e-04"), (-2.5, "-2.50"),
    ],
)
def test_numbers_for_people(number: float | None, text: str) -> None:
    assert number_text(number) == text
