"""From inputs to a judged result folder, with the real engine on small phantoms; ITK is the referee of what is written."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from cases import inputs_of, write_pair

import napari_deformreg.engine
import napari_deformreg.qa
from napari_deformreg import workflow
from napari_deformreg.errors import FileFormatError, InputError, SettingsError
from napari_deformreg.io import RESULT_FILES, REVIEW_FILES, read_image, read_landmarks, write_image, write_landmarks
from napari_deformreg.phantom import PhantomPair, small_pair
from napari_deformreg.result import Control, RegistrationResult, Step
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, Grid, LabelMap, Landmarks, TransformChain, Volume
from napari_deformreg.workflow import InputPaths, Inputs

QUICK = Settings().changed(refine={"shrink_factors": (4.0, 2.0, 1.0), "steps": (15, 10, 5)}, device="cpu")


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return small_pair((28, 26, 24), seed=11)


@pytest.fixture(scope="module")
def case(pair: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> tuple[InputPaths, Path, list[Step], workflow.Outcome]:
    """One run from files to a folder."""
    base = tmp_path_factory.mktemp("case")
    paths = write_pair(pair, base / "files")
    steps: list[Step] = []
    generator = workflow.run_files(paths, QUICK, base / "out")
    while True:
        try:
            steps.append(next(generator))
        except StopIteration as stop:
            return paths, base / "out", steps, stop.value


def test_folder_holds_every_file_and_nothing_else(case: Any) -> None:
    _, out, _, _ = case
    assert {path.name for path in out.iterdir()} == RESULT_FILES - REVIEW_FILES
    assert [path.name for path in out.parent.iterdir() if "partial" in path.name] == []


def test_progress_never_falls_and_ends_at_one(case: Any) -> None:
    fractions = [step.fraction for step in case[2]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {"read", "prepare", "affine", "refine", "evaluate", "write"} <= {step.stage for step in case[2]}


def test_truth_is_recovered(case: Any, pair: PhantomPair) -> None:
    outcome = case[3]
    points = pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0).astype(float))
    error = np.linalg.norm(outcome.result.fixed_to_moving.map(points) - pair.fixed_to_moving.map(points), axis=1)
    before = np.linalg.norm(points - pair.fixed_to_moving.map(points), axis=1)
    assert error.mean() < 0.35 * before.mean()
    assert outcome.report.value("tre_mm_mean").value < 0.5 * outcome.report.value("tre_mm_mean").before
    assert outcome.folds.foreground.digital_percent == 0


def test_itk_reproduces_moved_and_its_labels(case: Any) -> None:
    paths, out, _, _ = case
    fixed, moving = sitk.ReadImage(str(paths.fixed)), sitk.ReadImage(str(paths.moving), sitk.sitkFloat32)
    transform = sitk.ReadTransform(str(out / "fixed_to_moving.h5"))
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "moved.nii.gz")))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    assert np.abs(moved - theirs).max() < 1e-3 * np.ptp(theirs)
    labels = sitk.Resample(sitk.ReadImage(str(paths.moving_labels)), fixed, transform, sitk.sitkNearestNeighbor, 0)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "moved_labels.nii.gz")))
    assert (ours != sitk.GetArrayFromImage(labels)).mean() < 1e-3, "ties between two voxels may go either way"


def test_tables_agree_with_itk(case: Any, pair: PhantomPair) -> None:
    _, out, _, _ = case
    flip = np.array([-1.0, -1.0, 1.0])
    transform = sitk.ReadTransform(str(out / "fixed_to_moving.h5"))
    carried = np.array([transform.TransformPoint(point) for point in (pair.fixed_landmarks.points * flip).tolist()]) * flip
    expected = np.linalg.norm(carried - pair.moving_landmarks.points, axis=1)
    header, *rows = [line.split(",") for line in (out / "landmarks.csv").read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == list(pair.fixed_landmarks.names)
    assert [float(row[header.index("tre_after_mm")]) for row in rows] == pytest.approx(expected, abs=2e-3)
    back = read_landmarks(out / "moving_landmarks_in_fixed.csv")
    again = np.array([transform.TransformPoint(point) for point in (back.points * flip).tolist()]) * flip
    assert np.linalg.norm(again - pair.moving_landmarks.points, axis=1).max() < 0.01


def test_settings_of_the_folder_reproduce_the_run(case: Any, pair: PhantomPair) -> None:
    _, out, _, outcome = case
    settings = Settings.from_json((out / "settings.json").read_text(encoding="utf-8"))
    assert settings == QUICK
    again = workflow.finished(workflow.run(inputs_of(pair), settings))
    assert np.array_equal(again.result.displacement.displacement_mm, outcome.result.displacement.displacement_mm)
    assert np.array_equal(again.result.affine.matrix, outcome.result.affine.matrix)


def test_folder_is_read_back_and_judged_alike(case: Any) -> None:
    paths, out, _, outcome = case
    again = workflow.evaluate_folder(out)
    for value in outcome.report.values:
        found = next(v for v in again.report.values if (v.name, v.domain) == (value.name, value.domain))
        assert found.value == pytest.approx(value.value, rel=1e-2, abs=1e-3), value.name
    assert again.result.status == outcome.result.status
    assert again.report.provenance["notices"] == outcome.report.provenance["notices"]
    noted = workflow.noted_paths(out)
    assert (noted.fixed, noted.moving_labels) == (str(paths.fixed), str(paths.moving_labels))


def test_folder_is_judged_by_landmarks_that_came_later(case: Any, pair: PhantomPair, tmp_path: Path) -> None:
    paths, out, _, _ = case
    wrong_by_mm = np.array([0.0, 0.0, 6.0])
    write_landmarks(tmp_path / "f.csv", Landmarks(pair.fixed_landmarks.points[:1], ("new",)))
    write_landmarks(tmp_path / "m.csv", Landmarks(pair.moving_landmarks.points[:1] + wrong_by_mm, ("new",)))
    report = workflow.evaluate_folder(out, replace(paths, fixed_landmarks=tmp_path / "f.csv", moving_landmarks=tmp_path / "m.csv")).report
    assert len(report.landmarks) == 1
    assert report.value("tre_mm_mean").value == pytest.approx(6.0, abs=3.0)


def test_judging_with_another_fixed_image_or_a_foreign_folder_is_refused(case: Any, tmp_path: Path) -> None:
    paths, out, _, _ = case
    small = small_pair((20, 20, 20))
    write_image(tmp_path / "small.nii.gz", small.fixed)
    other = InputPaths(tmp_path / "small.nii.gz", paths.moving)
    with pytest.raises(InputError, match="another grid"):
        workflow.evaluate_folder(out, other)
    with pytest.raises(InputError, match="not a result folder"):
        workflow.evaluate_folder(tmp_path)


def test_folder_that_does_not_name_its_inputs_says_so(case: Any, tmp_path: Path) -> None:
    workflow.write_outcome(case[3], tmp_path / "out")
    with pytest.raises(InputError, match="--fixed and --moving"):
        workflow.evaluate_folder(tmp_path / "out")


def test_folder_with_a_foreign_transform_is_refused(case: Any, tmp_path: Path) -> None:
    workflow.write_outcome(case[3], tmp_path / "out")
    sitk.WriteTransform(sitk.CompositeTransform([sitk.AffineTransform(3)]), str(tmp_path / "out" / "fixed_to_moving.h5"))
    with pytest.raises(FileFormatError, match="one displacement field and one affine"):
        workflow.read_result(tmp_path / "out")


def test_apply_transform_file_gives_moved_again(case: Any, tmp_path: Path) -> None:
    paths, out, _, _ = case
    workflow.apply_transform_file(out / "fixed_to_moving.h5", paths.moving, paths.fixed, tmp_path / "moved.nii.gz")
    assert np.allclose(read_image(tmp_path / "moved.nii.gz").data, read_image(out / "moved.nii.gz").data, atol=0.05)
    workflow.apply_transform_file(out / "fixed_to_moving.h5", paths.moving_labels, paths.fixed, tmp_path / "labels.nii.gz", labels=True)
    ours, theirs = (sitk.GetArrayFromImage(sitk.ReadImage(str(f))) for f in (tmp_path / "labels.nii.gz", out / "moved_labels.nii.gz"))
    assert (ours != theirs).mean() < 1e-3


def test_apply_points_file_agrees_with_itk_and_its_inverse_undoes_it(case: Any, pair: PhantomPair, tmp_path: Path) -> None:
    out = case[1]
    flip = np.array([-1.0, -1.0, 1.0])
    write_landmarks(tmp_path / "points.csv", pair.fixed_landmarks, coordinate_system="LPS")
    workflow.apply_points_file(out / "fixed_to_moving.h5", tmp_path / "points.csv", tmp_path / "there.csv")
    there = read_landmarks(tmp_path / "there.csv")
    transform = sitk.ReadTransform(str(out / "fixed_to_moving.h5"))
    expected = np.array([transform.TransformPoint(point) for point in (pair.fixed_landmarks.points * flip).tolist()]) * flip
    assert np.abs(there.points - expected).max() < 1e-3
    workflow.apply_points_file(out / "fixed_to_moving.h5", tmp_path / "there.csv", tmp_path / "back.csv", inverse=True)
    assert np.abs(read_landmarks(tmp_path / "back.csv").points - pair.fixed_landmarks.points).max() < 1e-3
    assert "residual_mm" in (tmp_path / "back.csv").read_text(encoding="utf-8").splitlines()[0]


def test_inverse_points_go_through_chains_of_several_fields(pair: PhantomPair) -> None:
    found = workflow.inverse_points_through(TransformChain((pair.fixed_to_moving,)), pair.moving_landmarks.points)
    assert np.abs(pair.fixed_to_moving.map(found.points) - pair.moving_landmarks.points).max() < 1e-3
    assert found.residual_mm.max() < 1e-3
    assert not found.outside_field.any()

    class Other:
        def map(self, points: np.ndarray) -> np.ndarray:
            return points

    with pytest.raises(InputError, match="Cannot invert a Other"):
        workflow.inverse_points_through(TransformChain((Other(),)), pair.moving_landmarks.points)


# What is refused


def changed(pair: PhantomPair, **parts: Any) -> Inputs:
    return replace(inputs_of(pair), **parts)


def _flat(volume: Volume) -> Volume:
    return replace(volume, data=np.full(volume.grid.shape, 7.0, np.float32))


def _broken(volume: Volume) -> Volume:
    data = volume.data.copy()
    data[3, 4, 5] = np.nan
    return replace(volume, data=data)


def _far(labels: LabelMap) -> LabelMap:
    affine = labels.grid.affine.copy()
    affine[:3, 3] += 900
    return replace(labels, grid=Grid(labels.grid.shape, affine))


REFUSED = {
    "constant": (lambda p: {"fixed": _flat(p.fixed)}, "constant"),
    "not finite": (lambda p: {"moving": _broken(p.moving)}, "NaN"),
    "slice to volume": (
        lambda p: {"fixed": small_pair((28, 26, 1)).fixed, "fixed_landmarks": None, "fixed_labels": None},
        "single slice",
    ),
    "fixed landmarks alone": (lambda p: {"moving_landmarks": None}, "Fixed landmarks were given without moving"),
    "fixed labels alone": (lambda p: {"moving_labels": None}, "Fixed labels were given without moving"),
    "names": (
        lambda p: {"moving_landmarks": Landmarks(p.moving_landmarks.points, ("x", *p.moving_landmarks.names[1:]))},
        "only in moving: x",
    ),
    "landmark outside": (
        lambda p: {"fixed_landmarks": Landmarks(p.fixed_landmarks.points + np.array([0, 0, 300.0]), p.fixed_landmarks.names)},
        "10 of 10 fixed landmarks lie outside the fixed image.*front",
    ),
    "labels elsewhere": (lambda p: {"moving_labels": _far(p.moving_labels)}, "do not overlap"),
    "empty mask": (lambda p: {"fixed_mask": replace(p.fixed_labels, data=np.zeros_like(p.fixed_labels.data))}, "empty"),
    "no landmarks": (
        lambda p: {"fixed_landmarks": Landmarks(np.zeros((0, 3)), ()), "moving_landmarks": Landmarks(np.zeros((0, 3)), ())},
        "empty",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_inputs_that_do_not_belong_together_are_refused(pair: PhantomPair, what: str) -> None:
    change, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        workflow.finished(workflow.run(changed(pair, **change(pair)), QUICK))


@pytest.mark.parametrize("kind", ["landmark", "label"])
def test_weights_without_the_thing_are_refused(pair: PhantomPair, kind: str) -> None:
    settings = QUICK.changed(refine={f"{kind}_weight": 1.0})
    with pytest.raises(SettingsError, match=f"refine.{kind}_weight"):
        workflow.check_inputs(Inputs(pair.fixed, pair.moving), settings)


def test_landmark_on_the_rim_is_accepted(pair: PhantomPair) -> None:
    corner = pair.fixed.grid.voxel_to_world(np.array([[-1.2, 0.0, 0.0]]))
    inputs = Inputs(pair.fixed, pair.moving, Landmarks(corner, ("a",)), Landmarks(pair.moving_landmarks.points[:1], ("a",)))
    assert workflow.check_inputs(inputs, QUICK).landmark_pairs is not None


def test_labels_on_another_grid_are_put_onto_the_images(pair: PhantomPair) -> None:
    finer = pair.fixed.grid.resized((55, 51, 47))
    voxels = np.rint(pair.fixed.grid.world_to_voxel(finer.voxel_to_world(finer.voxel_indices()))).astype(int)
    labels = LabelMap(pair.fixed_labels.data[tuple(voxels.T)].reshape(finer.shape), finer, label_names=pair.fixed_labels.label_names)
    checked = workflow.check_inputs(changed(pair, fixed_labels=labels), QUICK)
    assert checked.fixed_labels is not None
    assert checked.fixed_labels.grid == pair.fixed.grid
    assert np.array_equal(checked.fixed_labels.data, pair.fixed_labels.data)
    assert checked.fixed_labels.label_names == pair.fixed_labels.label_names
    assert any("another grid" in notice for notice in checked.notices)


# The order of work, with a stand-in for the engine


class StandIn:
    """Yields three steps and returns the identity; notes what it was told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.received: list[Control | None] = []
        self.closed = False

    def __call__(
        self, fixed: Volume, moving: Volume, settings: Settings, **rest: Any
    ) -> Generator[Step, Control | None, RegistrationResult]:
        self.told = rest
        try:
            for number in range(3):
                self.received.append((yield Step("refine", fraction=number / 2)))
        finally:
            self.closed = True
        return identity_result(fixed.grid, settings)


def identity_result(grid: Grid, settings: Settings) -> RegistrationResult:
    from napari_deformreg.result import Provenance, Status
    from napari_deformreg.space import DisplacementField

    still = DisplacementField(grid, np.zeros((*grid.shape, 3), np.float32))
    origin = Provenance("0", "cpu", {"refine": 0.1})
    return RegistrationResult(AffineTransform.identity(), still, still, None, None, Status.CONVERGED, (), settings, origin)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(napari_deformreg.engine, "register_steps", stand_in)
    return stand_in


def test_controls_reach_the_engine_and_closing_closes_it(engine: StandIn, pair: PhantomPair) -> None:
    steps = workflow.run(inputs_of(pair), QUICK)
    stages = [next(steps).stage, next(steps).stage]
    assert stages == ["prepare", "refine"]
    steps.send(Control.FINISH_NOW)
    assert engine.received == [Control.FINISH_NOW]
    steps.close()
    assert engine.closed


def test_labels_and_landmarks_drive_only_where_they_have_a_weight(engine: StandIn, pair: PhantomPair) -> None:
    workflow.finished(workflow.run(inputs_of(pair), QUICK))
    assert engine.told["landmarks"] is None
    assert engine.told["fixed_labels"] is None
    driven = QUICK.changed(refine={"landmark_weight": 1.0, "label_weight": 1.0})
    workflow.finished(workflow.run(inputs_of(pair), driven))
    assert len(engine.told["landmarks"]) == len(pair.fixed_landmarks)
    assert engine.told["moving_labels"] is pair.moving_labels


def test_moving_labels_and_landmarks_may_come_alone(engine: StandIn, pair: PhantomPair, tmp_path: Path) -> None:
    inputs = Inputs(pair.fixed, pair.moving, moving_landmarks=pair.moving_landmarks, moving_labels=pair.moving_labels)
    outcome = workflow.finished(workflow.run(inputs, QUICK))
    workflow.write_outcome(outcome, tmp_path / "out")
    assert {"moved_labels.nii.gz", "moving_landmarks_in_fixed.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "landmarks.csv").exists()
    carried = read_landmarks(tmp_path / "out" / "moving_landmarks_in_fixed.csv")
    assert np.allclose(carried.points, pair.moving_landmarks.points, atol=1e-5)


def test_headers_alone_place_moving_before(engine: StandIn, pair: PhantomPair) -> None:
    outcome = workflow.finished(workflow.run(inputs_of(pair), QUICK))
    assert np.array_equal(outcome.moving_before.data, outcome.moved.data), "the stand-in moves nothing"
    assert outcome.jacobian.grid == pair.fixed.grid
    assert np.allclose(outcome.jacobian.data, 1)


def test_cancelled_run_writes_nothing(engine: StandIn, pair: PhantomPair, tmp_path: Path) -> None:
    steps = workflow.run_files(write_pair(pair, tmp_path / "files"), QUICK, tmp_path / "out")
    for _ in range(3):
        next(steps)
    steps.close()
    assert engine.closed
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_failure_while_writing_leaves_the_older_result(
    engine: StandIn, pair: PhantomPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_pair(pair, tmp_path / "files")
    workflow.finished(workflow.run_files(paths, QUICK, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def broken(*_: Any, **__: Any) -> str:
        raise MemoryError

    monkeypatch.setattr(napari_deformreg.qa, "report_html", broken)
    with pytest.raises(MemoryError):
        workflow.finished(workflow.run_files(paths, QUICK.changed(seed=5), tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "out"]


def test_place_that_is_taken_is_refused_before_the_work(engine: StandIn, pair: PhantomPair, tmp_path: Path) -> None:
    paths = write_pair(pair, tmp_path / "files")
    with pytest.raises(InputError, match="neither empty nor an older result"):
        next(workflow.run_files(paths, QUICK, tmp_path / "files"))
    assert not engine.told


def test_notices_of_labels_reach_the_report(engine: StandIn, pair: PhantomPair, tmp_path: Path) -> None:
    labels = replace(pair.moving_labels, notices=("Labels were mended.",))
    outcome = workflow.finished(workflow.run(changed(pair, moving_labels=labels), QUICK))
    workflow.write_outcome(outcome, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["provenance"]["notices"].count("Labels were mended.") == 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_colors_are_carried_channel_by_channel_and_are_transparent_outside(suffix: str, depth: Any, rng: Any, tmp_path: Path) -> None:
    """As SimpleITK resamples a vector image; what lies outside the moving picture cannot be seen."""
    largest = np.iinfo(depth).max
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((30, 40), np.uint8)), str(tmp_path / "fixed.png"))
    moving = sitk.GetImageFromArray(rng.integers(0, largest, (34, 38, 3)).astype(depth), isVector=True)
    sitk.WriteImage(moving, str(tmp_path / f"moving{suffix}"))
    turn = sitk.Euler3DTransform((20.0, 15.0, 0.0), 0.0, 0.0, 0.2, (3.0, -2.0, 0.0))
    sitk.WriteTransform(turn, str(tmp_path / "turn.tfm"))
    workflow.apply_transform_file(tmp_path / "turn.tfm", tmp_path / f"moving{suffix}", tmp_path / "fixed.png", tmp_path / f"moved{suffix}")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"moved{suffix}")))
    assert found.dtype == depth
    like = sitk.JoinSeries(sitk.ReadImage(str(tmp_path / "fixed.png")))
    inside = sitk.Resample(sitk.JoinSeries(sitk.Image(38, 34, sitk.sitkUInt8) + 1), like, turn, sitk.sitkNearestNeighbor, 0)
    seen = sitk.GetArrayFromImage(inside)[0] > 0
    assert (found[seen][:, 3] == largest).all()
    assert (found[~seen] == 0).all()
    expected = sitk.GetArrayFromImage(sitk.Resample(sitk.JoinSeries(moving), like, turn, sitk.sitkLinear, 0.0))[0].astype(float)
    assert 0.5 < seen.mean() < 1
    assert np.abs(found[..., :3].astype(float) - expected)[seen].max() <= 1


def test_a_gray_image_becomes_no_color_picture(case: Any, tmp_path: Path) -> None:
    paths, out, _, _ = case
    with pytest.raises(InputError, match="has no colors"):
        workflow.apply_transform_file(out / "fixed_to_moving.h5", paths.moving, paths.fixed, tmp_path / "moved.png")
