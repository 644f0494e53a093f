"""Colors become one gray value with a notice: against ITK's own conversion, and the section or photograph it came from."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_deformreg.errors import InputError
from napari_deformreg.io import read_image, read_labels
from napari_deformreg.space import gray_of_colors

# ITK rounds the same standard's weights to 0.2125, 0.7154, 0.0721, and JPEG's decoder is one and the same.
TOLERANCE = 0.1


def written(path, colors):
    """Write (rows, columns, components) as a picture, or (slices, rows, columns, components) as pages of one."""
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(colors), isVector=True), str(path))
    return path


def luminance(path):
    """Let ITK convert."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32)).T


def section(rng, background=250):
    """A dark blot on a bright slide."""
    rows, columns = np.indices((40, 60))
    blot = np.hypot(rows - 18, columns - 33) < 12
    colors = np.full((40, 60, 3), background, np.uint8)
    colors[blot] = rng.integers(40, 160, (int(blot.sum()), 3))
    return colors, blot.T


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_stained_section_is_its_inverted_luma(suffix, rng, tmp_path):
    colors, blot = section(rng)
    path = written(tmp_path / f"section{suffix}", colors)
    volume = read_image(path)
    assert volume.grid.shape == (60, 40, 1)
    expected = luminance(path)
    np.testing.assert_allclose(volume.data[:, :, 0], expected.max() - expected, atol=TOLERANCE)
    assert np.median(volume.data[:, :, 0][~blot]) == pytest.approx(0, abs=8)  # JPEG rings
    assert volume.data[:, :, 0][blot].mean() > 100
    said = " ".join(volume.notices)
    assert f"section{suffix} is a color image" in said
    assert "inverted" in said
    assert "709" in said
    assert f"section{suffix}@0" in said


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_picture_with_a_black_rim_is_its_luma(suffix, rng, tmp_path):
    colors, _ = section(rng, background=3)
    path = written(tmp_path / f"retina{suffix}", colors)
    volume = read_image(path)
    np.testing.assert_allclose(volume.data[:, :, 0], luminance(path), atol=TOLERANCE)
    assert "inverted" not in " ".join(volume.notices)


def test_sixteen_bits(rng, tmp_path):
    colors, _ = section(rng)
    path = written(tmp_path / "section.png", colors.astype(np.uint16) * 16)
    np.testing.assert_allclose(read_image(path).data, 16 * gray_of_colors(colors.transpose(1, 0, 2)[:, :, None])[0], rtol=1e-5, atol=1e-3)


def test_pages_of_a_color_tiff_are_slices(rng, tmp_path):
    """The rim is that of each page, not the first and last page."""
    colors, _ = section(rng)
    pages = np.stack([np.full_like(colors, 250), colors, np.full_like(colors, 250)])
    pages[[0, 2], 5:-5, 5:-5] = 30
    volume = read_image(written(tmp_path / "stack.tif", pages))
    assert volume.grid.shape == (60, 40, 3)
    np.testing.assert_array_equal(volume.data, gray_of_colors(pages.transpose(2, 1, 0, 3))[0])
    assert volume.data[30, 20, 0] > 200
    assert volume.data[0, 0, 0] < 1


def test_what_is_transparent_is_background(rng, tmp_path):
    """Programs write black, or anything, where a picture with opacity shows nothing."""
    colors, blot = section(rng)
    whole = read_image(written(tmp_path / "whole.png", colors)).data
    opacity = np.full((*colors.shape[:2], 1), 255, np.uint8)
    opaque = np.concatenate([colors, opacity], axis=-1)
    np.testing.assert_array_equal(read_image(written(tmp_path / "opaque.png", opaque)).data, whole)
    hidden = opaque.copy()
    hidden[~blot.T] = 0
    found = read_image(written(tmp_path / "hidden.png", hidden)).data[:, :, 0]
    assert (found[~blot] == 0).all()
    assert (found[blot] > 0).mean() > 0.9


def test_one_channel_can_be_chosen(rng, tmp_path):
    colors, _ = section(rng)
    path = written(tmp_path / "section.png", colors)
    for channel in range(3):
        volume = read_image(path, volume=channel)
        np.testing.assert_array_equal(volume.data[:, :, 0], colors[..., channel].T)
        assert "color" not in " ".join(volume.notices)


def test_color_nifti(rng, tmp_path):
    colors, _ = section(rng)
    records = np.zeros((60, 40, 1), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for channel, name in enumerate("RGB"):
        records[name][:, :, 0] = colors[..., channel].T
    nib.Nifti1Image(records, np.diag([0.01, 0.01, 1, 1])).to_filename(tmp_path / "section.nii.gz")
    volume = read_image(tmp_path / "section.nii.gz")
    np.testing.assert_array_equal(volume.data, read_image(written(tmp_path / "section.png", colors)).data)
    assert "color image" in volume.notices[-1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_gray_pictures_are_as_they_were(suffix, rng, tmp_path):
    """A bright rim turns no gray image around: only colors have no value of their own."""
    gray = section(rng)[0][..., 0]
    path = tmp_path / f"gray{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(gray), str(path))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data[:, :, 0], luminance(path))
    assert "color" not in " ".join(volume.notices)


def test_colors_are_no_labels(rng, tmp_path):
    path = written(tmp_path / "labels.png", section(rng)[0])
    with pytest.raises(InputError, match=r"color image \(3 components a voxel\).*labels.png@2"):
        read_labels(path)


def test_layers_of_a_segmentation_are_no_colors(rng, tmp_path):
    image = sitk.GetImageFromArray(rng.integers(0, 2, (4, 5, 6, 3)).astype(np.uint8), isVector=True)
    for layer, name in enumerate(("gray matter", "white matter", "ventricle")):
        image.SetMetaData(f"Segment{layer}_Name", name)
        image.SetMetaData(f"Segment{layer}_LabelValue", str(layer + 1))
    sitk.WriteImage(image, str(tmp_path / "brain.seg.nrrd"))
    with pytest.raises(InputError, match="3 components a voxel"):
        read_image(tmp_path / "brain.seg.nrrd")
