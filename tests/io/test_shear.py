import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import sheared_grid

from napari_deformreg.io import read_image, read_labels
from napari_deformreg.space import Grid


def ramp(points):
    """An intensity that is linear in the world: linear interpolation must reproduce it exactly."""
    return 500 + points @ np.array([2.0, -3.0, 1.5])


def saved_ramp(grid, path):
    values = ramp(grid.voxel_to_world(grid.voxel_indices())).reshape(grid.shape)
    nib.Nifti1Image(values.astype(np.float32), grid.affine).to_filename(path)


def sheared_twice():
    affine = np.diag([1.0, 1.2, 1.4, 1.0])
    affine[0, 1], affine[1, 2], affine[0, 2] = 0.3, 0.25, -0.2
    return Grid((14, 13, 12), affine)


@pytest.mark.parametrize("grid", [sheared_grid(), sheared_grid(tilt_degrees=-25), sheared_twice()], ids=["gantry", "other way", "all axes"])
def test_a_sheared_image_keeps_its_place_in_the_world(grid, tmp_path):
    saved_ramp(grid, tmp_path / "sheared.nii")
    volume = read_image(tmp_path / "sheared.nii")
    assert volume.grid.is_orthogonal
    assert "sheared" in volume.notices[-1]
    assert "linearly" in volume.notices[-1]
    assert str(volume.grid.shape) in volume.notices[-1]
    points = volume.grid.voxel_to_world(volume.grid.voxel_indices())
    voxels = grid.world_to_voxel(points)
    inner = ((voxels >= 0) & (voxels <= np.array(grid.shape) - 1)).all(axis=1)
    assert inner.sum() > 0.5 * np.prod(grid.shape)
    np.testing.assert_allclose(volume.data.ravel()[inner], ramp(points[inner]), atol=1e-2)


def test_the_whole_field_of_view_is_covered_and_the_rest_is_the_minimum(tmp_path):
    grid = sheared_grid()
    saved_ramp(grid, tmp_path / "sheared.nii")
    volume = read_image(tmp_path / "sheared.nii")
    assert volume.grid.contains(grid.corners(), margin_vox=0.51).all()
    points = volume.grid.voxel_to_world(volume.grid.voxel_indices())
    beyond = ~grid.contains(points, margin_vox=0.6)
    assert beyond.any()
    assert (volume.data.ravel()[beyond] == volume.data.min()).all()


def test_slices_of_a_tilted_gantry_stay_slices(tmp_path):
    grid = sheared_grid(tilt_degrees=20)
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, grid.shape).astype(np.float32)
    nib.Nifti1Image(values, grid.affine).to_filename(tmp_path / "sheared.nii")
    volume = read_image(tmp_path / "sheared.nii")
    assert volume.grid.shape[2] == grid.shape[2]
    np.testing.assert_allclose(volume.grid.spacing[:2], grid.spacing[:2], rtol=1e-6)
    np.testing.assert_allclose(volume.grid.spacing[2], 2.0, rtol=1e-6)
    rows = grid.world_to_voxel(volume.grid.voxel_to_world(volume.grid.voxel_indices()))[:, 2]
    np.testing.assert_allclose(rows, np.rint(rows), atol=1e-4)


def test_labels_are_never_mixed(tmp_path):
    grid = sheared_grid()
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:12, 5:12, 3:10] = 7
    labels[12:18, 5:12, 3:10] = 200
    nib.Nifti1Image(labels, grid.affine).to_filename(tmp_path / "labels.nii")
    read = read_labels(tmp_path / "labels.nii")
    assert read.labels == (7, 200)
    assert "nearest" in read.notices[-1]
    volume_mm3 = abs(np.linalg.det(grid.affine[:3, :3])) * (labels == 7).sum()
    assert (read.data == 7).sum() * np.prod(read.grid.spacing) == pytest.approx(volume_mm3, rel=0.1)


def test_a_sheared_nrrd_agrees_with_the_same_nifti(tmp_path):
    grid = sheared_grid()
    saved_ramp(grid, tmp_path / "sheared.nii")
    values = ramp(grid.voxel_to_world(grid.voxel_indices())).reshape(grid.shape).astype(np.float32)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0).copy())
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "sheared.nrrd"))
    first, second = read_image(tmp_path / "sheared.nii"), read_image(tmp_path / "sheared.nrrd")
    assert first.grid == second.grid
    inner = (slice(2, -2), slice(12, -12), slice(1, -1))
    np.testing.assert_allclose(first.data[inner], second.data[inner], atol=1e-2)
