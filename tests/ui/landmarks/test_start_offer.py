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
from napari_deformreg.workflow import Inputs, finished, run

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


def test_a_right_start_is_not_doubted(outcome, pair):
    """Nor is one doubted by pairs on a line, which place nothing."""
    pairs = LandmarkPairs.match(pair.fixed_landmarks, pair.moving_landmarks)
    now = Directions(outcome.result.displacement, outcome.result.affine)
    assert start_is_wrong(now, pairs) is None
    line = np.linspace(0, 1, 5)[:, None] * np.array([[30.0, 10, 5]])
    assert start_is_wrong(now, LandmarkPairs(tuple("abcde"), line, line + 200)) is None
    assert start_is_wrong(now, LandmarkPairs(pairs.names, pairs.fixed_points, pairs.moving_points + 200)) is not None
