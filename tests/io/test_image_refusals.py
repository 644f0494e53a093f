"""What cannot be used is refused with one clear line: what was expected, what came, what to do."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import oblique_grid

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_image, read_labels, write_image, write_labels
from napari_deformreg.space import LabelMap, Volume

SHAPE = (8, 7, 6)


@pytest.fixture
def data(rng):
    return rng.normal(100, 30, SHAPE).astype(np.float32)


def saved(path, data, affine=None):
    nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def refusal(path, kind=InputError, read=read_image, **options) -> str:
    with pytest.raises(kind) as caught:
        read(path, **options)
    message = str(caught.value)
    assert str(path.name) in message
    assert "\n" not in message
    return message


def test_missing_file(tmp_path):
    assert "There is no file" in refusal(tmp_path / "nothing.nii.gz")


def test_folder(tmp_path):
    assert "dcm2niix" in refusal(tmp_path)


def test_unknown_suffix_lists_the_known_ones(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(b"DICM")
    assert ".nii.gz" in refusal(path, FileFormatError)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".mgh", ".mgz", ".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".jpg", ".tif"])
@pytest.mark.parametrize("content", [b"", b"This is not an image at all.\n" * 40], ids=["nothing", "text"])
def test_not_an_image(suffix, content, tmp_path, capfd):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(content)
    (tmp_path / "image.img").write_bytes(b"")
    refusal(path, FileFormatError)
    capfd.readouterr()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgh", ".mgz", ".mha", ".nrrd"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_truncated(suffix, kept, data, tmp_path, capfd):
    path = tmp_path / f"image{suffix}"
    write_image(path, Volume(data, oblique_grid(shape=SHAPE)))
    blob = path.read_bytes()
    path.write_bytes(blob[: int(kept * len(blob))])
    refusal(path, FileFormatError)
    capfd.readouterr()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_truncated_picture(suffix, rng, tmp_path, capfd):
    path = tmp_path / f"picture{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (40, 40)).astype(np.uint8)), str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path, FileFormatError)
    capfd.readouterr()


def test_gzip_that_lost_its_last_bytes(data, tmp_path):
    path = saved(tmp_path / "image.nii.gz", data)
    path.write_bytes(path.read_bytes()[:-4])
    assert "truncated or damaged" in refusal(path, FileFormatError)


def test_gzip_with_a_flipped_bit(data, tmp_path):
    path = saved(tmp_path / "image.nii.gz", data)
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 4
    path.write_bytes(blob)
    assert "truncated or damaged" in refusal(path, FileFormatError)


def test_a_pair_that_lost_its_other_half(data, tmp_path):
    nib.Nifti1Pair(data, np.eye(4)).to_filename(tmp_path / "image.img")
    (tmp_path / "image.hdr").unlink()
    assert "image.hdr" in refusal(tmp_path / "image.img", FileFormatError)


def test_analyze_without_orientation(data, tmp_path):
    nib.AnalyzeImage(data, np.eye(4)).to_filename(tmp_path / "image.img")
    assert "not a NIfTI" in refusal(tmp_path / "image.hdr", FileFormatError)


def test_several_volumes_are_counted_and_the_way_to_pick_is_told(rng, tmp_path):
    path = saved(tmp_path / "series.nii.gz", rng.normal(0, 1, (*SHAPE, 5)).astype(np.float32))
    message = refusal(path)
    assert "5 volumes" in message
    assert "volume=0" in message
    assert "series.nii.gz@4" in message
    assert "no volume 5: it holds 5" in refusal(path, volume=5)


def test_vectors(rng, tmp_path):
    path = saved(tmp_path / "field.nii", rng.normal(0, 1, (*SHAPE, 1, 3)).astype(np.float32))
    assert "3 components a voxel" in refusal(path)


def test_complex_numbers(data, tmp_path):
    assert "complex" in refusal(saved(tmp_path / "image.nii", data.astype(np.complex64)))


def test_nan_and_infinity_are_counted(data, tmp_path):
    data[0, 0, :3] = np.nan
    data[1, 1, :2] = (np.inf, -np.inf)
    message = refusal(saved(tmp_path / "image.nii", data))
    assert f"3 NaN and 2 infinite voxels of {data.size}" in message
    assert "nan_to_num" in message


def test_values_beyond_float32(data, tmp_path):
    wide = data.astype(np.float64)
    wide[0, 0, 0] = 1e300
    assert "0 NaN and 1 infinite" in refusal(saved(tmp_path / "image.nii", wide))


def test_constant(tmp_path):
    assert "constant (every voxel is 7)" in refusal(saved(tmp_path / "image.nii", np.full(SHAPE, 7, np.int16)))


def test_a_line_of_voxels(tmp_path, rng):
    assert "two axes" in refusal(saved(tmp_path / "image.nii", rng.normal(0, 1, (20, 1, 1)).astype(np.float32)))


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
        (np.diag([1, 1, 0, 1.0]), "spacing"),
        (np.diag([1, 1, 1e-5, 1]), "spacing"),
        (np.diag([1, 2000.0, 1, 1]), "1 x 2000 x 1 mm"),
        (np.diag([1, np.nan, 1, 1]), "not finite"),
        (np.array([[1, 0, 0, 2e6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "origin"),
    ],
    ids=["singular", "flat", "tiny", "huge", "nan", "far"],
)
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_absurd_affines(affine, said, read, tmp_path):
    path = saved(tmp_path / "image.nii", np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    blob = bytearray(path.read_bytes())
    blob[280:328] = affine[:3].astype("<f4").tobytes()
    path.write_bytes(blob)
    message = refusal(path, read=read)
    assert said in message
    assert "header" in message


def test_labels_that_are_not_whole(data, tmp_path):
    data[:] = 0
    data[0, 0, 0] = 0.5
    message = refusal(saved(tmp_path / "probability.nii", data), read=read_labels)
    assert f"1 of {data.size} voxels are not whole numbers (for example 0.5)" in message
    assert "Threshold" in message


def test_labels_beyond_32_bits(tmp_path):
    values = np.zeros(SHAPE)
    values[0, 0, 0] = 2.0**40
    assert "32 bits" in refusal(saved(tmp_path / "labels.nii", values), read=read_labels)


@pytest.mark.parametrize("name", ["image.png", "image.mhd", "image"])
def test_suffixes_that_cannot_be_written(name, data, tmp_path):
    with pytest.raises(FileFormatError, match=r"\.nii\.gz"):
        write_image(tmp_path / name, Volume(data, oblique_grid(shape=SHAPE)))
    assert not list(tmp_path.iterdir())


def test_no_folder_to_write_to(data, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        write_image(tmp_path / "nowhere" / "image.nii", Volume(data, oblique_grid(shape=SHAPE)))


def test_a_failed_write_leaves_the_old_file(data, tmp_path, monkeypatch):
    path = tmp_path / "labels.mha"
    labels = LabelMap(np.ones(SHAPE, np.int32), oblique_grid(shape=SHAPE))
    write_labels(path, labels)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(InputError, match="disk full"):
        write_labels(path, labels)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.mha"]
