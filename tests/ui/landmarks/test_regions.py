"""Regions in the Landmarks dock: picked by a click, read from a label, drawn by the mouse; solved again, compared, kept or undone."""

import numpy as np
import pytest
from landmark_helpers import settle
from qtpy.QtCore import Qt
from scipy.spatial.transform import Rotation
from window_helpers import CanvasMouse

from napari_deformreg.space import Grid, LabelMap
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.landmarks.region_choice import RegionShape, region_of_label
from napari_deformreg.ui.landmarks.region_control import DRAWING
from napari_deformreg.ui.landmarks.region_desk import CHANGE, REGION
from napari_deformreg.ui.layers import Placement, labels_layer

pytestmark = pytest.mark.window


def press(button, qtbot):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def shown(viewer, part):
    return next((layer for layer in viewer.layers if parts.part_of(layer) == part), None)


def choose(page, shape, size_mm=32.0, margin_mm=16.0):
    page.size.setValue(size_mm)
    page.margin.setValue(margin_mm)
    page.shape.setCurrentIndex(page.shape.findData(shape))


@pytest.fixture
def page(dock, qtbot):
    page = dock.page.region
    press(page.title, qtbot)
    return page


def test_a_clicked_sphere_becomes_rigid_and_is_compared_and_undone(dock, page, viewer, outcome, qtbot):
    settle(dock, qtbot)
    grid, now = outcome.inputs.fixed.grid, dock.desk.case.now
    choose(page, RegionShape.BALL)
    center = grid.voxel_to_world(np.array([[11.0, 12.0, 13.0]]))[0]
    drawn = now.drawn_fixed(center[None])[0]
    hand = CanvasMouse(viewer, dock)
    hand.show_slice(drawn)
    press(page.pick_button, qtbot)
    hand.click(drawn)
    assert not page.pick_button.isChecked()
    assert not len(dock.desk.pairs), "the click was for the region"
    np.testing.assert_allclose(dock.region.desk.center_mm, center, atol=1 / viewer.scene.camera.zoom)
    qtbot.waitUntil(lambda: shown(viewer, REGION) is not None and not dock.busy, timeout=60_000)
    region = dock.region.desk.region()
    assert np.count_nonzero(shown(viewer, REGION).data) == np.count_nonzero(region.mask)

    before, moved = now.displacement.displacement_mm.copy(), np.array(shown(viewer, parts.MOVED).data)
    press(page.solve_buttons["rigid"], qtbot)
    settle(dock, qtbot)
    after, moved_after = now.displacement.displacement_mm.copy(), np.array(shown(viewer, parts.MOVED).data)
    inside = np.zeros(grid.shape, bool)
    inside[region.box.slices] = region.mask
    fixed = grid.voxel_to_world(np.argwhere(inside).astype(float))
    carried = now.partners(fixed)
    rotation, _ = Rotation.align_vectors(carried - carried.mean(0), fixed - fixed.mean(0))
    assert np.abs(rotation.apply(fixed - fixed.mean(0)) + carried.mean(0) - carried).max() < 0.05 * grid.spacing.min()
    assert not shown(viewer, parts.FOLDS).data.any()
    assert "Solved again" in page.said.text()

    press(page.difference_button, qtbot)
    qtbot.waitUntil(lambda: shown(viewer, CHANGE) is not None and not dock.busy, timeout=60_000)
    layer = shown(viewer, CHANGE)
    for voxel in np.argwhere(np.linalg.norm(after - before, axis=-1) > 0.1)[::40]:
        place = now.drawn_fixed(grid.voxel_to_world(voxel[None].astype(float)))[0]
        at = tuple(np.rint(layer.world_to_data(place)).astype(int))
        assert layer.data[at] == pytest.approx(np.linalg.norm((after - before)[tuple(voxel)]), abs=1e-4)
    press(page.before_button, qtbot)
    np.testing.assert_allclose(shown(viewer, parts.MOVED).data, moved, atol=1e-3 * np.ptp(moved))
    np.testing.assert_array_equal(now.displacement.displacement_mm, after)
    press(page.before_button, qtbot)
    np.testing.assert_array_equal(shown(viewer, parts.MOVED).data, moved_after)

    press(page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, before)
    assert shown(viewer, CHANGE) is None
    assert not page.keep_button.isVisibleTo(page)
    press(dock.page.redo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, after)


def test_a_label_is_solved_harder_and_kept(dock, page, viewer, outcome, qtbot):
    settle(dock, qtbot)
    grid, now = outcome.inputs.fixed.grid, dock.desk.case.now
    labels = shown(viewer, parts.FIXED_LABELS)
    choose(page, RegionShape.LABEL)
    assert page.layer.findText(labels.name) >= 0
    page.layer.setCurrentIndex(page.layer.findText(labels.name))
    labels.selected_label = 0
    press(page.solve_buttons["harder"], qtbot)
    assert "background" in page.said.text()
    number = int(outcome.inputs.fixed_labels.labels[0])
    labels.selected_label = number
    before = now.displacement.displacement_mm.copy()
    press(page.solve_buttons["harder"], qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(dock.region.desk.region().mask.sum(), (outcome.inputs.fixed_labels.data == number).sum())
    solved = dock.region.desk.solved
    assert solved.figures.similarity_after < solved.figures.similarity_before
    changed = (now.displacement.displacement_mm != before).any(axis=-1)
    assert changed.any()
    near = grid.voxel_to_world(np.argwhere(outcome.inputs.fixed_labels.data == number).astype(float))
    for voxel in grid.voxel_to_world(np.argwhere(changed).astype(float))[::20]:
        assert np.linalg.norm(near - voxel, axis=1).min() <= 16.0
    press(page.keep_button, qtbot)
    assert dock.region.desk.solved is None
    assert (now.displacement.displacement_mm != before).any()
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, before)


def test_a_rectangle_is_drawn_by_the_mouse_and_solved_softer(dock, page, viewer, outcome, qtbot):
    settle(dock, qtbot)
    now = dock.desk.case.now
    choose(page, RegionShape.DRAWN, size_mm=24.0)
    assert "no layer" in page.said.text()
    middle = now.drawn_fixed(outcome.inputs.fixed.grid.center[None])[0]
    hand = CanvasMouse(viewer, dock)
    hand.show_slice(middle)
    press(page.draw_button, qtbot)
    layer = viewer.layers[DRAWING]
    assert layer.mode == "add_rectangle"
    hand.drag(np.add(middle, (0, -14, -12)), np.add(middle, (0, 14, 18)))
    qtbot.waitUntil(lambda: layer.mode == "pan_zoom", timeout=60_000)
    region = dock.region.desk.region()
    low = now.drawn_fixed(outcome.inputs.fixed.grid.voxel_to_world(np.array([region.box.start], float)))[0]
    high = now.drawn_fixed(outcome.inputs.fixed.grid.voxel_to_world(np.array([region.box.stop], float) - 1))[0]
    depth = viewer.dims.point[0]
    wanted = np.array([depth - 12, middle[1] - 14, middle[2] - 12]), np.array([depth + 12, middle[1] + 14, middle[2] + 18])
    spacing = now.placement.spacing.max()
    np.testing.assert_allclose(np.minimum(low, high), wanted[0], atol=spacing)
    np.testing.assert_allclose(np.maximum(low, high), wanted[1], atol=spacing)
    before = now.displacement.displacement_mm.copy()
    press(page.solve_buttons["softer"], qtbot)
    settle(dock, qtbot)
    assert dock.region.desk.solved.figures.folds_after == 0
    assert (now.displacement.displacement_mm != before).any()
    press(dock.page.undo_button, qtbot)  # The dock's own undo does it, too.
    settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, before)
    assert dock.region.desk.solved is None


def test_a_region_that_was_undone_before_its_turn_is_solved_on_redo(dock, page, viewer, qtbot):
    settle(dock, qtbot)
    choose(page, RegionShape.BOX)
    now = dock.desk.case.now
    before = now.displacement.displacement_mm.copy()
    press(page.solve_buttons["softer"], qtbot)
    press(page.solve_buttons["harder"], qtbot)
    dock.act("undo")
    dock.act("redo")
    settle(dock, qtbot)
    after = now.displacement.displacement_mm.copy()
    for _ in range(2):
        dock.act("undo")
        settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, before)
    for _ in range(2):
        dock.act("redo")
        settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, after)


def test_labels_on_other_voxels_are_read_where_they_are(make_napari_viewer_proxy):
    """The same structure on a coarser, turned grid covers the same world."""
    fine = Grid((30, 26, 22), np.diag([1.0, 1.0, 1.0, 1.0]))
    coarse = Grid((11, 15, 13), np.array([[0.0, 2.0, 0, 0], [0, 0, 2.0, 0], [-2.0, 0, 0, 21], [0, 0, 0, 1]]))
    center = np.array([14.0, 12.0, 10.0])
    ball = (np.linalg.norm(coarse.voxel_to_world(coarse.voxel_indices()) - center, axis=1) <= 6.0).reshape(coarse.shape)
    viewer = make_napari_viewer_proxy()
    data, arguments, _ = labels_layer(LabelMap(3 * ball.astype(np.int32), coarse))
    layer = viewer.add_labels(np.ascontiguousarray(data), **arguments)
    layer.selected_label = 3
    region = region_of_label(layer, Placement(fine))
    voxels = np.argwhere(region.mask) + np.array(region.box.start)
    assert len(voxels) == pytest.approx(8 * ball.sum(), rel=0.02), "a coarse voxel has eight times the volume"
    np.testing.assert_allclose(fine.voxel_to_world(voxels.astype(float)).mean(axis=0), center, atol=0.6)
