"""What a hand on the mouse does with pairs: drags in every plane and in the linked views; solving again, measuring, a crash."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from landmark_helpers import pixel_mm, settle
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_deformreg.io import read_pairs
from napari_deformreg.ui.landmarks.pair_layers import ON_FIXED, ON_MOVING
from napari_deformreg.ui.landmarks_dock import LandmarksDock
from napari_deformreg.ui.orthogonal_dock import OrthogonalDock
from napari_deformreg.ui.shown import topmost

pytestmark = pytest.mark.window


def press(button, qtbot):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def end_of(dock, name, side):
    return next(end for end in dock.desk.layers.ends if (end.name, end.side) == (name, side))


def a_pair(dock, mouse, outcome, offset=0.0, off_mm=(0.0, 4.0, -4.0)):
    """Click one; its partner lies some millimeters from where the registration has it."""
    drawn = dock.desk.case.now.drawn_fixed(outcome.inputs.fixed.grid.center[None] + offset)[0]
    mouse.show_slice(drawn)
    mouse.click(drawn)
    mouse.click(np.add(drawn, off_mm))
    return dock.desk.pairs.names[-1]


def saved(dock, folder):
    dock.export_pairs(folder / "saved.csv")
    return (folder / "saved.csv").read_bytes()


@pytest.mark.parametrize(("order", "shift"), [((1, 0, 2), (5.0, 0.0, -6.0)), ((2, 0, 1), (-6.0, 5.0, 0.0))])
def test_an_end_is_dragged_in_the_coronal_and_sagittal_plane(dock, viewer, mouse, outcome, order, shift, qtbot):
    """Both ends go where the mouse lets them go; the registration follows; undo brings the bytes back."""
    settle(dock, qtbot)
    dock.desk.radius_mm = 20.0
    name = a_pair(dock, mouse, outcome)
    settle(dock, qtbot)
    viewer.dims.order = order
    for side in (ON_MOVING, ON_FIXED):
        dock.desk.case.panel.controls.blend.setValue(100 if side == ON_MOVING else 0)
        end = end_of(dock, name, side)
        mouse.show_slice(end.drawn)
        dock.desk.case.panel.controls.blend.setValue(100 if side == ON_MOVING else 0)
        before, pair = dock.desk.case.now.displacement.displacement_mm.copy(), dock.desk.pairs[name]
        wanted = dock.desk.case.now.clicked_moving(tuple(np.add(end.drawn, shift)))
        mouse.drag(end.drawn, np.add(end.drawn, shift))
        settle(dock, qtbot)
        now = dock.desk.pairs[name]
        if side == ON_MOVING:
            assert np.linalg.norm(np.array(now.moving_mm) - wanted) < 3 * pixel_mm(viewer)
            assert now.fixed_mm == pair.fixed_mm
        else:
            place = dock.desk.case.now.drawn_fixed(np.array([now.fixed_mm]))[0]
            np.testing.assert_allclose(place, np.add(end.drawn, shift), atol=2 * pixel_mm(viewer))
            assert now.moving_mm == pair.moving_mm
        assert (dock.desk.case.now.displacement.displacement_mm != before).any()
        press(dock.page.undo_button, qtbot)
        settle(dock, qtbot)
        np.testing.assert_array_equal(dock.desk.case.now.displacement.displacement_mm, before)
        assert dock.desk.pairs[name] == pair


def send(view, kind, point, buttons):
    button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
    event = QMouseEvent(kind, point, view.mapToGlobal(point.toPoint()).toPointF(), button, buttons, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(view, event)
    QApplication.processEvents()


def test_an_end_is_dragged_in_the_linked_views(dock, viewer, mouse, panel, outcome, tmp_path, qtbot):
    """In both of them, with real mouse events; a view that is dragged in does not move its crosshair; all of it goes back and forth."""
    settle(dock, qtbot)
    dock.desk.radius_mm = 20.0
    name = a_pair(dock, mouse, outcome)
    settle(dock, qtbot)
    files = [saved(dock, tmp_path)]
    panel.open_planes()
    planes = next(iter(topmost(dock).findChildren(OrthogonalDock)))
    qtbot.waitUntil(lambda: all(view.hand is not None for view in planes.views), timeout=60_000)
    for view in planes.views:
        end = end_of(dock, name, ON_FIXED)
        panel.controls.blend.setValue(0)
        planes.go_to(end.drawn)
        qtbot.waitUntil(lambda view=view, end=end: np.allclose(view.place, end.drawn, atol=2.1) and bool(view._pictures), timeout=60_000)
        panel.controls.blend.setValue(0)
        start = view.to_screen(end.drawn[view.plane.vertical], end.drawn[view.plane.horizontal])
        target = list(end.drawn)
        target[view.plane.vertical] += 6.0
        target[view.plane.horizontal] -= 5.0
        stop = view.to_screen(target[view.plane.vertical], target[view.plane.horizontal])
        crosshair = planes.place
        send(view, QEvent.Type.MouseButtonPress, start, Qt.MouseButton.LeftButton)
        for part in (0.3, 0.6, 1.0):
            between = QPointF(start.x() + part * (stop.x() - start.x()), start.y() + part * (stop.y() - start.y()))
            send(view, QEvent.Type.MouseMove, between, Qt.MouseButton.LeftButton)
        send(view, QEvent.Type.MouseButtonRelease, stop, Qt.MouseButton.NoButton)
        settle(dock, qtbot)
        assert planes.place == crosshair
        place = dock.desk.case.now.drawn_fixed(np.array([dock.desk.pairs[name].fixed_mm]))[0]
        np.testing.assert_allclose(place, target, atol=0.05)
        assert dock.desk.history.to_undo.text == f"move {name}"
        assert dock.desk.history.to_undo.corrected
        files.append(saved(dock, tmp_path))
    for wanted in reversed(files[:-1]):
        press(dock.page.undo_button, qtbot)
        settle(dock, qtbot)
        assert saved(dock, tmp_path) == wanted
    for wanted in files[1:]:
        press(dock.page.redo_button, qtbot)
        settle(dock, qtbot)
        assert saved(dock, tmp_path) == wanted


def test_solve_again_takes_the_new_radius_and_is_a_step_of_its_own(dock, viewer, mouse, outcome, qtbot):
    settle(dock, qtbot)
    dock.page.radius.setValue(12.0)
    dock.page.radius.editingFinished.emit()
    settle(dock, qtbot)
    name = a_pair(dock, mouse, outcome)
    settle(dock, qtbot)
    now, grid = dock.desk.case.now, outcome.inputs.fixed.grid
    fixed_mm = np.array(dock.desk.pairs[name].fixed_mm)
    automatic = dock.desk.case.automatic.displacement.displacement_mm

    def reach():
        changed = (now.displacement.displacement_mm != automatic).any(axis=-1)
        return np.linalg.norm(grid.voxel_to_world(np.argwhere(changed).astype(float)) - fixed_mm, axis=1).max()

    first, pairs = now.displacement.displacement_mm.copy(), dock.desk.pairs
    assert reach() <= 12.0 + 1e-6
    dock.page.at_once.setChecked(False)
    dock.page.radius.setValue(30.0)
    press(dock.page.solve_button, qtbot)
    settle(dock, qtbot)
    assert 12.0 < reach() <= 30.0 + 1e-6
    assert dock.desk.pairs == pairs
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, first)


def test_measure_judges_what_is_shown(dock, viewer, mouse, panel, outcome, qtbot):
    """The report, the outcome and what may be saved are those of the corrected registration; the dock goes on from there."""
    settle(dock, qtbot)
    dock.desk.radius_mm = 20.0
    name = a_pair(dock, mouse, outcome)
    settle(dock, qtbot)
    corrected = dock.desk.case.now.displacement.displacement_mm.copy()
    assert not panel.save_button.isEnabled()
    press(dock.page.measure_button, qtbot)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: panel.save_button.isEnabled() and not dock.desk.case.busy, timeout=300_000)
    found = panel.current.outcome
    np.testing.assert_array_equal(found.result.displacement.displacement_mm, corrected)
    carried = found.result.fixed_to_moving.map(outcome.inputs.fixed_landmarks.points)
    pairs = found.landmarks.pairs
    order = [pairs.names.index(one) for one in outcome.inputs.fixed_landmarks.names]
    truth = np.linalg.norm(carried - pairs.moving_points[order], axis=1)
    np.testing.assert_allclose(found.landmarks.after_mm[order], truth, atol=1e-6)
    assert dock.desk.pairs.names == (name,)
    np.testing.assert_array_equal(dock.desk.case.automatic.displacement.displacement_mm, outcome.result.displacement.displacement_mm)
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(dock.desk.case.now.displacement.displacement_mm, outcome.result.displacement.displacement_mm)
    assert not panel.save_button.isEnabled()
    press(dock.page.redo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(dock.desk.case.now.displacement.displacement_mm, corrected)
    assert panel.save_button.isEnabled(), "this was measured"


CRASHING = """
    import os, signal, sys
    from qtpy.QtWidgets import QApplication
    app = QApplication([])
    from napari_deformreg.io import read_pairs
    from napari_deformreg.ui.landmarks import keeper
    from napari_deformreg.ui.landmarks.pair_list import PairList
    from pathlib import Path
    keeper.kept_folder = lambda: Path(sys.argv[1])
    found = read_pairs(sys.argv[2])
    pairs = PairList().joined(found.pairs, found.weights)
    one = keeper.PairKeeper(lambda: (pairs, "a case"))
    one.touch()
    while one._timer.isActive():
        app.processEvents()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_pairs_of_a_window_that_was_killed_come_back_with_the_same_bytes(dock, viewer, mouse, outcome, unsaved, tmp_path, qtbot):
    """Another process keeps them and is killed at once, its lock still held; what the next window brings back is exported the same."""
    dock.page.at_once.setChecked(False)
    for offset in (0.0, 5.0, -7.5):
        a_pair(dock, mouse, outcome, offset)
    before = saved(dock, tmp_path)
    assert len(read_pairs(tmp_path / "saved.csv").pairs) == 3
    command = [sys.executable, "-c", textwrap.dedent(CRASHING), str(unsaved), str(tmp_path / "saved.csv")]
    died = subprocess.run(command, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, timeout=300, check=False)
    assert died.returncode == -signal.SIGKILL
    other = LandmarksDock(viewer)
    viewer.window.add_dock_widget(other, name="Other")
    qtbot.waitUntil(lambda: other.page.recovery.isVisibleTo(other), timeout=60_000)
    assert other.page.recovery.text.text().startswith("3 landmark pairs of a case")
    press(other.page.recovery.open_button, qtbot)
    assert saved(other, tmp_path) == before
    assert not other.keeper.left_behind()
    other.shut_down()
