"""Annotations that follow from one image to the other, through the real widgets; SimpleITK says where they must be."""

import numpy as np
import pytest
import SimpleITK as sitk
from landmark_helpers import settle
from napari._qt.widgets.qt_viewer_buttons import QtLayerButtons
from napari.layers import Labels, Points, Shapes
from qtpy.QtCore import Qt
from window_helpers import CanvasMouse

from napari_deformreg.io import read_landmarks, write_labels, write_transform
from napari_deformreg.space import AffineTransform, LabelMap, TransformChain
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.landmarks.directions import Side
from napari_deformreg.ui.landmarks.drawn_layers import is_carried
from napari_deformreg.ui.layers import METADATA_KEY, Placement
from napari_deformreg.ui.shown import topmost
from napari_deformreg.ui.writers import save_points, save_shapes

pytestmark = pytest.mark.window

LPS = np.array([-1.0, -1.0, 1.0])


def press(button, qtbot):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def ready(dock, qtbot):
    settle(dock, qtbot)
    press(dock.page.follow.title, qtbot)


def follow(dock, layer, side, qtbot):
    """Choose a layer and its side, and press the button; returns the partner."""
    page = dock.page.follow
    page.layer.setCurrentIndex(page.layer.findText(layer.name))
    page.side.setCurrentIndex(page.side.findData(side))
    press(page.follow_button, qtbot)
    settle(dock, qtbot)
    return partner(dock, layer)


def partner(dock, layer):
    return next(one.partner for one in dock.annotations.followers if one.source == layer)


def itk(dock, folder):
    """The registration as it is now, as SimpleITK reads it."""
    now = dock.desk.case.now
    write_transform(folder / "now.h5", TransformChain((now.displacement, now.affine)))
    return sitk.ReadTransform(str(folder / "now.h5"))


def carried_by(transform, points):
    return np.array([transform.TransformPoint([float(n) for n in point * LPS]) for point in points]) * LPS


def world(layer, rows, placement):
    """Where a layer's coordinates are in the world (RAS+ mm)."""
    return placement.to_world(np.array([layer.data_to_world(row) for row in rows]))


def new_layer(dock, viewer, name, qtbot):
    """Press napari's own button for a new layer, with the moving image selected."""
    viewer.layers.selection.active = next(layer for layer in viewer.layers if parts.part_of(layer) == parts.MOVING_BEFORE)
    press(getattr(topmost(dock).findChildren(QtLayerButtons)[0], name), qtbot)
    return viewer.layers.selection.active


def correct(dock, viewer, outcome, qtbot):
    """Click one pair whose partner lies some millimeters from where the registration has it."""
    dock.desk.radius_mm = 20.0
    dock.page.place_button.setChecked(True)
    hand = CanvasMouse(viewer, dock)
    drawn = dock.desk.case.now.drawn_fixed(outcome.inputs.fixed.grid.center[None])[0]
    hand.show_slice(drawn)
    hand.click(drawn)
    hand.click(np.add(drawn, (0.0, 4.0, -4.0)))
    settle(dock, qtbot)
    assert dock.desk.history.to_undo.corrected


def test_points_clicked_on_moving_follow_to_fixed_and_through_a_correction(dock, viewer, outcome, tmp_path, qtbot):
    ready(dock, qtbot)
    layer = new_layer(dock, viewer, "newPointsButton", qtbot)
    layer.name = "lesions"
    layer.mode = "add"
    hand, now = CanvasMouse(viewer, dock), dock.desk.case.now
    grid = outcome.inputs.fixed.grid
    center = now.drawn_fixed(grid.center[None] + 0.5)[0]
    for off in ((0.0, 3.0, -2.0), (0.0, -4.0, 3.0)):
        hand.show_slice(center)
        hand.click(np.add(center, off))
    assert len(layer.data) == 2
    there = follow(dock, layer, Side.MOVING, qtbot)
    assert isinstance(there, Points)
    assert (there.name, is_carried(there), there.metadata[METADATA_KEY]["follows"]) == ("lesions in fixed", True, "lesions")

    def misses():
        drawn, carried = world(layer, layer.data, now.placement), world(there, there.data, now.placement)
        assert np.linalg.norm(drawn - carried, axis=1).max() > 0.5, "a partner that stays in place would show"
        return np.linalg.norm(carried_by(itk(dock, tmp_path), carried) - drawn, axis=1).max()

    assert misses() < 1e-3
    # Drawn on: another point appears there too.
    hand.click(np.add(center, (0.0, 5.0, 5.0)))
    qtbot.waitUntil(lambda: len(there.data) == 3, timeout=60_000)
    settle(dock, qtbot)
    assert misses() < 1e-3
    layer.mode = "pan_zoom"
    before = np.array(there.data)
    correct(dock, viewer, outcome, qtbot)
    assert np.abs(there.data - before).max() > 0.05, "the correction carries them elsewhere"
    assert misses() < 1e-3
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(there.data, before)
    press(dock.page.redo_button, qtbot)
    settle(dock, qtbot)
    assert misses() < 1e-3
    # Saved by napari's own dialog it lies in the world.
    save_points(str(tmp_path / "saved.csv"), there.data, there.as_layer_data_tuple()[1])
    np.testing.assert_allclose(read_landmarks(tmp_path / "saved.csv").points, world(there, there.data, now.placement), atol=1e-3)


def test_points_drawn_on_fixed_go_to_moving(dock, viewer, outcome, tmp_path, qtbot):
    """The other way: through fixed_to_moving itself. Switching the side carries them the other way."""
    ready(dock, qtbot)
    now, moving = dock.desk.case.now, Placement(outcome.inputs.moving.grid)
    fixed_mm = outcome.inputs.fixed_landmarks.points
    layer = viewer.add_points(now.drawn_fixed(fixed_mm), name="fixed marks")
    page = dock.page.follow
    page.layer.setCurrentIndex(page.layer.findText("fixed marks"))
    assert page.chosen_side is Side.FIXED, "guessed by its name"
    there = follow(dock, layer, Side.FIXED, qtbot)
    expected = carried_by(itk(dock, tmp_path), fixed_mm)
    np.testing.assert_allclose(world(there, there.data, moving), expected, atol=1e-3)
    page.side.setCurrentIndex(page.side.findData(Side.MOVING))
    settle(dock, qtbot)
    there = partner(dock, layer)
    assert there.name == "fixed marks in fixed"
    back = world(there, there.data, now.placement)
    np.testing.assert_allclose(carried_by(itk(dock, tmp_path), back), fixed_mm, atol=1e-3)


def test_shapes_follow_with_all_their_vertices(dock, viewer, outcome, tmp_path, qtbot):
    ready(dock, qtbot)
    now = dock.desk.case.now
    z, y, x = now.drawn_fixed(outcome.inputs.fixed.grid.center[None] + 0.5)[0]
    box = np.array([[z, y - 5, x - 4], [z, y - 5, x + 4], [z, y + 5, x + 4], [z, y + 5, x - 4]])
    layer = viewer.add_shapes(None, ndim=3, name="organs moving")
    layer.add([box], shape_type="rectangle")
    layer.add([box + 1.0], shape_type="ellipse")
    layer.add([box[:3] - [0, 1.0, 0]], shape_type="path")
    there = follow(dock, layer, Side.MOVING, qtbot)
    assert isinstance(there, Shapes)
    assert set(there.features["shape"]) == {0, 1, 2}
    assert all(np.ptp(np.floor(piece[:, 0] + 0.5)) == 0 for piece in there.data), "else napari would show them on no slice"

    def check():
        transform = itk(dock, tmp_path)
        check_projected(there)
        for piece, number, drawn in zip(there.data, there.features["shape"], there.features["drawn"], strict=True):
            if drawn == "projected":
                continue
            here = now.placement.to_drawn(carried_by(transform, world(there, piece, now.placement)))
            assert np.abs(here[1:-1, 0] - (z + (number == 1))).max(initial=0) < 3e-3
            if number == 1:
                radius = ((here[:, 1] - y - 1) / 5) ** 2 + ((here[:, 2] - x - 1) / 4) ** 2
                assert abs(radius.max() - 1) < 0.02
                assert radius.min() > 0.97
            else:
                off = np.abs(np.maximum(np.abs(here[:, 1] - y + (number == 2)) - 5, np.abs(here[:, 2] - x) - 4))
                # Where it is cut, a piece ends on the chord between two vertices that were carried.
                assert off[1:-1].max(initial=0) < 3e-3
                assert off.max() < 0.1

    check()
    save_shapes(str(tmp_path / "saved.csv"), there.data, there.as_layer_data_tuple()[1])
    saved = read_landmarks(tmp_path / "saved.csv").points
    assert len(saved) == sum(len(piece) for piece, how in zip(there.data, there.features["drawn"], strict=True) if how != "projected")
    heights = now.placement.to_drawn(carried_by(itk(dock, tmp_path), saved))[:, 0]
    assert np.minimum(np.abs(heights - z), np.abs(heights - z - 1)).max() < 0.1, "in world mm, where they truly are"
    before = [np.array(piece) for piece in there.data]
    correct(dock, viewer, outcome, qtbot)
    check()
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    for piece, was in zip(there.data, before, strict=True):
        np.testing.assert_array_equal(piece, was)
    layer.selected_data = {0, 1}
    layer.remove_selected()
    qtbot.waitUntil(lambda: set(there.features["shape"]) == {0}, timeout=60_000)


def check_projected(there):
    """A closed outline that leaves its slice is seen closed in one slice, faint, over the pieces that lie where they are."""
    drawn, shapes = np.array(there.features["drawn"]), np.array(there.features["shape"])
    assert 0 in shapes[drawn == "projected"], "the field bends it out of its slice"
    assert 2 not in shapes[drawn == "projected"], "it is not closed"
    for n in np.flatnonzero(drawn == "projected"):
        whole, pieces = there.data[n], [there.data[m] for m in np.flatnonzero((shapes == shapes[n]) & (drawn == "piece"))]
        assert there.shape_type[n] == "polygon"
        assert np.ptp(whole[:, 0]) == 0
        inside = np.concatenate([piece[1:-1] for piece in pieces])
        assert all(np.abs(whole[:, 1:] - vertex[1:]).max(axis=1).min() < 1e-5 for vertex in inside), "the same line, seen from above"
        assert np.abs(inside[:, 0] - whole[0, 0]).max() * there.scale[0] <= there.features["off_slice_mm"][n] + 1e-5
        most = max(sum(len(piece) for piece in pieces if round(piece[0, 0]) == z) for z in {round(piece[0, 0]) for piece in pieces})
        assert sum(len(piece) for piece in pieces if round(piece[0, 0]) == round(whole[0, 0])) >= most - 4
        assert there.edge_color[n, 3] < 0.5
        assert all(there.edge_color[m, 3] == 1 for m in np.flatnonzero(drawn == "piece"))


def itk_labels(data, grid, target, transform, folder):
    """SimpleITK's own resampling, nearest neighbor."""
    write_labels(folder / "drawn.nii.gz", LabelMap(data, grid))
    write_labels(folder / "onto.nii.gz", LabelMap(np.zeros(target.shape, np.int32), target))
    drawn, onto = sitk.ReadImage(str(folder / "drawn.nii.gz")), sitk.ReadImage(str(folder / "onto.nii.gz"))
    found = sitk.GetArrayFromImage(sitk.Resample(drawn, onto, transform, sitk.sitkNearestNeighbor, 0))
    return found.transpose(2, 1, 0)


def on_grid(layer, placement):
    """A layer's array on its image's grid, axes i, j, k."""
    from napari_deformreg.space.orientation import axis_codes, reorient

    return reorient(np.asarray(layer.data).transpose(2, 1, 0), placement.canonical, axis_codes(placement.grid))[0]


def agree(found, expected):
    """The same voxels but for ties of rounding."""
    assert expected.any()
    assert np.count_nonzero(found != expected) <= max(2, 2e-3 * np.count_nonzero(expected))


def test_labels_painted_on_moving_follow_to_fixed(dock, viewer, outcome, tmp_path, qtbot):
    ready(dock, qtbot)
    layer = new_layer(dock, viewer, "newLabelsButton", qtbot)
    assert isinstance(layer, Labels)
    now = dock.desk.case.now
    layer.brush_size, layer.n_edit_dimensions = 7, 3
    layer.paint((12, 11, 13), 2)
    there = follow(dock, layer, Side.MOVING, qtbot)
    placement = now.placement

    def check():
        expected = itk_labels(on_grid(layer, placement), placement.grid, placement.grid, itk(dock, tmp_path), tmp_path)
        agree(on_grid(there, placement), expected)

    check()
    assert (np.asarray(there.data) != np.asarray(layer.data)).any()
    layer.paint((9, 14, 8), 5)
    qtbot.waitUntil(lambda: 5 in there.data and not dock.busy, timeout=60_000)
    check()
    before = np.array(there.data)
    correct(dock, viewer, outcome, qtbot)
    check()
    assert (there.data != before).any()
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(there.data, before)
    layer.undo()
    qtbot.waitUntil(lambda: 5 not in there.data, timeout=60_000)
    check()


def test_labels_drawn_on_fixed_follow_to_moving(dock, viewer, outcome, tmp_path, qtbot):
    """By the inverse that is exported, which misses by less than a tenth of a voxel."""
    ready(dock, qtbot)
    inputs, now = outcome.inputs, dock.desk.case.now
    layer = next(one for one in viewer.layers if parts.part_of(one) == parts.FIXED_LABELS)
    noise = np.random.default_rng(0).integers(1, 9, size=layer.data.shape, dtype=np.uint8)
    own = viewer.add_labels(noise, scale=layer.scale, translate=layer.translate, name="fixed organs")
    there = follow(dock, own, Side.FIXED, qtbot)
    moving = Placement(inputs.moving.grid)

    def check(inverse_mm):
        from napari_deformreg.space import DisplacementField

        chain = TransformChain((now.affine.inverse(), DisplacementField(inputs.fixed.grid, inverse_mm)))
        write_transform(tmp_path / "back.h5", chain)
        transform = sitk.ReadTransform(str(tmp_path / "back.h5"))
        expected = itk_labels(on_grid(own, now.placement), inputs.fixed.grid, inputs.moving.grid, transform, tmp_path)
        agree(on_grid(there, moving), expected)

    check(outcome.result.inverse_displacement.displacement_mm)
    before = np.array(there.data)
    correct(dock, viewer, outcome, qtbot)
    changed = there.data != before
    assert changed.any()
    press(dock.page.measure_button, qtbot)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: dock.desk.case.panel.save_button.isEnabled() and not dock.desk.case.busy, timeout=300_000)
    check(dock.desk.case.panel.current.outcome.result.inverse_displacement.displacement_mm)
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    np.testing.assert_array_equal(there.data, before)


def test_what_cannot_follow_is_told_and_what_ends_is_frozen(dock, viewer, outcome, qtbot):
    ready(dock, qtbot)
    now = dock.desk.case.now
    flat = viewer.add_points(np.zeros((2, 2)), name="flat")
    assert follow(dock, flat, Side.MOVING, qtbot) is None
    assert "two axes" in dock.page.message.text()
    far = viewer.add_points(now.drawn_fixed(outcome.inputs.fixed.grid.center[None] + 500), name="far away")
    follow(dock, far, Side.MOVING, qtbot)
    assert "nothing of it lies on the fixed image" in dock.page.message.text()
    empty = viewer.add_labels(np.ones((3, 3, 3), np.uint8), translate=(900.0, 900.0, 900.0), name="elsewhere")
    follow(dock, empty, Side.MOVING, qtbot)
    assert "none of its labels lies on the fixed image" in dock.page.message.text()
    near = viewer.add_points(now.drawn_fixed(outcome.inputs.fixed.grid.center[None]), name="near")
    there = follow(dock, near, Side.MOVING, qtbot)
    viewer.layers.remove(near)
    assert there in viewer.layers
    assert there.name == "near in fixed (frozen)"
    assert there.metadata[METADATA_KEY]["live"] is False
    assert "its layer was removed" in dock.page.follow.said.text()
    again = viewer.add_points(now.drawn_fixed(outcome.inputs.fixed.grid.center[None]), name="again")
    kept = follow(dock, again, Side.MOVING, qtbot)
    viewer.layers.remove(kept)
    assert all(one.source != again for one in dock.annotations.followers)
    kept = follow(dock, again, Side.MOVING, qtbot)
    dock.shut_down()
    assert kept.name == "again in fixed (frozen)"
    again.add(np.zeros((1, 3)))
    assert len(kept.data) == 1


def test_points_without_a_correction_are_nowhere_by_identity(outcome):
    """The fixture deforms: tests of directions would pass by themselves on an identity."""
    assert not np.allclose(outcome.result.affine.matrix, AffineTransform.identity().matrix)
