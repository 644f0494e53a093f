"""Transforms of other tools through the window: files, what they are taken for, and another reading of the same numbers."""

import numpy as np
import pytest
import SimpleITK as sitk
from cases import write_inputs
from qtpy.QtCore import Qt

from napari_deformreg.ui.review.elsewhere import ElsewhereDialog
from napari_deformreg.ui.review.file_rows import FileList
from napari_deformreg.ui.review_dock import ReviewDock

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def case(inputs, pair, tmp_path_factory):
    """The small case as files, and its true transform as SimpleITK writes displacements: vectors in LPS mm."""
    paths = write_inputs(inputs, tmp_path_factory.mktemp("case"))
    centers = pair.fixed.grid.voxel_to_world(pair.fixed.grid.voxel_indices())
    moved_by = (pair.fixed_to_moving.map(centers) - centers).reshape(*pair.fixed.grid.shape, 3) * (-1, -1, 1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(moved_by.transpose(2, 1, 0, 3)), isVector=True)
    image.CopyInformation(sitk.ReadImage(str(paths.fixed)))
    warp = paths.fixed.with_name("warp.mha")
    sitk.WriteImage(image, str(warp))
    return paths, warp


@pytest.fixture
def dock(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    dock = ReviewDock(viewer)
    viewer.window.add_dock_widget(dock, name="Review")
    yield dock
    dock.shut_down()


def choose(dialog, convention):
    dialog.convention.setCurrentIndex(dialog.convention.findData(convention))


def mean_error(dock):
    return next(figure.value for figure in dock.desk.review.figures if figure.figure == "tre_mm_mean")


def test_a_transform_is_reviewed_and_read_the_other_way(dock, case, qtbot, tmp_path):
    paths, warp = case
    dock.open_elsewhere()
    dialog = dock.elsewhere
    qtbot.mouseClick(dialog.review_button, Qt.MouseButton.LeftButton)
    assert dialog.message.text() == "Still missing: Fixed image, Moving image, Transform, Folder."
    for role in ("fixed", "moving", "fixed_landmarks", "moving_landmarks"):
        dialog.files[role].setValue(getattr(paths, role))
    dialog.transform.add([warp])
    assert dialog.folder.value() == str(warp.with_name("warp-review"))
    dialog.folder.setValue(tmp_path / "review")
    dialog.made_by.setCurrentText("SimpleITK")
    qtbot.waitUntil(lambda: "warp.mha" in dialog.understood.text() and "LPS mm" in dialog.understood.text(), timeout=300_000)
    assert "mm at most" in dialog.understood.text()
    assert dialog.understood.width() > 200, "wide enough to be read"
    qtbot.mouseClick(dialog.review_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.desk.review is not None and not dock.busy, timeout=600_000)
    assert dialog.isHidden()
    assert dock.desk.review.subject.made_by == "SimpleITK"
    assert "SimpleITK" in dock.message.text()
    assert "LPS" in dock.message.text()
    assert mean_error(dock) < 0.05
    names = [layer.name for layer in dock.desk.viewer.layers]
    first = dock.desk.review

    dock.open_elsewhere()
    choose(dialog, "ras")
    qtbot.waitUntil(lambda: "RAS mm" in dialog.understood.text(), timeout=300_000)
    qtbot.mouseClick(dialog.review_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.desk.review not in (None, first) and not dock.busy, timeout=600_000)
    assert mean_error(dock) > 1.0
    assert [layer.name for layer in dock.desk.viewer.layers] == names, "the reading before is gone"


def test_what_cannot_be_read_is_told(qtbot, tmp_path):
    dialog = ElsewhereDialog()
    qtbot.addWidget(dialog)
    dialog.transform.add([tmp_path / "nothing.h5"])
    qtbot.waitUntil(lambda: "There is no file" in dialog.understood.text(), timeout=300_000)
    dialog.release()


def test_files_are_put_in_order_and_inverted(qtbot):
    files = FileList("files", "All (*)")
    qtbot.addWidget(files)
    files.add(["warp.nii.gz", "affine.mat"])
    qtbot.mouseClick(files.invert_button, Qt.MouseButton.LeftButton)
    assert files.value() == ("warp.nii.gz", "[affine.mat,1]")
    files._move(-1)
    assert files.value() == ("[affine.mat,1]", "warp.nii.gz")
    files.list.setCurrentRow(0)
    qtbot.mouseClick(files.invert_button, Qt.MouseButton.LeftButton)
    files._move(1)
    files._remove()
    assert files.value() == ("warp.nii.gz",)
