"""Reviews from files to a folder and back: of a folder, and of a transform that somebody else made."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from cases import write_pair

from napari_deformreg.cli import main
from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import RESULT_FILES, read_image, read_transform, write_landmarks, write_transform
from napari_deformreg.phantom import small_pair
from napari_deformreg.qa import Grade, Review, Snapshot, Verdict
from napari_deformreg.space import DisplacementField
from napari_deformreg.workflow import (
    ForeignTransform,
    InputPaths,
    evaluate_folder,
    finished,
    read_review,
    review_folder_steps,
    review_transform_steps,
    save_review,
    write_outcome,
)

PAIR = small_pair((24, 22, 20))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> InputPaths:
    folder = tmp_path_factory.mktemp("case")
    write_transform(folder / "truth.h5", PAIR.fixed_to_moving)
    write_transform(folder / "back.h5", PAIR.moving_to_fixed)
    return write_pair(PAIR, folder)


def _beside(case: InputPaths, name: str) -> Path:
    return Path(case.fixed).with_name(name)


@pytest.fixture(scope="module")
def reviewed(case: InputPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "review"
    finished(review_transform_steps(case, ForeignTransform((_beside(case, "truth.h5"),), made_by="the phantom"), folder))
    return folder


@pytest.fixture
def folder(reviewed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reviewed, tmp_path / "review"))


def test_the_folder_is_a_result_folder_with_a_review(reviewed: Path) -> None:
    names = {entry.name for entry in reviewed.iterdir()}
    assert names == RESULT_FILES
    assert (reviewed / "review.pdf").read_bytes()[:5] == b"%PDF-"
    report = json.loads((reviewed / "report.json").read_text())
    assert report["provenance"]["origin"]["made_by"] == "the phantom"
    assert report["provenance"]["status"]["name"] == "FROM_ELSEWHERE"
    errors = read_image(reviewed / "inverse_consistency.nii.gz", allow_constant=True)
    review = read_review(reviewed)
    assert review is not None
    assert review.consistency is not None
    assert errors.data.max() >= review.consistency.max_mm > 0
    assert "computed here" in review.consistency.inverse


def test_the_truth_is_judged_well_and_exported_unchanged(case: InputPaths, reviewed: Path) -> None:
    review = read_review(reviewed)
    assert review is not None
    by_name = {figure.figure: figure for figure in reversed(review.figures)}
    assert by_name["tre_mm_mean"].value < 0.05
    assert by_name["tre_mm_mean"].grade is Grade.GREEN
    assert by_name["fold_digital_fraction"].grade is Grade.GREEN
    assert by_name["inverse_consistency_mm_p95"].value < 0.2  # of voxels of 4 mm
    centers = PAIR.fixed.grid.voxel_to_world(PAIR.fixed.grid.voxel_indices())
    np.testing.assert_allclose(read_transform(reviewed / "fixed_to_moving.h5").map(centers), PAIR.fixed_to_moving.map(centers), atol=1e-3)
    back = read_transform(reviewed / "moving_to_fixed.h5").map(PAIR.moving_landmarks.points)
    assert np.linalg.norm(back - PAIR.fixed_landmarks.points, axis=1).mean() < 0.2


def test_an_inverse_that_is_given_is_the_one_that_is_judged(case: InputPaths, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted.h5"
    grid = PAIR.fixed.grid
    write_transform(shifted, DisplacementField(grid, np.broadcast_to(np.float32([0, 5, 0]), (*grid.shape, 3)).copy()))
    given = ForeignTransform((_beside(case, "truth.h5"),), inverse_files=(_beside(case, "back.h5"), shifted))
    _, review = finished(review_transform_steps(InputPaths(case.fixed, case.moving), given, tmp_path / "out"))
    assert review.consistency is not None
    assert review.consistency.mean_mm == pytest.approx(5, abs=0.4)
    assert "shifted.h5" in review.consistency.inverse
    assert {figure.grade for figure in review.figures if figure.figure == "inverse_consistency_mm_mean"} == {Grade.AMBER}


def test_a_review_of_the_folder_says_the_same_and_keeps_what_people_wrote(folder: Path) -> None:
    first = read_review(folder)
    assert first is not None
    png = (folder / "preview.png").read_bytes()
    mine = first.with_opinion(reviewer="A. B.", verdict=Verdict.WITH_CARE, comment="so so")
    mine = mine.with_snapshots((Snapshot(caption="x", png=png),)).with_session({"zoom": 2})
    save_review(folder, mine)
    assert read_review(folder) == mine
    assert [entry.name for entry in (folder / "snapshots").iterdir()] == ["01.png"]
    _, again = finished(review_folder_steps(folder))
    assert again == read_review(folder)
    for name in ("reviewer", "verdict", "comment", "signed", "snapshots", "session", "subject", "tolerances"):
        assert getattr(again, name) == getattr(mine, name)
    assert [(f.figure, f.structure, f.grade) for f in again.figures] == [(f.figure, f.structure, f.grade) for f in mine.figures]
    # The exported files hold float32: no more than their rounding may differ.
    np.testing.assert_allclose([f.value or 0 for f in again.figures], [f.value or 0 for f in mine.figures], rtol=2e-3, atol=1e-5)
    assert {entry.name for entry in folder.iterdir()} == RESULT_FILES
    assert {entry.name for entry in folder.parent.iterdir()} == {"review"}


def test_a_judged_folder_is_not_replaced(case: InputPaths, folder: Path) -> None:
    review = read_review(folder)
    assert review is not None
    given = ForeignTransform((_beside(case, "truth.h5"),))
    save_review(folder, review.with_opinion(reviewer="A. B.", verdict=Verdict.WHOLE, comment=""))
    with pytest.raises(InputError, match="holds a review that somebody worked on"):
        finished(review_transform_steps(case, given, folder))
    outcome = evaluate_folder(folder)
    with pytest.raises(InputError, match="somebody worked on"):
        write_outcome(outcome, folder)
    write_outcome(outcome, folder, case, review)  # who brings the review along may
    steps = review_transform_steps(case, given, folder)
    next(steps)
    steps.close()


def test_a_failing_write_leaves_the_older_review(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    review = read_review(folder)
    assert review is not None
    renamed: list[str] = []
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        renamed.append(self.name)
        if len(renamed) == 5:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="No space left"):
        save_review(folder, review.with_opinion(reviewer="A. B.", verdict=Verdict.WHOLE, comment=""))
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == older
    assert (folder / "snapshots").is_dir()
    assert {entry.name for entry in folder.parent.iterdir()} == {"review"}


def test_damaged_reviews_are_told(folder: Path) -> None:
    review = read_review(folder)
    assert review is not None
    snapshot = Snapshot(caption="x", png=(folder / "preview.png").read_bytes())
    save_review(folder, review.with_snapshots((snapshot, snapshot)))
    (folder / "snapshots" / "02.png").unlink()
    with pytest.raises(FileFormatError, match=r"holds 1 pictures, review.json tells of 2"):
        read_review(folder)
    (folder / "review.json").write_text("{")
    with pytest.raises(FileFormatError, match="no review"):
        read_review(folder)
    (folder / "review.json").unlink()
    assert read_review(folder) is None


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def test_page_and_pdf_stand_alone_and_say_what_matters(folder: Path) -> None:
    review = read_review(folder)
    assert review is not None
    snapshot = Snapshot(caption="the <midline>", png=(folder / "preview.png").read_bytes())
    comment = "Fine at the ventricles.\nλ < 3 <b>mm</b>"
    save_review(folder, review.with_opinion(reviewer="Dr. Łęcka", verdict=Verdict.LOCAL, comment=comment).with_snapshots((snapshot,)))
    text = (folder / "review.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.loaded
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert not page.tags & {"script", "midline", "link", "iframe"}
    for words in (
        "Research use only", "Dr. Łęcka", "region of interest aligned", "the &lt;midline&gt;", "λ &lt; 3", "AAPM TG-132",
        "there is no grade of the whole", "ITK transform file: LPS mm by definition",
    ):  # fmt: skip
        assert words in text
    pdf = (folder / "review.pdf").read_bytes()
    assert b"Research use only" in pdf or re.search(rb"/Subject", pdf)
    assert pdf.count(b"/Subtype /Image") >= 2


BAD_WORDS = [
    (["review"], "--fixed, --moving, --transform, --out is missing"),
    (["review", "nowhere"], "no result folder|no folder"),
    (["review", "DIR", "--transform", "x.h5"], "--transform is for a new one"),
    (["review", "--fixed", "F", "--moving", "M", "--transform", "gone.h5", "--out", "OUT"], "no file"),
    (["review", "DIR", "--verdict", "2"], "has no reviewer"),
    (["review", "DIR", "--tolerances", "gone.json"], "Cannot read the tolerances"),
    (["review", "DIR", "--verdict", "7"], "invalid choice"),
]


@pytest.mark.parametrize(("words", "message"), BAD_WORDS)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str], message: str, case: InputPaths, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"DIR": str(folder), "F": str(case.fixed), "M": str(case.moving), "OUT": str(tmp_path / "new")}
    before = (folder / "review.json").read_bytes()
    assert main([*(names.get(word, word) for word in words), *(["--quiet"] if len(words) > 1 else [])]) == 2
    out = capsys.readouterr()
    assert re.search(message, out.err)
    assert len(out.err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()
    assert (folder / "review.json").read_bytes() == before


def test_the_command_with_tolerances_and_a_verdict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.json"
    assert main(["review", "--write-tolerances", str(file), "--stereotactic"]) == 0
    edited = json.loads(file.read_text())
    edited["name"] = "ours"
    next(row for row in edited["tolerances"] if row["figure"] == "dice")["limit"] = 0.999
    file.write_text(json.dumps(edited))
    words = ["--tolerances", str(file), "--reviewer", "A. B.", "--verdict", "0", "--comment", "all well", "--quiet"]
    assert main(["review", str(folder), *words]) == 0
    out = capsys.readouterr().out
    assert "whole image aligned" in out
    assert "Research use only" in out
    review = read_review(folder)
    assert review is not None
    assert (review.reviewer, review.verdict, review.comment, review.tolerances.name) == ("A. B.", Verdict.WHOLE, "all well", "ours")
    assert {figure.grade for figure in review.figures if figure.figure == "dice"} <= {Grade.AMBER, Grade.RED}
    assert main(["evaluate", str(folder)]) == 0  # a reviewed folder is a result folder like any other


def test_landmarks_that_drove_elsewhere_are_fiducials(case: InputPaths, tmp_path: Path) -> None:
    half = replace(PAIR.fixed_landmarks, points=PAIR.fixed_landmarks.points[::2], names=PAIR.fixed_landmarks.names[::2])
    write_landmarks(tmp_path / "drove.csv", half)
    given = ForeignTransform((_beside(case, "truth.h5"),), driving_landmarks=tmp_path / "drove.csv")
    _, review = finished(review_transform_steps(replace(case, fixed_labels=None, moving_labels=None), given, tmp_path / "out"))
    kinds = [row.kind for row in review.landmarks]
    assert kinds == ["fiducial" if n % 2 == 0 else "target" for n in range(len(kinds))]


def test_an_affine_alone_is_no_merit(case: InputPaths, tmp_path: Path) -> None:
    """greedy's matrix alone cannot fold: that is not green, and its landmark errors are its own."""
    matrix = np.eye(4)
    matrix[:3, 3] = (5, 0, 0)
    np.savetxt(tmp_path / "affine.mat", matrix)
    only = replace(case, fixed_labels=None, moving_labels=None)
    outcome, review = finished(review_transform_steps(only, ForeignTransform((tmp_path / "affine.mat",)), tmp_path / "out"))
    assert not outcome.result.displacement.displacement_mm.any()
    grades = {figure.grade for figure in review.figures if figure.figure.startswith(("fold_", "inverse_"))}
    assert grades <= {Grade.INFO, Grade.NOT_MEASURED}
    errors = PAIR.fixed_landmarks.points + np.array([5.0, 0, 0]) - PAIR.moving_landmarks.points
    np.testing.assert_allclose([row.after_mm for row in review.landmarks], np.linalg.norm(errors, axis=1), atol=1e-3)


def test_steps_can_be_cancelled_and_leave_nothing(case: InputPaths, tmp_path: Path) -> None:
    steps = review_transform_steps(case, ForeignTransform((_beside(case, "truth.h5"),)), tmp_path / "out")
    fractions = [next(steps).fraction for _ in range(6)]
    steps.close()
    assert fractions == sorted(fractions)
    assert not list(tmp_path.iterdir())


def test_progress_never_falls_and_is_fine(folder: Path) -> None:
    fractions = [step.fraction for step in review_folder_steps(folder)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) > 10


def test_a_review_is_a_value(reviewed: Path) -> None:
    review = read_review(reviewed)
    assert review is not None
    assert Review.from_json(review.to_json()) == review
