"""Transform files against SimpleITK's own TransformPoint."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import GRIDS, oblique_grid, oriented_grid, points_around, smooth_field

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_transform, write_transform
from napari_deformreg.space import AffineTransform, DisplacementField, TransformChain

TO_LPS = np.array([-1.0, -1.0, 1.0])


def itk_map(transform, points):
    return np.array([transform.TransformPoint((p * TO_LPS).tolist()) for p in points]) * TO_LPS


@pytest.fixture
def affine(rng):
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.15, (3, 3))
    matrix[:3, 3] = rng.normal(0, 30, 3)
    return AffineTransform(matrix)


@pytest.fixture
def chain(grid, rng, affine):
    return TransformChain((smooth_field(grid, rng, 7.0), affine))


@pytest.fixture
def points(grid, rng):
    return points_around(grid, rng, 300, margin_vox=2)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".tfm", ".txt"])
def test_simpleitk_carries_points_as_the_chain_does(suffix, chain, points, tmp_path):
    write_transform(tmp_path / f"chain{suffix}", chain)
    transform = sitk.ReadTransform(str(tmp_path / f"chain{suffix}"))
    assert transform.GetName() == "CompositeTransform"
    np.testing.assert_allclose(itk_map(transform, points), chain.map(points), atol=1e-4)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_chains_are_read_back(suffix, chain, points, tmp_path):
    write_transform(tmp_path / f"chain{suffix}", chain)
    again = read_transform(tmp_path / f"chain{suffix}")
    assert [type(link) for link in again.transforms] == [DisplacementField, AffineTransform]
    np.testing.assert_allclose(again.map(points), chain.map(points), atol=1e-4)
    np.testing.assert_allclose(again.transforms[0].grid.affine, chain.transforms[0].grid.affine, atol=1e-9)


def test_order_of_several_links(rng, affine, tmp_path):
    """moving_to_fixed has the affine first."""
    fields = [smooth_field(GRIDS[name], rng, 5.0) for name in ("LAS", "oblique")]
    chain = TransformChain((affine, TransformChain((fields[0], affine.inverse())), fields[1]))
    write_transform(tmp_path / "chain.h5", chain)
    points = affine.inverse().map(points_around(GRIDS["LAS"], rng, 200))
    np.testing.assert_allclose(itk_map(sitk.ReadTransform(str(tmp_path / "chain.h5")), points), chain.map(points), atol=1e-4)
    np.testing.assert_allclose(read_transform(tmp_path / "chain.h5").map(points), chain.map(points), atol=1e-4)


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt", ".mat"])
def test_one_affine(suffix, affine, rng, tmp_path):
    write_transform(tmp_path / f"affine{suffix}", affine)
    points = rng.normal(0, 100, (20, 3))
    np.testing.assert_allclose(itk_map(sitk.ReadTransform(str(tmp_path / f"affine{suffix}")), points), affine.map(points), atol=1e-9)
    np.testing.assert_allclose(read_transform(tmp_path / f"affine{suffix}").map(points), affine.map(points), atol=1e-9)


def test_a_field_of_one_slice(rng, tmp_path):
    grid = oriented_grid("LPS", shape=(30, 24, 1), spacing=(1, 1.5, 1))
    field = smooth_field(grid, rng, 4.0)
    field = DisplacementField(grid, field.displacement_mm * np.array([1, 1, 0], np.float32))
    write_transform(tmp_path / "flat.h5", field)
    points = points_around(grid, rng, 200, margin_vox=0.4)
    np.testing.assert_allclose(itk_map(sitk.ReadTransform(str(tmp_path / "flat.h5")), points), field.map(points), atol=1e-4)
    np.testing.assert_allclose(read_transform(tmp_path / "flat.h5").map(points), field.map(points), atol=1e-4)


def test_resampling_with_the_file_pulls_with_the_chain(rng, affine, tmp_path):
    grid = oblique_grid()
    chain = TransformChain((smooth_field(grid, rng, 5.0), AffineTransform.identity()))
    write_transform(tmp_path / "chain.h5", chain)
    values = rng.normal(0, 1, grid.shape)
    moving = sitk.GetImageFromArray(values.transpose(2, 1, 0).copy())
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    moving.SetSpacing(grid.spacing.tolist())
    moving.SetOrigin(lps[:3, 3].tolist())
    moving.SetDirection((lps[:3, :3] / grid.spacing).ravel().tolist())
    transform = sitk.ReadTransform(str(tmp_path / "chain.h5"))
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, sitk.sitkNearestNeighbor, -99.0)).transpose(2, 1, 0)
    voxels = grid.world_to_voxel(chain.map(grid.voxel_to_world(grid.voxel_indices())))
    nearest = np.rint(voxels).astype(int)
    clear = (np.abs(voxels - nearest) < 0.49).all(axis=1) & ((nearest >= 0) & (nearest < grid.shape)).all(axis=1)
    assert clear.sum() > 1000
    np.testing.assert_array_equal(moved.ravel()[clear], values[tuple(nearest[clear].T)])


def test_the_stored_field_is_float32_compressed_and_fine(rng, tmp_path):
    grid = oriented_grid("RAS", shape=(64, 60, 48))
    field = smooth_field(grid, rng, 8.0, smoothing_vox=6)
    write_transform(tmp_path / "field.h5", field)
    assert (tmp_path / "field.h5").stat().st_size < 0.8 * field.displacement_mm.nbytes
    read = read_transform(tmp_path / "field.h5").transforms[0]
    assert read.displacement_mm.dtype == np.float32
    np.testing.assert_allclose(read.displacement_mm, field.displacement_mm, atol=2.0**-15)
    with h5py.File(tmp_path / "field.h5") as file:
        stored = file["TransformGroup/1/TransformParameters"]
        assert stored.dtype == np.float32
        # Chunks packed by hand must be what HDF5's own filters would unpack, the last, partly filled one included.
        assert stored.chunks[0] < stored.shape[0]
        assert stored.shape[0] % stored.chunks[0]
        np.testing.assert_array_equal(stored[()].reshape(48, 60, 64, 3)[-1, :, :, 2], read.displacement_mm[:, :, -1, 2].T)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_composites_written_by_simpleitk(suffix, rng, affine, tmp_path):
    image = sitk.GetImageFromArray(rng.normal(0, 3, (7, 8, 9, 3)), isVector=True)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((-5, 6, -7))
    image.SetDirection((0, 1, 0, 0, 0, 1, 1, 0, 0))
    rigid = sitk.Euler3DTransform((1, 2, 3), 0.2, -0.1, 0.3, (4, 5, 6))
    centered = sitk.AffineTransform(3)
    centered.SetCenter((10, -20, 30))
    centered.SetMatrix((affine.matrix[:3, :3]).ravel().tolist())
    centered.SetTranslation((1, 2, 3))
    composite = sitk.CompositeTransform([rigid, centered, sitk.DisplacementFieldTransform(image), sitk.TranslationTransform(3, (1, 0, -1))])
    sitk.WriteTransform(composite, str(tmp_path / f"chain{suffix}"))
    chain = read_transform(tmp_path / f"chain{suffix}")
    points = rng.uniform(-20, 40, (200, 3))
    np.testing.assert_allclose(chain.map(points), itk_map(composite, points), atol=1e-5)


def test_a_centered_affine_of_its_own(rng, tmp_path):
    affine = sitk.AffineTransform((1.1, 0.1, 0, 0, 0.9, 0.2, 0.1, 0, 1), (3, 4, 5), (10, 20, 30))
    sitk.WriteTransform(affine, str(tmp_path / "affine.h5"))
    points = rng.normal(0, 50, (20, 3))
    np.testing.assert_allclose(read_transform(tmp_path / "affine.h5").map(points), itk_map(affine, points), atol=1e-9)


def test_flat_transforms_are_lifted(rng, tmp_path):
    flat = sitk.Euler2DTransform((1, 2), 0.3, (4, -5))
    sitk.WriteTransform(flat, str(tmp_path / "flat.tfm"))
    points = rng.normal(0, 20, (10, 3))
    expected = np.array([flat.TransformPoint((-p[0], -p[1])) for p in points])
    mapped = read_transform(tmp_path / "flat.tfm").map(points)
    np.testing.assert_allclose(mapped, np.column_stack([-expected, points[:, 2]]), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_displacement_images_written_by_simpleitk(suffix, grid, rng, tmp_path):
    field = smooth_field(grid, rng, 6.0)
    image = sitk.GetImageFromArray((field.displacement_mm.astype(np.float64) * TO_LPS).transpose(2, 1, 0, 3).copy(), isVector=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"field{suffix}"))
    points = points_around(grid, rng, 200)
    np.testing.assert_allclose(read_transform(tmp_path / f"field{suffix}").map(points), field.map(points), atol=1e-3)


@pytest.mark.parametrize(("intent", "signs"), [(1007, TO_LPS), (1006, np.ones(3))])
def test_the_intent_code_decides_what_nifti_vectors_mean(intent, signs, rng, tmp_path):
    """Under both codes SimpleITK, which knows the difference, must carry points to the same places."""
    field = smooth_field(GRIDS["PSR"], rng, 6.0)
    image = nib.Nifti1Image((field.displacement_mm * signs).astype(np.float32)[:, :, :, None, :], field.grid.affine)
    image.header.set_intent(intent)
    image.to_filename(tmp_path / "field.nii.gz")
    points = points_around(field.grid, rng, 200)
    np.testing.assert_allclose(read_transform(tmp_path / "field.nii.gz").map(points), field.map(points), atol=1e-5)
    itk = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64))
    np.testing.assert_allclose(itk_map(itk, points), field.map(points), atol=1e-4)


def test_a_field_of_unknown_meaning_is_refused(rng, tmp_path):
    image = nib.Nifti1Image(np.zeros((5, 4, 3, 1, 3), np.float32), np.eye(4))
    image.to_filename(tmp_path / "field.nii")
    with pytest.raises(InputError, match=r"intent code 0.*1007.*1006"):
        read_transform(tmp_path / "field.nii")


def test_a_scalar_image_is_no_field(rng, tmp_path):
    nib.Nifti1Image(np.zeros((5, 4, 3), np.float32), np.eye(4)).to_filename(tmp_path / "image.nii")
    with pytest.raises(FileFormatError, match=r"\(i, j, k, 1, 3\)"):
        read_transform(tmp_path / "image.nii")
    sitk.WriteImage(sitk.Image([5, 4, 3], sitk.sitkFloat32), str(tmp_path / "image.mha"))
    with pytest.raises(FileFormatError, match="1 components a voxel in 3 dimensions"):
        read_transform(tmp_path / "image.mha")


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt", ".mat"])
@pytest.mark.parametrize("content", [b"", b"no transform\n" * 20], ids=["nothing", "text"])
def test_not_a_transform(suffix, content, tmp_path, capfd):
    path = tmp_path / f"chain{suffix}"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not an ITK transform"):
        read_transform(path)
    capfd.readouterr()


def test_truncated_hdf5(rng, tmp_path):
    path = tmp_path / "chain.h5"
    write_transform(path, smooth_field(GRIDS["RAS"], rng, 3.0))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FileFormatError, match="truncated"):
        read_transform(path)


def test_some_other_hdf5(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["numbers"] = np.arange(5)
    with pytest.raises(FileFormatError, match="no TransformGroup"):
        read_transform(tmp_path / "data.h5")


def test_a_bspline_is_named(tmp_path):
    sitk.WriteTransform(sitk.BSplineTransform(3), str(tmp_path / "spline.h5"))
    with pytest.raises(InputError, match="BSplineTransform"):
        read_transform(tmp_path / "spline.h5")


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_sheared_grids_do_not_fit(suffix, sheared, rng, tmp_path):
    with pytest.raises(InputError, match="sheared"):
        write_transform(tmp_path / f"chain{suffix}", smooth_field(sheared, rng, 3.0))
    assert not list(tmp_path.iterdir())


def test_only_known_links_are_written(tmp_path):
    class Elsewhere:
        def map(self, points):
            return points

    with pytest.raises(InputError, match="Elsewhere"):
        write_transform(tmp_path / "chain.h5", TransformChain((Elsewhere(),)))


def test_a_chain_does_not_fit_a_mat_file(affine, tmp_path):
    chain = TransformChain((affine, affine))
    with pytest.raises(InputError, match=r"\.h5"):
        write_transform(tmp_path / "chain.mat", chain)
    assert not list(tmp_path.iterdir())


def test_unknown_suffix(affine, tmp_path):
    with pytest.raises(FileFormatError, match=r"\.h5"):
        write_transform(tmp_path / "affine.lta", affine)


def test_nitransforms_agrees(grid, rng, tmp_path):
    """An outside reader of ITK's HDF5 layout and of its affines."""
    from nitransforms.io.itk import ITKCompositeH5, ITKLinearTransform

    field = smooth_field(grid, rng, 6.0)
    write_transform(tmp_path / "field.h5", field)
    image = ITKCompositeH5.from_filename(tmp_path / "field.h5")[0]
    np.testing.assert_allclose(image.affine, grid.affine, atol=1e-4)
    np.testing.assert_allclose(np.squeeze(image.dataobj), field.displacement_mm, atol=1e-4)
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.1, (3, 4))
    write_transform(tmp_path / "affine.tfm", AffineTransform(matrix))
    read = ITKLinearTransform.from_filename(tmp_path / "affine.tfm").to_ras()
    np.testing.assert_allclose(np.squeeze(read), matrix, atol=1e-6)
