"""A result's layers, its panel, its folder, and the window on it."""

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt

from napari_deformreg.errors import InputError
from napari_deformreg.io import result_folder as names
from napari_deformreg.space import Grid, LabelMap, Volume
from napari_deformreg.ui import app, layers
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.orientation_text import plane_text
from napari_deformreg.ui.pictures import ResultPicture, picture_of_folder
from napari_deformreg.ui.result_layers import numbered, result_layers
from napari_deformreg.ui.result_panel import ResultPanel
from napari_deformreg.ui.summary import summary_html
from napari_deformreg.workflow import InputPaths, write_outcome


@pytest.fixture(scope="session")
def folder(outcome, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "case"
    write_outcome(outcome, folder)
    return folder


def by_name(picture):
    return {arguments["name"]: Layer.create(data, arguments, kind) for data, arguments, kind in result_layers(picture)}


def test_every_layer_has_units_axis_labels_and_no_rotation(picture):
    for layer in by_name(picture).values():
        assert layer.axis_labels == ("z", "y", "x")
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        np.testing.assert_allclose(layer.rotate, np.eye(3), atol=1e-12)
        assert parts.part_of(layer) == layer.name


def test_the_slider_keeps_the_images_steps(picture):
    """No overlay has a finer scale than the image, or the slider would stop between slices."""
    found = by_name(picture)
    image = found[parts.MOVED]
    assert all((np.asarray(layer.scale) >= np.asarray(image.scale) - 1e-9).all() for layer in found.values())


def test_moved_landmarks_are_where_newton_put_them(picture, outcome):
    layer = by_name(picture)[parts.MOVED_LANDMARKS]
    found = layers.landmarks_from_layer(layer)
    expected = outcome.result.moving_points_in_fixed(outcome.inputs.moving_landmarks.points)
    np.testing.assert_allclose(found.points, expected.points, atol=1e-6)
    errors = dict(zip(outcome.landmarks.pairs.names, outcome.landmarks.after_mm, strict=True))
    np.testing.assert_allclose(layer.features["tre_after_mm"], [errors[name] for name in layer.features["name"]])


def test_of_close_landmarks_the_worst_error_is_written():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [30, 0, 0], [31, 0, 0], [60, 0, 0]])
    errors = np.array([1.0, 2.0, 4.0, 3.0, np.nan])
    assert parts.error_texts(points, errors, 5.0) == ["", "2.0 mm", "4.0 mm", "", ""]
    assert parts.error_texts(points, errors, 0.5) == ["1.0 mm", "2.0 mm", "4.0 mm", "3.0 mm", ""]


def test_folds_are_drawn_below_the_range_of_determinants(picture):
    """What only the digital test finds must not look like tissue."""
    folds = np.zeros(picture.folds.grid.shape, np.int32)
    folds[10, 11, 12] = 1
    seen = by_name(ResultPicture(**{**vars(picture), "folds": LabelMap(folds, picture.folds.grid)}))
    image = seen[parts.JACOBIAN]
    where = np.unravel_index(np.argmax(np.asarray(seen[parts.FOLDS].data)), image.data.shape)
    assert image.data[where] <= image.contrast_limits[0]
    np.testing.assert_allclose(image.colormap.map(np.array([0.0]))[0], [0x6A / 255, 0x35 / 255, 1, 1], atol=1e-3)  # violet
    assert seen[parts.FOLDS].visible
    np.testing.assert_allclose(seen[parts.FOLDS].colormap.map(np.array([1]))[0], [0x6A / 255, 0x35 / 255, 1, 1], atol=1e-2)


def test_numbers_are_given_to_whole_groups():
    entries = [(None, {"name": "moved"}, "image"), (None, {"name": "folds"}, "labels")]
    assert [arguments["name"] for _, arguments, _ in numbered(entries, [])] == ["moved", "folds"]
    assert [arguments["name"] for _, arguments, _ in numbered(entries, ["folds"])] == ["moved [1]", "folds [1]"]
    assert [arguments["name"] for _, arguments, _ in numbered(entries, ["folds", "moved [1]"])] == ["moved [2]", "folds [2]"]


def test_plane_text():
    assert plane_text((0, 1, 2)) == "axial   R ◂ ▸ L   A ▴ ▾ P"
    assert plane_text((1, 0, 2)) == "coronal   R ◂ ▸ L   S ▴ ▾ I"
    assert plane_text((2, 0, 1)) == "sagittal   A ◂ ▸ P   S ▴ ▾ I"


def test_summary_says_what_the_report_says(picture, outcome):
    text = summary_html(picture.report, ("Something to know.",))
    value = outcome.report.value("tre_mm_mean")
    numbers = (f"{value.before:.3g} mm", f"{value.value:.3g} mm")
    for words in (*numbers, "TRE mean", "Dice mean", "Fold regions", "Device", "Something to know."):
        assert words in text


def test_what_to_look_at_is_said_once():
    text = summary_html({"attention": ["Far apart."], "provenance": {"status": {"advice": "Far apart."}}})
    assert text.count("Far apart.") == 1
    assert "Converged." in summary_html({"attention": ["Far apart."], "provenance": {"status": {"advice": "Converged."}}})


def test_a_folder_shows_what_the_outcome_showed(folder, picture):
    read = picture_of_folder(folder)
    np.testing.assert_allclose(read.moved.data, picture.moved.data, rtol=1e-6)
    # Files round to a ten-thousandth of a millimeter.
    np.testing.assert_allclose(read.displacement.displacement_mm, picture.displacement.displacement_mm, atol=1e-4)
    np.testing.assert_array_equal(read.moved_labels.data, picture.moved_labels.data)
    np.testing.assert_allclose(read.moved_points.landmarks.points, picture.moved_points.landmarks.points, atol=1e-3)
    np.testing.assert_allclose(read.moved_points.features["tre_after_mm"], picture.moved_points.features["tre_after_mm"])
    assert read.fixed is None, "this run did not come from files"


def test_a_folders_inputs_are_found_again(outcome, tmp_path):
    from napari_deformreg.io import write_image, write_labels, write_landmarks

    inputs = outcome.inputs
    write_image(tmp_path / "fixed.nii.gz", inputs.fixed)
    write_image(tmp_path / "moving.nii.gz", inputs.moving)
    write_labels(tmp_path / "labels.nii.gz", inputs.fixed_labels)
    write_landmarks(tmp_path / "marks.csv", inputs.fixed_landmarks)
    paths = InputPaths(
        tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz",
        fixed_labels=tmp_path / "labels.nii.gz", fixed_landmarks=tmp_path / "marks.csv",
    )  # fmt: skip
    write_outcome(outcome, tmp_path / "case", paths)
    read = picture_of_folder(tmp_path / "case")
    np.testing.assert_allclose(read.fixed.data, inputs.fixed.data, rtol=1e-6)
    np.testing.assert_allclose(read.moving_before.data, outcome.moving_before.data, atol=1e-3)
    assert read.fixed_labels.grid == inputs.fixed.grid
    assert read.notices == ()
    (tmp_path / "fixed.nii.gz").unlink()
    again = picture_of_folder(tmp_path / "case")
    assert again.fixed is None
    assert "fixed" in again.notices[0]


def test_not_a_result_folder(tmp_path):
    with pytest.raises(InputError, match="not a result folder"):
        picture_of_folder(tmp_path)


@pytest.fixture
def shown(make_napari_viewer_proxy, qtbot, outcome, picture):
    viewer = make_napari_viewer_proxy()
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    with qtbot.waitSignal(panel.shown, timeout=240_000):
        panel.show_outcome(outcome, picture, result_layers(picture), None, None)
    found = {parts.part_of(layer): layer for layer in viewer.layers}
    yield viewer, panel, found
    panel.shut_down()


@pytest.mark.window
def test_the_panel_steers_the_layers(shown):
    _viewer, panel, found = shown
    controls = panel.controls
    controls.blend.setValue(80)
    assert found[parts.MOVED].opacity == pytest.approx(0.8)
    controls.toggles[parts.JACOBIAN].setChecked(True)
    assert found[parts.JACOBIAN].visible
    found[parts.JACOBIAN].visible = False
    assert not controls.toggles[parts.JACOBIAN].isChecked()


@pytest.mark.window
def test_arrows_follow_the_slice_the_axis_and_the_controls(shown, qtbot):
    viewer, panel, found = shown
    quiver = found[parts.QUIVER]
    panel.controls.toggles[parts.QUIVER].setChecked(True)
    viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: set(quiver.data[:, 0, 0]) == {4}, timeout=2000)
    sparse = len(quiver.data)
    panel.controls.field.spacing.setValue(2 * panel.controls.field.spacing.value())
    qtbot.waitUntil(lambda: 0 < len(quiver.data) < sparse, timeout=2000)
    assert len(quiver.features) == len(quiver.data)
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_current_step(2, 7)
    qtbot.waitUntil(lambda: set(quiver.data[:, 0, 2]) == {7}, timeout=2000)
    before = len(quiver.data)
    panel.controls.field.slab.setValue(9)
    qtbot.waitUntil(lambda: len(quiver.data) > before, timeout=2000)
    assert set(quiver.data[:, 0, 2]) == {7}, "the slab is projected onto the displayed slice"
    panel.controls.toggles[parts.DEFORMED_GRID].setChecked(True)
    viewer.dims.set_current_step(2, 9)
    qtbot.waitUntil(lambda: set(found[parts.DEFORMED_GRID].data[:, 0, 2]) == {9}, timeout=2000)


@pytest.mark.window
def test_arrows_and_grid_come_together_with_the_slice(shown, qtbot):
    """Not a moment later, for then they would be missing while one scrolls."""
    viewer, panel, found = shown
    for part in (parts.QUIVER, parts.DEFORMED_GRID):
        panel.controls.toggles[part].setChecked(True)
    qtbot.wait(200)
    drawn = {parts.QUIVER: [], parts.DEFORMED_GRID: []}
    for part, slices in drawn.items():
        # What napari draws, when it draws it.
        found[part].events.set_data.connect(lambda event, layer=found[part], slices=slices: slices.append(set(layer.data[:, 0, 0])))
    for index in (9, 12, 7):
        for slices in drawn.values():
            slices.clear()
        viewer.dims.set_current_step(0, index)
        for part, slices in drawn.items():
            assert set(found[part].data[:, 0, 0]) == {index}
            assert slices[-1] == {index}, "drawn, and not the slice before"


@pytest.mark.window
def test_the_field_is_bounded_scaled_and_drawn_in_space(shown, qtbot, inputs):
    viewer, panel, found = shown
    field, quiver, jacobian = panel.controls.field, found[parts.QUIVER], found[parts.JACOBIAN]
    assert field.region.currentIndex() == 1, "the foreground, where it counts"
    field.region.setCurrentIndex(0)
    panel.controls.toggles[parts.QUIVER].setChecked(True)
    viewer.dims.set_current_step(0, 12)
    qtbot.waitUntil(lambda: set(quiver.data[:, 0, 0]) == {12}, timeout=2000)
    everywhere, length = len(quiver.data), np.linalg.norm(quiver.data[:, 1], axis=1).max()
    name = field.region.itemText(field.region.count() - 1)
    number = next(number for number, known in inputs.fixed_labels.label_names.items() if known == name)
    inside = layers.Placement(inputs.fixed.grid).to_layer_array(inputs.fixed_labels.data) == number
    field.region.setCurrentText(name)
    qtbot.waitUntil(lambda: len(quiver.data) < everywhere, timeout=2000)
    starts = quiver.data[:, 0].round().astype(int)
    assert inside[tuple(starts.T)].all()
    for part in (parts.JACOBIAN, parts.MAGNITUDE):
        np.testing.assert_array_equal(np.isfinite(np.asarray(found[part].data)), inside)
    field.region.setCurrentIndex(0)
    qtbot.waitUntil(lambda: len(quiver.data) == everywhere, timeout=2000)
    assert np.isfinite(np.asarray(jacobian.data)).all()
    field.scale.setValue(0.5)
    qtbot.waitUntil(lambda: np.linalg.norm(quiver.data[:, 1], axis=1).max() < 0.6 * length, timeout=2000)
    panel.controls.toggles[parts.DEFORMED_GRID].setChecked(True)
    field.slab.setValue(0)
    viewer.dims.ndisplay = 3
    grid = found[parts.DEFORMED_GRID]
    qtbot.waitUntil(lambda: len(set(grid.data[:, 0, 0])) > 10, timeout=5000)
    viewer.dims.ndisplay = 2


@pytest.mark.window
def test_going_to_a_place_shows_its_slice(shown, picture):
    viewer, panel, _found = shown
    voxel = np.array([[5.0, 9.0, 17.0]])
    panel.go_to(tuple(picture.displacement.grid.voxel_to_world(voxel)[0]))
    placement = layers.Placement(picture.displacement.grid)
    expected = placement.to_layer_points(picture.displacement.grid.voxel_to_world(voxel))[0]
    assert viewer.dims.current_step == tuple(np.round(expected).astype(int))


@pytest.mark.window
def test_the_sliders_stop_at_the_images_slices(shown, qtbot):
    """Neither arrows nor landmarks make more or other steps than the image has."""
    viewer, panel, found = shown
    for part in (parts.QUIVER, parts.DEFORMED_GRID):
        panel.controls.toggles[part].setChecked(True)
    qtbot.wait(200)
    image = found[parts.MOVED]
    for axis, (start, stop, step) in enumerate(viewer.dims.range):
        first = image.data_to_world((0, 0, 0))[axis]
        assert start == pytest.approx(first)
        assert step == pytest.approx(image.scale[axis])
        assert stop == pytest.approx(first + (image.data.shape[axis] - 1) * image.scale[axis])


@pytest.mark.window
def test_saving_writes_the_folder(shown, qtbot, tmp_path):
    _viewer, panel, _found = shown
    assert not panel.report_button.isEnabled()
    panel.save(tmp_path / "saved")
    qtbot.waitUntil(lambda: "Saved in" in panel.message.text(), timeout=60_000)
    assert {names.MOVED, names.REPORT_HTML, names.FIXED_TO_MOVING} <= {path.name for path in (tmp_path / "saved").iterdir()}
    assert panel.report_button.isEnabled()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    panel.save(tmp_path / "mine")
    qtbot.waitUntil(lambda: not panel.writer.busy, timeout=60_000)
    assert "mine" in panel.message.text()
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert panel.save_button.isEnabled()


@pytest.mark.window
def test_right_is_on_the_left(shown, qtbot):
    viewer, _panel, _found = shown
    assert tuple(str(way) for way in viewer.scene.camera.orientation) == ("away", "up", "left")
    text = viewer.canvas.overlays.text
    qtbot.waitUntil(lambda: "R ◂ ▸ L   A ▴ ▾ P" in text.text, timeout=3000)
    viewer.dims.order = (2, 0, 1)
    qtbot.waitUntil(lambda: text.text == "sagittal   A ◂ ▸ P   S ▴ ▾ I", timeout=3000)
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: text.text == "", timeout=3000)


@pytest.mark.window
def test_the_window_on_a_folder(make_napari_viewer, folder, qtbot):
    viewer = make_napari_viewer()
    dock = app.build_result_viewer(viewer, folder)
    with qtbot.waitSignal(dock.result.shown, timeout=30_000):
        pass
    assert {parts.MOVED, parts.JACOBIAN, parts.QUIVER} <= {parts.part_of(layer) for layer in viewer.layers}
    assert dock.currentWidget() is dock.result
    assert "Dice mean" in dock.result.summary.text.text()
    dock.shut_down()


@pytest.mark.window
def test_a_small_window_is_enlarged_and_a_large_one_left(make_napari_viewer_proxy, qapp):
    screen = qapp.primaryScreen().availableGeometry()
    wanted = tuple(min(size, room) for size, room in zip(app.WINDOW_SIZE, (screen.width(), screen.height()), strict=True))
    viewer = make_napari_viewer_proxy()
    for given, expected in (((900, 600), wanted), ((wanted[0] + 30, wanted[1] + 20), (wanted[0] + 30, wanted[1] + 20))):
        viewer.window.resize(*given)
        app.enlarge_window(viewer)
        assert tuple(viewer.window.geometry()[2:]) == expected


@pytest.mark.window
def test_opening_a_folder_in_the_dock_loads_its_settings(make_napari_viewer_proxy, folder, qtbot, outcome):
    from napari_deformreg.ui.register_dock import RegisterDock

    viewer = make_napari_viewer_proxy()
    dock = RegisterDock(viewer)
    viewer.window.add_dock_widget(dock, name="Register")
    dock.open_result(folder)
    with qtbot.waitSignal(dock.result.shown, timeout=60_000):
        pass
    assert dock.page.settings() == outcome.result.settings
    dock.shut_down()


@pytest.mark.window
def test_a_flat_result_is_shown_in_its_plane(make_napari_viewer_proxy, qtbot):
    """A sagittal slice has its thin axis first; it must not be shown as a line."""
    from napari_deformreg.space import AffineTransform, DisplacementField

    grid = Grid((1, 20, 30), np.eye(4))
    blank = Volume(np.random.default_rng(0).normal(size=grid.shape), grid)
    flat = ResultPicture(
        blank, blank, DisplacementField(grid, np.ones((*grid.shape, 3), np.float32)), AffineTransform.identity(), blank,
        LabelMap(np.zeros(grid.shape, int), grid), {},
    )  # fmt: skip
    viewer = make_napari_viewer_proxy()
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    with qtbot.waitSignal(panel.shown, timeout=240_000):
        panel.show_folder("nowhere", flat, result_layers(flat))
    assert tuple(viewer.dims.order) == (2, 0, 1)
    panel.controls.toggles[parts.QUIVER].setChecked(True)
    quiver = next(layer for layer in viewer.layers if parts.part_of(layer) == parts.QUIVER)
    qtbot.waitUntil(lambda: len(quiver.data) > 0, timeout=2000)
    panel.shut_down()


@pytest.mark.window
def test_a_picture_of_the_window(folder, tmp_path, qapp):
    from imageio.v3 import imread

    app.screenshot_result(folder, tmp_path / "window.png")
    pixels = imread(tmp_path / "window.png")
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 800
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1])[::101], axis=0)) > 50


@pytest.mark.window
def test_choosing_a_fold_goes_there(make_napari_viewer_proxy, qtbot, picture):
    viewer = make_napari_viewer_proxy()
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    center = tuple(picture.displacement.grid.voxel_to_world(np.array([[6.0, 7.0, 8.0]]))[0])
    region = {
        "label": 1, "voxels": 3, "foreground_voxels": 2, "smallest_determinant": -0.2, "center_mm": center, "structure": "core",
    }  # fmt: skip
    report = {**picture.report, "folds": {**picture.report["folds"], "regions": [region], "region_count": 1}}
    folded = ResultPicture(**{**vars(picture), "report": report})
    with qtbot.waitSignal(panel.shown, timeout=240_000):
        panel.show_folder("nowhere", folded, result_layers(folded))
    panel.summary.folds.setCurrentRow(0)
    expected = layers.Placement(picture.displacement.grid).to_layer_points(np.array([center]))[0]
    assert viewer.dims.current_step[0] == round(expected[0])
    qtbot.mouseClick(panel.save_button, Qt.MouseButton.LeftButton)
    panel.shut_down()
