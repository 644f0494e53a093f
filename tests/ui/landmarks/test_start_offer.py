"""A registration that began from the wrong place is begun again from the pairs, through the real widgets and the real engine."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.spatial.transform import Rotation
from window_helpers import QUICK

from napari_deformreg import io
from napari_deformreg.space import AffineTransform, Grid, LandmarkPairs, Landmarks
from napari_deformreg.ui.landmarks.directions import Directions
from napari_deformreg.ui.landmarks.start_offer import start_is_wrong
from napari_deformreg.ui.landmarks_dock import LandmarksDock
from napari_deformreg.ui.pictures import picture_of_outcome
from napari_deformreg.ui.register_dock import RegisterDock
from napari_deformreg.ui.result_layers import result_layers
from napari_deformreg.ui.review_dock import ReviewDock
from napari_deformreg.workflow import InputPaths, Inputs, finished, read_inputs, run, write_outcome

pytestmark = pytest.mark.window


@pytest.fixture
def turned(pair):
    """The small pair, with the moving image's header turned by 120 degrees: the header's position is no start."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 120, degrees=True).as_matrix()
    moving = replace(pair.moving, grid=Grid(pair.moving.grid.shape, matrix @ pair.moving.grid.affine))
    points = Landmarks(AffineTransform(matrix).map(pair.moving_landmarks.points), pair.moving_landmarks.names)
    return Inputs(pair.fixed, moving), LandmarkPairs.match(pair.fixed_landmarks, points)


def errors(now, pairs):
    return np.linalg.norm(now.partners(pairs.fixed_points) - pairs.moving_points, axis=1)


def test_a_wrong_start_is_offered_to_be_made_again_from_the_pairs(turned, make_napari_viewer_proxy, tmp_path, qtbot):
    inputs, pairs = turned
    outcome = finished(run(inputs, QUICK))
    picture = picture_of_outcome(outcome)
    viewer = make_napari_viewer_proxy()
    register = RegisterDock(viewer)
    viewer.window.add_dock_widget(register, name="Register")
    dock = LandmarksDock(viewer)
    viewer.window.add_dock_widget(dock, name="Landmarks")
    try:
        with qtbot.waitSignal(register.result.shown, timeout=300_000):
            register.result.show_outcome(outcome, picture, result_layers(picture), None, None)
        qtbot.waitUntil(lambda: dock.desk.case.now is not None, timeout=300_000)
        before = errors(dock.desk.case.now, pairs)
        assert before.mean() > 20
        dock.page.at_once.setChecked(False)
        assert not dock.page.start.isVisibleTo(dock), "nothing tells before there are pairs"
        some = LandmarkPairs(pairs.names[:2], pairs.fixed_points[:2], pairs.moving_points[:2])
        io.write_pairs(tmp_path / "two.csv", some)
        io.write_pairs(tmp_path / "all.csv", LandmarkPairs(pairs.names[2:], pairs.fixed_points[2:], pairs.moving_points[2:]))
        dock.import_pairs([tmp_path / "two.csv"])
        assert not dock.page.start.isVisibleTo(dock), "two pairs place nothing"
        dock.import_pairs([tmp_path / "all.csv"])
        assert dock.page.start.isVisibleTo(dock)
        assert "start looks wrong" in dock.page.start.text.text()
        with qtbot.waitSignal(register.result.shown, timeout=600_000):
            qtbot.mouseClick(dock.page.start.start_button, Qt.MouseButton.LeftButton)
            qtbot.waitUntil(lambda: register.runner.busy, timeout=10_000)
            assert register.page.settings().affine.start == "landmarks"
        qtbot.waitUntil(lambda: dock.desk.case.now is not None and not dock.desk.case.busy, timeout=300_000)
        found = register.result.current.outcome
        assert found.result.settings.affine.start == "landmarks"
        after = errors(dock.desk.case.now, pairs)
        assert after.mean() < 0.15 * before.mean()
        assert not dock.page.start.isVisibleTo(dock)
        assert set(dock.desk.pairs.names) == set(pairs.names), "the pairs stay"
    finally:
        dock.shut_down()
        register.shut_down()


def test_a_result_folder_is_begun_again_from_its_files(turned, make_napari_viewer_proxy, tmp_path, qtbot):
    """From the images that it notes; without them, or without a Register dock, one is told what to do."""
    inputs, pairs = turned
    paths = InputPaths(tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    io.write_image(paths.fixed, inputs.fixed)
    io.write_image(paths.moving, inputs.moving)
    write_outcome(finished(run(read_inputs(paths), QUICK)), tmp_path / "result", paths)
    io.write_pairs(tmp_path / "pairs.csv", pairs)
    viewer = make_napari_viewer_proxy()
    review = ReviewDock(viewer)
    viewer.window.add_dock_widget(review, name="Review")
    dock = LandmarksDock(viewer)
    viewer.window.add_dock_widget(dock, name="Landmarks")
    offer, register = dock.page.start, None
    try:
        with qtbot.waitSignal(review.own.shown, timeout=300_000):
            review.open_result(tmp_path / "result")
        qtbot.waitUntil(lambda: dock.desk.case.now is not None, timeout=300_000)
        dock.page.at_once.setChecked(False)
        dock.import_pairs([tmp_path / "pairs.csv"])
        assert offer.isVisibleTo(dock)
        assert not offer.start_button.isEnabled()
        assert "Register</i> dock" in offer.text.text()
        register = RegisterDock(viewer)
        viewer.window.add_dock_widget(register, name="Register")
        hidden = paths.moving.rename(tmp_path / "elsewhere.nii.gz")
        dock._refresh()
        assert not offer.start_button.isEnabled()
        assert str(paths.moving) in offer.text.text()
        hidden.rename(paths.moving)
        dock._refresh()
        assert offer.start_button.isEnabled()
        before = errors(dock.desk.case.now, pairs)
        with qtbot.waitSignal(register.result.shown, timeout=600_000):
            qtbot.mouseClick(offer.start_button, Qt.MouseButton.LeftButton)
        found = register.result.current
        assert found.outcome.result.settings == QUICK.changed(affine={"start": "landmarks"})
        assert (str(found.paths.fixed), str(found.paths.moving)) == (str(paths.fixed), str(paths.moving))
        now = Directions(found.outcome.result.displacement, found.outcome.result.affine)
        assert errors(now, pairs).mean() < 0.15 * before.mean()
    finally:
        dock.shut_down()
        review.shut_down()
        if register is not None:
            register.shut_down()


def test_a_right_start_is_not_doubted(outcome, pair):
    """Nor is one doubted by pairs on a line, which place nothing."""
    pairs = LandmarkPairs.match(pair.fixed_landmarks, pair.moving_landmarks)
    now = Directions(outcome.result.displacement, outcome.result.affine)
    assert start_is_wrong(now, pairs) is None
    line = np.linspace(0, 1, 5)[:, None] * np.array([[30.0, 10, 5]])
    assert start_is_wrong(now, LandmarkPairs(tuple("abcde"), line, line + 200)) is None
    assert start_is_wrong(now, LandmarkPairs(pairs.names, pairs.fixed_points, pairs.moving_points + 200)) is not None
