"""Readers, writers, sample data and the manifest, as napari uses them."""

import gc
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Layer, Points, Shapes
from npe2 import PluginManifest

from napari_deformreg.errors import InputError
from napari_deformreg.io import READERS, WRITERS, read_image, read_labels, read_landmarks, write_image, write_labels, write_landmarks
from napari_deformreg.space import Grid, LabelMap, Landmarks, Volume
from napari_deformreg.ui import layers, readers, writers

OBLIQUE = np.array([[-0.9, 0.2, 0.0, 30], [0.15, 1.2, -0.3, -20], [0.05, 0.35, 2.0, 10], [0, 0, 0, 1]])
OBLIQUE[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * (0.9, 1.2, 2.0)


@pytest.fixture
def manifest():
    return PluginManifest.from_distribution("napari-deformreg")


@pytest.fixture
def oblique():
    return Grid((6, 7, 8), OBLIQUE)


def test_the_manifest_is_valid_and_every_command_can_be_imported(manifest):
    manifest.validate_imports()
    assert all(command.id.startswith("napari-deformreg.") for command in manifest.contributions.commands)


def test_the_manifest_claims_what_we_can_read_and_write(manifest):
    claimed = {pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns}
    assert {f"*{suffix}" for suffix in readers.VOLUME_SUFFIXES} <= claimed
    assert set(readers.VOLUME_SUFFIXES) <= set(READERS)
    assert not claimed & {"*", "*.gz", "*.png", "*.jpg", "*.tif", "*.tiff"}
    for writer in manifest.contributions.writers:
        if writer.layer_types[0] in ("image", "labels"):
            assert set(writer.filename_extensions) == set(WRITERS)


@pytest.mark.window
def test_every_widget_opens_fills_itself_and_closes(make_napari_viewer_proxy, manifest, qtbot):
    viewer = make_napari_viewer_proxy()
    for widget in manifest.contributions.widgets:
        dock, opening = viewer.window.add_plugin_dock_widget("napari-deformreg", widget.display_name)
        assert opening.inside is None, "first it says that it is loading"
        with qtbot.waitSignal(opening.opened, timeout=60_000):
            pass
        assert type(opening.inside).__name__ == opening.source[1]
        assert opening.inside.parent() is opening
        seen = []
        opening.inside.shut_down = lambda seen=seen: seen.append("shut down")
        viewer.window.remove_dock_widget(dock)
        assert seen == ["shut down"]
        type(opening.inside).shut_down(opening.inside)
        opening.deleteLater()


@pytest.mark.window
def test_a_widget_that_is_closed_while_it_loads_never_comes(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy()
    dock, opening = viewer.window.add_plugin_dock_widget("napari-deformreg", "Register")
    viewer.window.remove_dock_widget(dock)
    assert not opening.busy
    qtbot.wait(500)
    assert opening.inside is None
    assert gc.isenabled()
    opening.deleteLater()


def test_what_the_menu_opens_imports_next_to_nothing():
    program = (
        "import sys, napari_deformreg.ui.docks; "
        "print([name for name in ('scipy', 'SimpleITK', 'h5py', 'matplotlib', 'pandas', 'napari') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", sorted(set(readers.VOLUME_SUFFIXES) & set(WRITERS)))
def test_images_are_read_where_they_are(suffix, oblique, tmp_path, rng):
    path = tmp_path / f"scan{suffix}"
    volume = Volume(rng.normal(size=oblique.shape), oblique)
    write_image(path, volume)
    reader = readers.get_image_reader(str(path))
    layer = Layer.create(*reader(str(path))[0])
    assert isinstance(layer, Image)
    back = layers.snapshot(layer).volume()
    assert back.grid == oblique
    np.testing.assert_allclose(back.data, volume.data, rtol=1e-6)
    assert layers.file_of(layer) == str(path)


def test_labels_are_recognized_by_name_and_values(oblique, tmp_path, rng):
    labels = LabelMap(rng.integers(0, 3, oblique.shape), oblique)
    for name, expected in (("scan.nii.gz", Image), ("scan_labels.nii.gz", Labels), ("brainmask.nii.gz", Labels)):
        write_labels(tmp_path / name, labels)
        assert isinstance(Layer.create(*readers.read_volume_file(str(tmp_path / name))[0]), expected)
    write_image(tmp_path / "segmented_probability.nii.gz", Volume(rng.uniform(size=oblique.shape), oblique))
    assert isinstance(Layer.create(*readers.read_volume_file(str(tmp_path / "segmented_probability.nii.gz"))[0]), Image)


def test_only_our_landmark_tables_are_claimed(tmp_path):
    ours, napari_points, other = tmp_path / "ours.csv", tmp_path / "napari.csv", tmp_path / "other.csv"
    write_landmarks(ours, Landmarks(np.array([[1.0, 2.0, 3.0]]), ("a",)))
    napari_points.write_text("index,axis-0,axis-1,axis-2\n0,1,2,3\n")
    other.write_text("time,temperature\n1,37.2\n")
    assert readers.get_landmark_reader(str(ours)) is not None
    assert readers.get_landmark_reader(str(napari_points)) is None
    assert readers.get_landmark_reader(str(other)) is None
    assert readers.get_landmark_reader(str(tmp_path / "missing.csv")) is None
    layer = Layer.create(*readers.get_landmark_reader(str(ours))(str(ours))[0])
    np.testing.assert_allclose(layer.data_to_world(layer.data[0]), (3, 2, 1))


def test_other_files_and_folders_are_declined(tmp_path):
    assert readers.get_image_reader(str(tmp_path / "photo.png")) is None
    assert readers.get_image_reader([str(tmp_path / "a.nii")]) is None
    assert readers.get_result_reader(str(tmp_path)) is None


@pytest.mark.window
def test_a_result_folder_is_dropped_on_napari(make_napari_viewer, outcome, tmp_path):
    from napari_deformreg.workflow import write_outcome

    write_outcome(outcome, tmp_path / "case")
    viewer = make_napari_viewer()
    viewer.open(tmp_path / "case", plugin="napari-deformreg")
    assert "moved" in viewer.layers
    assert "Jacobian determinant" in viewer.layers


@pytest.mark.window
def test_layers_saved_from_napari_come_back(make_napari_viewer, oblique, tmp_path, rng):
    viewer = make_napari_viewer()
    volume = Volume(rng.normal(size=oblique.shape), oblique, "scan")
    labels = LabelMap(rng.integers(0, 4, oblique.shape), oblique, "organs", {1: "liver"})
    landmarks = Landmarks(oblique.voxel_to_world(rng.uniform(0, 5, (4, 3))), ("a", "b", "c", "d"))
    placement = layers.Placement(oblique)
    saved = {}
    for name, entry in {
        "scan.nii.gz": layers.image_layer(volume),
        "organs.nrrd": layers.labels_layer(labels),
        "marks.csv": layers.points_layer(landmarks, placement, name="marks"),
    }.items():
        layer = viewer.add_layer(Layer.create(*entry))
        saved[name] = layer.save(str(tmp_path / name), plugin="napari-deformreg")
    assert all(saved.values())
    image = read_image(tmp_path / "scan.nii.gz")
    assert image.grid == oblique
    np.testing.assert_allclose(image.data, volume.data, rtol=1e-6)
    organs = read_labels(tmp_path / "organs.nrrd")
    assert organs.grid == oblique
    np.testing.assert_array_equal(organs.data, labels.data)
    marks = read_landmarks(tmp_path / "marks.csv")
    np.testing.assert_allclose(marks.points, landmarks.points, atol=1e-4)
    assert marks.names == landmarks.names


def test_points_of_the_user_are_saved_in_ras_millimeters(tmp_path):
    """napari's own writer would save voxel coordinates without their place."""
    points = Points([[1, 2, 3]], scale=(3, 2, 1), translate=(10, 0, 0), units="mm", features=pd.DataFrame({"note": ["ok"]}))
    data, attributes, _ = points.as_layer_data_tuple()
    writers.save_points(str(tmp_path / "marks.csv"), data, attributes)
    np.testing.assert_allclose(read_landmarks(tmp_path / "marks.csv").points, [[3, 4, 13]])
    assert "note" in (tmp_path / "marks.csv").read_text()


def test_outlines_of_the_user_are_saved_in_ras_millimeters(tmp_path):
    """An ellipse as a polygon of points on it; which line a vertex belongs to is in the columns."""
    shapes = Shapes(None, ndim=3, scale=(3, 2, 1), translate=(10, 0, 0), units="mm")
    corners = np.array([[1.0, 0, 0], [1, 0, 4], [1, 4, 4], [1, 4, 0]])
    shapes.add([corners[:2], corners], shape_type=["path", "ellipse"])
    data, attributes, _ = shapes.as_layer_data_tuple()
    writers.save_shapes(str(tmp_path / "lines.csv"), data, attributes)
    table = pd.read_csv(tmp_path / "lines.csv", comment="#", dtype={"name": str})
    points = read_landmarks(tmp_path / "lines.csv").points
    np.testing.assert_allclose(points[:2], [[0, 0, 13], [4, 0, 13]])
    np.testing.assert_allclose(points[2:, 2], 13)
    np.testing.assert_allclose(((points[2:, 0] - 2) / 2) ** 2 + ((points[2:, 1] - 4) / 4) ** 2, 1, atol=1e-5)
    assert list(table["line"]) == [1, 1, *[2] * (len(points) - 2)]
    assert list(table["closed"]) == [0, 0, *[1] * (len(points) - 2)]
    with pytest.raises(InputError, match="is empty"):
        writers.save_shapes(str(tmp_path / "none.csv"), [], Shapes(None, ndim=3).as_layer_data_tuple()[1])


@pytest.mark.window
@pytest.mark.parametrize("key", ["head", "head_t2", "slice"])
def test_sample_data_open_and_fit_the_dock(make_napari_viewer, qtbot, key):
    from napari_deformreg.ui.register_dock import RegisterDock

    viewer = make_napari_viewer()
    opened = viewer.open_sample("napari-deformreg", key)
    assert len(opened) == 6
    assert all([str(unit) for unit in layer.units] == ["millimeter"] * 3 for layer in opened)
    dock = RegisterDock(viewer)
    viewer.window.add_dock_widget(dock, name="Register")
    # Its characters are painted one a turn before it is shown.
    qtbot.waitUntil(lambda: "R ◂ ▸ L" in viewer.canvas.overlays.text.text, timeout=20_000)
    assert tuple(str(way) for way in viewer.scene.camera.orientation) == ("away", "up", "left")
    assert dock.page.rows["fixed"].value() == viewer.layers["fixed"]
    assert dock.page.rows["moving"].value() == viewer.layers["moving"]
    dock.shut_down()
