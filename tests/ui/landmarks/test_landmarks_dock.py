"""The Landmarks dock in a real window: pairs by mouse events on the canvas, and a correction that the engine makes in its own process."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from landmark_helpers import pixel_mm, settle
from qtpy.QtCore import Qt

from napari_deformreg.errors import InputError
from napari_deformreg.io import read_landmarks, write_transform
from napari_deformreg.space import TransformChain
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.landmarks.pair_figures import fits_now
from napari_deformreg.ui.landmarks.pair_layers import ON_FIXED, ON_MOVING, SIDES
from napari_deformreg.ui.landmarks.pair_list import Use
from napari_deformreg.ui.landmarks_dock import LandmarksDock

pytestmark = pytest.mark.window

LPS = np.array([-1.0, -1.0, 1.0])


def test_a_pair_by_two_clicks_means_the_right_places(dock, viewer, mouse, outcome, tmp_path, qtbot):
    """In all three planes; judged by SimpleITK, which reads the exported transform."""
    result = outcome.result
    write_transform(tmp_path / "found.h5", TransformChain((result.displacement, result.affine)))
    itk = sitk.ReadTransform(str(tmp_path / "found.h5"))
    dock.page.at_once.setChecked(False)
    grid = outcome.inputs.fixed.grid
    for n, order in enumerate([(0, 1, 2), (1, 0, 2), (2, 0, 1)]):
        viewer.dims.order = order
        fixed_mm = grid.voxel_to_world(np.array([[9.0 + 2 * n, 11.0, 13.0 - n]]))[0]
        # On a slice as well: napari's sliders stop at slices, and a click means a place on the displayed one.
        partner_shown = fixed_mm + grid.spacing * [1, -1, 2]
        for point in (fixed_mm, partner_shown):
            drawn = dock.desk.case.now.drawn_fixed(point[None])[0]
            mouse.show_slice(drawn)
            mouse.click(drawn)
        pair = dock.desk.pairs.pairs[-1]
        assert (pair.number, pair.complete) == (n + 1, True)
        assert np.abs(np.array(pair.fixed_mm) - fixed_mm).max() < pixel_mm(viewer)
        theirs = np.array(itk.TransformPoint([float(v) for v in partner_shown * LPS])) * LPS
        assert np.linalg.norm(np.array(pair.moving_mm) - theirs) < 2.5 * pixel_mm(viewer)
        shown = {end.side: end.drawn for end in dock.desk.layers.ends if end.name == pair.name}
        np.testing.assert_allclose(shown[ON_FIXED], dock.desk.case.now.drawn_fixed(fixed_mm[None])[0], atol=pixel_mm(viewer))
        np.testing.assert_allclose(shown[ON_MOVING], drawn, atol=2 * pixel_mm(viewer))
    assert [len(viewer.layers[side].data) for side in SIDES] == [3, 3]
    np.testing.assert_allclose(viewer.layers[ON_MOVING].data_to_world(viewer.layers[ON_MOVING].data[2]), shown[ON_MOVING], atol=1e-6)


def test_the_side_that_the_next_click_means_is_shown(dock, viewer, mouse, panel, outcome):
    dock.page.at_once.setChecked(False)
    blend = panel.controls.blend
    assert blend.value() == 0, "fixed first"
    drawn = dock.desk.case.now.drawn_fixed(outcome.inputs.fixed.grid.center[None])[0]
    mouse.show_slice(drawn)
    mouse.click(drawn)
    assert blend.value() == 100, "then moved"
    assert dock.desk.suggested.name == "1"
    labels = [viewer.layers[side].features["label"].iloc[0] for side in (ON_FIXED, ON_MOVING)]
    assert labels[0] == "1"
    assert labels[1].startswith("1?"), "of the two, the moving end is a suggestion"
    mapped = outcome.result.fixed_to_moving.map(np.array([dock.desk.pair.fixed_mm]))[0]
    np.testing.assert_allclose(dock.desk.suggested.moving_mm, mapped, atol=1e-4)
    dock.act("give_up")
    assert not len(dock.desk.pairs)
    assert blend.value() == 0
    dock.page.place_button.click()
    assert blend.value() == 50, "and as it was in the end"
    mouse.click(drawn)
    assert not len(dock.desk.pairs)


def test_pairs_correct_and_every_step_goes_back_and_forth(dock, viewer, mouse, panel, outcome, tmp_path, qtbot):
    """Undo to the start, redo to the end: pairs, files and field come back bit for bit, pictures up to rounding."""
    desk, inputs = dock.desk, outcome.inputs
    settle(dock, qtbot)
    desk.radius_mm, desk.points_weight = 12.0, 1.0
    automatic = desk.case.automatic.displacement.displacement_mm.copy()
    states = [state_of(dock, viewer, tmp_path)]

    def step(act):
        act()
        settle(dock, qtbot)
        states.append(state_of(dock, viewer, tmp_path))

    first, second = (inputs.fixed_landmarks.names.index(name) for name in ("front", "back"))
    fixed, moving = inputs.fixed_landmarks.points, inputs.moving_landmarks.points
    for n in (first, second):
        drawn = desk.case.now.drawn_fixed(fixed[n][None])[0]
        mouse.show_slice(drawn)
        step(lambda drawn=drawn: mouse.click(drawn))
        if n == second:
            step(lambda: qtbot.mouseClick(dock.page.accept_button, Qt.MouseButton.LeftButton))
            continue
        drawn = desk.case.now.drawn_moving(moving[n][None])[0]
        mouse.show_slice(drawn)
        before = fits_now(desk)
        step(lambda drawn=drawn: mouse.click(drawn))
        assert np.linalg.norm(np.array(desk.pairs["1"].moving_mm) - moving[n]) < inputs.fixed.grid.spacing.max(), "up to half a slice off"
        assert not before.residual_mm
        assert fits_now(desk).residual_mm["1"] < 0.5 * np.linalg.norm(outcome.result.fixed_to_moving.map(fixed[n][None]) - moving[n])
        changed = (desk.case.now.displacement.displacement_mm != automatic).any(axis=-1)
        centers = inputs.fixed.grid.voxel_to_world(np.argwhere(changed).astype(float))
        assert 0 < np.linalg.norm(centers - np.array(desk.pairs["1"].fixed_mm), axis=1).max() <= 12.0 + 1e-6, "nothing beyond the radius"
        np.testing.assert_array_equal(desk.case.automatic.displacement.displacement_mm, automatic)
        assert not panel.save_button.isEnabled(), "what is shown is not what was measured"
    end = next(end for end in desk.layers.ends if (end.name, end.side) == ("1", ON_FIXED))
    mouse.show_slice(end.drawn)
    target = np.add(end.drawn, (0.0, 2.0, -3.0))
    center = tuple(viewer.scene.camera.center)
    step(lambda: mouse.drag(end.drawn, target))
    assert tuple(viewer.scene.camera.center) == center, "the canvas stays while a point is dragged"
    np.testing.assert_allclose(desk.case.now.drawn_fixed(np.array([desk.pairs["1"].fixed_mm]))[0], target, atol=2 * pixel_mm(viewer))
    step(lambda: qtbot.mouseClick(dock.page.hold_out_button, Qt.MouseButton.LeftButton))
    assert desk.pairs["1"].use is Use.HELD_OUT
    assert "Held-out pairs, n = 1" in dock.page.figures.text()
    step(lambda: qtbot.mouseClick(dock.page.lock_button, Qt.MouseButton.LeftButton))
    assert not dock.page.delete_button.isEnabled()
    desk.choose("2")
    step(lambda: qtbot.mouseClick(dock.page.delete_button, Qt.MouseButton.LeftButton))
    step(lambda: qtbot.mouseClick(dock.page.back_button, Qt.MouseButton.LeftButton))
    np.testing.assert_array_equal(desk.case.now.displacement.displacement_mm, automatic)
    for state in reversed(states[:-1]):
        qtbot.mouseClick(dock.page.undo_button, Qt.MouseButton.LeftButton)
        settle(dock, qtbot)
        assert_same(state_of(dock, viewer, tmp_path), state)
    assert not dock.page.undo_button.isEnabled()
    assert panel.save_button.isEnabled()
    for state in states[1:]:
        qtbot.mouseClick(dock.page.redo_button, Qt.MouseButton.LeftButton)
        settle(dock, qtbot)
        assert_same(state_of(dock, viewer, tmp_path), state)
    assert not dock.page.redo_button.isEnabled()


def test_the_moved_image_is_shown_ahead_of_all_else(dock, viewer, mouse, outcome, qtbot):
    """As it will be in the end; what was shown ahead of an error is taken back."""
    settle(dock, qtbot)
    desk, shown = dock.desk, {parts.part_of(layer): layer for layer in viewer.layers}
    moved, jacobian = (shown[part].data for part in (parts.MOVED, parts.JACOBIAN))
    n = outcome.inputs.fixed_landmarks.names.index("front")
    points = outcome.inputs.fixed_landmarks.points[n], outcome.inputs.moving_landmarks.points[n]
    before, ahead = (np.array(moved), np.array(jacobian)), []
    desk.corrector.foreseen.connect(lambda update: ahead.append((update, np.array(moved), np.array(jacobian))))
    for drawn in (desk.case.now.drawn_fixed(points[0][None])[0], desk.case.now.drawn_moving(points[1][None])[0]):
        mouse.show_slice(drawn)
        mouse.click(drawn)
    settle(dock, qtbot)
    ((update, moved_ahead, jacobian_ahead),) = ahead
    assert (moved_ahead != before[0]).any()
    np.testing.assert_array_equal(moved_ahead, moved)
    np.testing.assert_array_equal(jacobian_ahead, before[1])
    assert (np.array(jacobian) != before[1]).any(), "it comes after"
    after = np.array(moved)
    desk.corrector.foreseen.emit(replace(update, moved=np.zeros_like(update.moved)))
    assert (np.array(moved) != after).any()
    desk.corrector.failed.emit(InputError("the rest has not come"))
    np.testing.assert_array_equal(moved, after)
    assert "has not come" in dock.page.message.text()


def state_of(dock, viewer, folder):
    """What must come back to the bit: pairs, saved bytes, field, folds, labels; and what is computed anew: moved image, Jacobian."""
    files = b""
    if dock.desk.pairs.complete:
        dock.export_pairs(folder / "saved.csv")
        files = (folder / "saved.csv").read_bytes()
    shown = {parts.part_of(layer): layer for layer in viewer.layers}
    exact = [np.asarray(shown[part].data).tobytes() for part in (parts.FOLDS, parts.MOVED_LABELS)]
    rounded = [np.array(shown[part].data) for part in (parts.MOVED, parts.JACOBIAN)]
    return (dock.desk.pairs, files, dock.desk.case.now.displacement.displacement_mm.tobytes(), *exact), rounded


def assert_same(state, wanted):
    assert [one == other for one, other in zip(state[0], wanted[0], strict=True)] == [True] * len(wanted[0])
    for one, other in zip(state[1], wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * (np.nanmax(other) - np.nanmin(other)))


def test_pairs_are_kept_through_a_crash(dock, viewer, mouse, outcome, unsaved, qtbot):
    dock.page.at_once.setChecked(False)
    for offset in (0.0, 4.0):
        drawn = dock.desk.case.now.drawn_fixed(outcome.inputs.fixed.grid.center[None] + offset)[0]
        mouse.show_slice(drawn)
        mouse.click(drawn)
        dock.act("accept")
    dock.desk.change("lock", locked=True)
    pairs = dock.desk.pairs
    qtbot.waitUntil(lambda: not dock.keeper._timer.isActive(), timeout=60_000)
    assert len(list(unsaved.glob("*.json"))) == 1
    assert not dock.keeper.left_behind(), "of this window nothing is offered"
    dock.keeper._lock.unlock()  # As if this process had died.
    other = LandmarksDock(viewer)
    viewer.window.add_dock_widget(other, name="Other")
    qtbot.waitUntil(lambda: other.page.recovery.isVisibleTo(other), timeout=60_000)
    assert other.page.recovery.text.text().startswith("2 landmark pairs of a fresh result")
    qtbot.mouseClick(other.page.recovery.open_button, Qt.MouseButton.LeftButton)
    assert other.desk.pairs.pairs == pairs.pairs
    other.shut_down()


def test_files_hold_world_millimeters_whatever_the_layers_scale(dock, viewer, outcome, tmp_path):
    dock.page.at_once.setChecked(False)
    inputs = outcome.inputs
    names, points = inputs.fixed_landmarks.names, (inputs.fixed_landmarks.points, inputs.moving_landmarks.points)
    for name, fixed, moving in zip(names, *points, strict=True):
        dock.desk.do(f"add {name}", dock.desk.pairs.added(fixed))
        dock.desk.choose(dock.desk.pairs.names[-1])
        dock.desk.change("rename", name=name)
        dock.desk.do("partner", dock.desk.pairs.moved(name, moving_mm=moving))
    assert not np.allclose(viewer.layers[ON_FIXED].scale, 1)
    for suffix in (".csv", ".bigwarp.csv", ".mrk.json", ".fcsv", ".txt"):
        dock.export_pairs(tmp_path / f"pairs{suffix}")
    for side, points in (("fixed", inputs.fixed_landmarks.points), ("moving", inputs.moving_landmarks.points)):
        for suffix in (".mrk.json", ".fcsv", ".txt"):
            np.testing.assert_allclose(read_landmarks(tmp_path / f"pairs_{side}{suffix}").points, points, atol=1e-5)
    before = dock.desk.pairs
    for _ in range(4 * len(before)):
        dock.act("undo")
    assert not len(dock.desk.pairs)
    for name in ("pairs.csv", "pairs.bigwarp.csv", "pairs_moving.mrk.json", "pairs_fixed.fcsv"):
        dock.import_pairs([tmp_path / name])
        assert dock.desk.pairs.names == before.names
        np.testing.assert_allclose([p.fixed_mm for p in dock.desk.pairs.pairs], inputs.fixed_landmarks.points, atol=1e-5)
        np.testing.assert_allclose([p.moving_mm for p in dock.desk.pairs.pairs], inputs.moving_landmarks.points, atol=1e-5)
        dock.act("undo")
        assert not len(dock.desk.pairs)
    dock.import_pairs([tmp_path / "nowhere.csv"])
    assert "nowhere.csv" in dock.page.message.text()


def test_the_table_and_keys_choose_and_go(dock, viewer, mouse, outcome, qtbot):
    dock.page.at_once.setChecked(False)
    grid = outcome.inputs.fixed.grid
    places = grid.voxel_to_world(np.array([[6.0, 8, 9], [12, 12, 12], [16, 15, 14]]))
    for point in places:
        dock.desk.do("add", dock.desk.pairs.added(point))
    for n, name in ((1, "1"), (1, "2"), (1, "3"), (1, "3"), (-1, "2")):
        dock.act("next" if n > 0 else "previous")
        qtbot.waitUntil(lambda: not dock.desk.places.busy, timeout=60_000)
        assert dock.desk.chosen == name
        drawn = dock.desk.case.now.drawn_fixed(np.array([dock.desk.pair.fixed_mm]))[0]
        np.testing.assert_allclose(viewer.dims.point, drawn, atol=1e-3)
    viewer.dims.set_point(0, float(dock.desk.case.now.drawn_fixed(places[2:])[0][0]))
    dock.act("nearest")
    assert dock.desk.chosen in ("2", "3")


def test_closing_the_dock_leaves_nothing_behind(dock, viewer):
    count = len(viewer.mouse_drag_callbacks)
    assert all(side in viewer.layers for side in SIDES)
    viewer.window.remove_dock_widget(dock)
    assert not any(side in viewer.layers for side in SIDES)
    assert len(viewer.mouse_drag_callbacks) == count - 1
    assert not dock._life.alive
