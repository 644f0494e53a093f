"""Round trips of images against nibabel and SimpleITK."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import GRIDS, oblique_grid, oriented_grid

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import READERS, WRITERS, read_image, read_label_names, read_labels, write_image, write_labels
from napari_deformreg.space import Grid, LabelMap, Volume

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(data, grid):
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    affine = TO_LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    return image


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_what_is_written_is_read_back(suffix, volume, tmp_path):
    path = tmp_path / f"image{suffix}"
    write_image(path, volume)
    again = read_image(path)
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.grid.affine, volume.grid.affine, atol=1e-4)
    assert again.name == "image"
    assert again.notices == ()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_simpleitk_sees_what_is_written(suffix, volume, tmp_path):
    path = tmp_path / f"image{suffix}"
    write_image(path, volume)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.data)
    corner = image.TransformIndexToPhysicalPoint([n - 1 for n in volume.grid.shape])
    np.testing.assert_allclose(np.array(corner) * [-1, -1, 1], volume.grid.corners()[-1], atol=1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_nibabel_sees_what_is_written(suffix, volume, tmp_path):
    path = tmp_path / f"image{suffix}"
    write_image(path, volume)
    image = nib.load(path, mmap=False)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.data)
    np.testing.assert_allclose(image.affine, volume.grid.affine, atol=1e-3)


def test_nifti_says_where_it_lies_twice_and_in_mm(volume, tmp_path):
    path = tmp_path / "image.nii.gz"
    write_image(path, volume)
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-3)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_images_written_by_simpleitk(suffix, compressed, grid, rng, tmp_path):
    data = rng.normal(100, 30, grid.shape).astype(np.float32)
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(itk_image(data, grid), str(path), useCompression=compressed)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.grid.affine, grid.affine, atol=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair, nib.Nifti2Pair, nib.MGHImage])
def test_images_written_by_nibabel(kind, grid, rng, tmp_path):
    data = rng.normal(100, 30, grid.shape).astype(np.float32)
    path = tmp_path / {"Nifti1Image": "image.nii", "Nifti2Image": "image.nii", "MGHImage": "image.mgz"}.get(kind.__name__, "image.hdr")
    kind(data, grid.affine).to_filename(path)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.grid.affine, grid.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["pair.img", "pair.hdr", "pair.img.gz", "pair.hdr.gz"])
def test_either_half_of_a_pair_opens_it(name, volume, tmp_path):
    nib.Nifti1Pair(volume.data, volume.grid.affine).to_filename(tmp_path / ("pair.img.gz" if name.endswith("gz") else "pair.img"))
    np.testing.assert_array_equal(read_image(tmp_path / name).data, volume.data)


INTEGERS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32]


@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_types_in_both_byte_orders(dtype, order, rng, tmp_path):
    data = rng.integers(0, 120, (7, 6, 5)).astype(np.dtype(dtype).newbyteorder(order))
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(dtype)
    nib.Nifti1Image(data, oblique_grid().affine, header).to_filename(tmp_path / "image.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "image.nii").data, data.astype(np.float32))
    np.testing.assert_array_equal(read_labels(tmp_path / "image.nii").data, data.astype(np.int32))


@pytest.mark.parametrize("dtype", [*INTEGERS, np.int64, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_types(dtype, suffix, rng, tmp_path):
    data = rng.integers(0, 120, (7, 6, 5)).astype(dtype)
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(itk_image(data, oblique_grid()), str(path))
    np.testing.assert_array_equal(read_image(path).data, data.astype(np.float32))
    np.testing.assert_array_equal(read_labels(path).data, data.astype(np.int32))


def test_mha_in_the_other_byte_order(rng, tmp_path):
    data = rng.integers(-300, 300, (5, 4, 3)).astype(">i2")
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = True", "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = -1 -2 3", "ElementSpacing = 1 2 3", "DimSize = 5 4 3", "ElementType = MET_SHORT", "ElementDataFile = LOCAL\n",
    ]  # fmt: skip
    (tmp_path / "image.mha").write_bytes("\n".join(lines).encode() + data.tobytes(order="F"))
    volume = read_image(tmp_path / "image.mha")
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_array_equal(volume.grid.affine, [[-1, 0, 0, 1], [0, -2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("space", "signs"), [("right-anterior-superior", (1, 1)), ("left-posterior-superior", (-1, -1)), ("left-anterior-superior", (-1, 1))]
)
def test_the_space_of_a_nrrd_header(space, signs, rng, tmp_path):
    data = rng.integers(0, 999, (5, 4, 3)).astype("<i2")
    lines = [
        "NRRD0004", "type: short", "dimension: 3", f"space: {space}", "sizes: 5 4 3", "space directions: (1,0,0) (0,0,2) (0,-3,0)",
        "kinds: domain domain domain", "endian: little", "encoding: raw", "space origin: (10,20,30)", "", "",
    ]  # fmt: skip
    (tmp_path / "image.nrrd").write_bytes("\n".join(lines).encode() + data.tobytes(order="F"))
    volume = read_image(tmp_path / "image.nrrd")
    np.testing.assert_array_equal(volume.data, data)
    x, y = signs
    np.testing.assert_allclose(volume.grid.affine, [[x, 0, 0, 10 * x], [0, 0, -3 * y, 20 * y], [0, 2, 0, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("slope_intercept", [(0.37, -1024.0), (2.0, 0.0), (1.0, 5.0), (-1.5, 3.0)])
def test_scaling_is_applied_as_nibabel_does(slope_intercept, rng, tmp_path):
    data = rng.integers(-500, 500, (6, 5, 4)).astype(np.int16)
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_slope_inter(*slope_intercept)
    blob = bytearray(image.to_bytes())
    blob[112:120] = np.array(slope_intercept, "<f4").tobytes()  # nibabel would rescale the numbers instead
    (tmp_path / "image.nii").write_bytes(blob)
    expected = nib.load(tmp_path / "image.nii").get_fdata()
    assert not np.array_equal(expected, data)
    np.testing.assert_allclose(read_image(tmp_path / "image.nii").data, expected, rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, np.nan], ids=["zero", "nan"])
def test_a_slope_without_meaning_is_ignored(slope, rng, tmp_path):
    data = rng.integers(-500, 500, (6, 5, 4)).astype(np.int16)
    blob = bytearray(nib.Nifti1Image(data, np.eye(4)).to_bytes())
    blob[112:116] = np.array(slope, "<f4").tobytes()
    (tmp_path / "image.nii").write_bytes(blob)
    np.testing.assert_array_equal(read_image(tmp_path / "image.nii").data, data)


def two_forms(sform_code, qform_code, tmp_path):
    sform, qform = GRIDS["PSR"].affine, GRIDS["LAS"].affine
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.eye(4))
    image.set_sform(sform, sform_code)
    image.set_qform(qform, qform_code)
    image.to_filename(tmp_path / "image.nii")
    return read_image(tmp_path / "image.nii"), sform, qform


def test_sform_goes_before_qform_with_a_notice(tmp_path):
    volume, sform, _ = two_forms(2, 1, tmp_path)
    np.testing.assert_allclose(volume.grid.affine, sform)
    assert "sform and qform differ" in volume.notices[0]


def test_qform_is_used_where_there_is_no_sform(tmp_path):
    volume, _, qform = two_forms(0, 1, tmp_path)
    np.testing.assert_allclose(volume.grid.affine, qform, atol=1e-5)
    assert volume.notices == ()


def test_no_form_at_all_gives_a_notice(tmp_path):
    volume, _, _ = two_forms(0, 0, tmp_path)
    np.testing.assert_allclose(volume.grid.affine, nib.load(tmp_path / "image.nii").affine)
    assert "neither sform nor qform" in volume.notices[0]


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)])
def test_units_become_mm_as_in_itk(unit, factor, tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([2 / factor, 3 / factor, 4 / factor, 1]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "image.nii")
    volume = read_image(tmp_path / "image.nii")
    np.testing.assert_allclose(volume.grid.spacing, [2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(volume.grid.spacing, sitk.ReadImage(str(tmp_path / "image.nii")).GetSpacing(), rtol=1e-5)
    assert (unit == "mm") == (volume.notices == ())


def test_gzip_is_told_by_content_not_by_name(volume, tmp_path):
    write_image(tmp_path / "image.nii", volume)
    packed = tmp_path / "packed.nii"
    packed.write_bytes(gzip.compress((tmp_path / "image.nii").read_bytes()))
    np.testing.assert_array_equal(read_image(packed).data, volume.data)


def test_suffixes_in_capitals(volume, tmp_path):
    write_image(tmp_path / "IMAGE.NII.GZ", volume)
    assert read_image(tmp_path / "IMAGE.NII.GZ").name == "IMAGE"
    assert (tmp_path / "IMAGE.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"


def test_one_of_several_volumes(rng, tmp_path):
    data = rng.normal(0, 1, (6, 5, 4, 3)).astype(np.float32)
    grid = oblique_grid(shape=(6, 5, 4))
    nib.Nifti1Image(data, grid.affine).to_filename(tmp_path / "series.nii.gz")
    volume = read_image(tmp_path / "series.nii.gz", volume=2)
    np.testing.assert_array_equal(volume.data, data[..., 2])
    np.testing.assert_allclose(volume.grid.affine, grid.affine, atol=1e-4)


def test_one_of_several_volumes_of_a_metaimage(rng, tmp_path):
    parts = [itk_image(rng.normal(0, 1, (6, 5, 4)).astype(np.float32), GRIDS["LPS"]) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(parts), str(tmp_path / "series.mha"))
    volume = read_image(tmp_path / "series.mha", volume=1)
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(parts[1]).transpose(2, 1, 0))
    np.testing.assert_allclose(volume.grid.affine, GRIDS["LPS"].affine)


def test_a_fourth_axis_of_one_is_no_series(rng, tmp_path):
    data = rng.normal(0, 1, (6, 5, 4, 1)).astype(np.float32)
    nib.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "image.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "image.nii").data, data[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_pictures_lie_as_in_simpleitk(suffix, rng, tmp_path):
    pixels = rng.integers(0, 255, (9, 13)).astype(np.uint8)
    path = tmp_path / f"picture{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    volume = read_image(path)
    image = sitk.ReadImage(str(path))
    assert volume.grid.shape == (13, 9, 1)
    assert volume.grid.is_2d
    np.testing.assert_array_equal(volume.data[:, :, 0], sitk.GetArrayFromImage(image).T)
    corner = image.TransformIndexToPhysicalPoint((12, 8))
    np.testing.assert_allclose(volume.grid.corners()[-1], [-corner[0], -corner[1], 0])


def test_a_picture_without_resolution_is_taken_at_1_mm_and_says_so(rng, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (9, 13)).astype(np.uint8)), str(tmp_path / "picture.png"))
    volume = read_image(tmp_path / "picture.png")
    np.testing.assert_array_equal(volume.grid.spacing, [1, 1, 1])
    assert "1 mm" in volume.notices[0]


def test_the_resolution_of_a_picture_is_used_and_named(rng, tmp_path):
    image = sitk.GetImageFromArray(rng.integers(0, 255, (9, 13)).astype(np.uint8))
    image.SetSpacing((0.254, 0.254))
    sitk.WriteImage(image, str(tmp_path / "picture.tif"))
    volume = read_image(tmp_path / "picture.tif")
    np.testing.assert_allclose(volume.grid.spacing[:2], 0.254, rtol=1e-5)
    assert "0.254" in volume.notices[0]


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_flat_itk_images_become_one_slice(suffix, rng, tmp_path):
    image = sitk.GetImageFromArray(rng.normal(0, 1, (9, 13)).astype(np.float32))
    image.SetSpacing((0.5, 0.7))
    image.SetOrigin((4, -5))
    image.SetDirection((0, 1, 1, 0))
    path = tmp_path / f"slice{suffix}"
    sitk.WriteImage(image, str(path))
    volume = read_image(path)
    point = image.TransformIndexToPhysicalPoint((12, 8))
    np.testing.assert_allclose(volume.grid.corners()[-1], [-point[0], -point[1], 0], atol=1e-9)
    np.testing.assert_array_equal(volume.data[:, :, 0], sitk.GetArrayFromImage(image).T)


def test_a_flat_nifti_image_becomes_one_slice(rng, tmp_path):
    pixels = rng.normal(0, 1, (9, 13)).astype(np.float32)
    image = nib.Nifti1Image(pixels, np.diag([-2.0, -3.0, 1.0, 1.0]))
    blob = bytearray(image.to_bytes())
    assert blob[40:42] == b"\x02\x00"  # dim[0]: two dimensions
    blob[320:324] = bytes(4)  # the third axis in the z row of the sform: left out, as some writers do
    (tmp_path / "slice.nii").write_bytes(blob)
    volume = read_image(tmp_path / "slice.nii")
    np.testing.assert_array_equal(volume.data[:, :, 0], pixels)
    np.testing.assert_allclose(volume.grid.spacing, [2, 3, 1])


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_label_maps_are_read_back(suffix, grid, rng, tmp_path):
    labels = LabelMap(rng.integers(0, 2036, grid.shape), grid)
    path = tmp_path / f"labels{suffix}"
    write_labels(path, labels)
    again = read_labels(path)
    np.testing.assert_array_equal(again.data, labels.data)
    np.testing.assert_allclose(again.grid.affine, grid.affine, atol=1e-4)


@pytest.mark.parametrize(("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.int16), (40000, np.int32)])
def test_labels_take_the_smallest_type(largest, dtype, tmp_path):
    data = np.zeros((4, 4, 4), np.int32)
    data[1, 2, 3] = largest
    write_labels(tmp_path / "labels.nii", LabelMap(data, GRIDS["RAS"].resized((4, 4, 4))))
    assert nib.load(tmp_path / "labels.nii").get_data_dtype() == dtype


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    nib.Nifti1Image(np.arange(24, dtype=np.float64).reshape(4, 3, 2), np.eye(4)).to_filename(tmp_path / "labels.nii")
    assert read_labels(tmp_path / "labels.nii").labels == tuple(range(1, 24))


def test_an_empty_label_map_is_read(tmp_path):
    """A fold map without folds is the good outcome."""
    nib.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.eye(4)).to_filename(tmp_path / "folds.nii")
    assert read_labels(tmp_path / "folds.nii").labels == ()


def test_names_of_slicer_segments(tmp_path):
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3)
    for number, name in ((1, "left lung"), (2, "right lung")):
        image.SetMetaData(f"Segment{number - 1}_LabelValue", str(number))
        image.SetMetaData(f"Segment{number - 1}_Name", name)
    sitk.WriteImage(image, str(tmp_path / "lungs.seg.nrrd"))
    assert read_labels(tmp_path / "lungs.seg.nrrd").label_names == {1: "left lung", 2: "right lung"}


def test_names_beside_the_labels(tmp_path):
    nib.Nifti1Image(np.arange(24, dtype=np.uint8).reshape(4, 3, 2) % 3, np.eye(4)).to_filename(tmp_path / "seg.nii.gz")
    (tmp_path / "seg.tsv").write_text("index\tname\n1\tcaudate\n2\tputamen\n")
    assert read_labels(tmp_path / "seg.nii.gz").label_names == {1: "caudate", 2: "putamen"}


FREESURFER = """# a color table
#No. Label Name:                            R   G   B   A

0   Unknown                                 0   0   0   0
17  Left-Hippocampus                        220 216 20  0
1002 ctx-lh-area 25                         1 2 3 0
"""
SLICER = "# Color table file colors.ctbl\n# 3 values\n0 Background 0 0 0 0\n17 Left_Hippocampus 220 216 20 255\n1002 ctx 1 2 3 255\n"
ITK_SNAP = """################
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
    0     0    0    0        0  0  0    "Clear Label"
   17   220  216   20      0.5  1  1    "Left Hippocampus"
 1002     1    2    3        1  1  0    "ctx 4 5"
"""
SLICER_CSV = 'LabelValue,Name,Color_R,Color_G,Color_B\n17,"Left hippocampus, whole",220,216,20\n1002,ctx,1,2,3\n'


@pytest.mark.parametrize(
    ("name", "text", "first", "second"),
    [
        ("lut.txt", FREESURFER, "Left-Hippocampus", "ctx-lh-area 25"),
        ("colors.ctbl", SLICER, "Left Hippocampus", "ctx"),
        ("labels.label", ITK_SNAP, "Left Hippocampus", "ctx 4 5"),
        ("slicer.csv", SLICER_CSV, "Left hippocampus, whole", "ctx"),
        ("bids.tsv", "name\tindex\tcolor\nleft hippocampus\t17\t#fff\nctx\t1002\t#000\n", "left hippocampus", "ctx"),
        ("plain.csv", "\ufeff17,left hippocampus\r\n1002,ctx\r\n", "left hippocampus", "ctx"),
        ("german.csv", "index;name\n17;Hippocampus, links\n1002;ctx\n", "Hippocampus, links", "ctx"),
    ],
)  # fmt: skip
def test_names_of_labels_in_every_table(tmp_path, name, text, first, second):
    (tmp_path / name).write_bytes(text.encode())
    assert read_label_names(tmp_path / name) == {17: first, 1002: second}


def test_names_of_labels_of_another_segmentation(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8))
    image.SetMetaData("Segment0_LabelValue", "17")
    image.SetMetaData("Segment0_Name", "left lung")
    sitk.WriteImage(image, str(tmp_path / "other.seg.nrrd"))
    assert read_label_names(tmp_path / "other.seg.nrrd") == {17: "left lung"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"17 Left 220 216 20 0\nnot a row\n", r"a.txt, line 2 is not like the lines before it.*Expected FreeSurfer"),
        ("a.csv", b"index,name\n17\n", r"a.csv, line 2 names no structure"),
        ("a.csv", b"from,to\n17,18\n", r"a.csv, line 2 names no structure"),
        ("a.csv", b"17,one\n17,two\n", r"line 2 names structure 17 'two'; it was 'one' before"),
        ("a.tsv", b"# nothing\n", r"names no structure. Expected"),
        ("a.txt", b"\xff\xfe\x00\x80", r"it is not text"),
        ("a.nrrd", b"NRRD", r"cannot be read as NRRD"),
    ],
)
def test_tables_that_name_nothing(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_label_names(tmp_path / name)


def test_a_constant_image_may_be_asked_for(tmp_path):
    write_image(tmp_path / "ones.nii", Volume(np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), np.eye(4))))
    assert read_image(tmp_path / "ones.nii", allow_constant=True).data.max() == 1


def test_data_are_contiguous_float32(tmp_path, volume):
    write_image(tmp_path / "image.nii", volume)
    data = read_image(tmp_path / "image.nii").data
    assert data.dtype == np.float32
    assert data.flags.c_contiguous


def test_a_sheared_grid_fits_nifti_only(sheared, rng, tmp_path):
    volume = Volume(rng.normal(0, 1, sheared.shape).astype(np.float32), sheared)
    write_image(tmp_path / "sheared.nii", volume)
    np.testing.assert_allclose(nib.load(tmp_path / "sheared.nii").affine, sheared.affine, atol=1e-4)
    for suffix in (".mha", ".nrrd", ".mgz"):
        with pytest.raises(InputError, match="sheared"):
            write_image(tmp_path / f"sheared{suffix}", volume)


def test_every_writer_has_a_reader():
    assert set(WRITERS) <= set(READERS)
    assert oriented_grid("RAS").shape
