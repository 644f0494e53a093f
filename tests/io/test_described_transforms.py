"""Transforms of other tools: what each file is taken for, against SimpleITK and by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import oblique_grid

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_described_transform, read_described_transforms, write_transform
from napari_deformreg.space import AffineTransform, DisplacementField, Grid

GRID = oblique_grid((7, 6, 5))
RAS = np.random.default_rng(3).normal(0, 2, (*GRID.shape, 3)).astype(np.float32)
LPS = RAS * np.array([-1, -1, 1], dtype=np.float32)
VOXEL = (RAS @ np.linalg.inv(GRID.affine[:3, :3]).T).astype(np.float32)


def _nifti(path: Path, vectors: np.ndarray, intent: int = 0, flat: bool = False) -> Path:
    image = nib.Nifti1Image(vectors if flat else vectors[:, :, :, None], GRID.affine)
    image.header["intent_code"] = intent
    nib.save(image, path)
    return path


def _displacement(path: Path, convention: str = "auto") -> tuple[np.ndarray, str]:
    described = read_described_transform(path, convention)  # type: ignore[arg-type]
    (field,) = described.chain.transforms
    assert isinstance(field, DisplacementField)
    assert len(described.sha256) == 64
    assert described.name == path.name
    return field.displacement_mm, described.convention


@pytest.mark.parametrize(
    ("stored", "intent", "convention", "words"),
    [
        (LPS, 1007, "auto", "LPS mm, by its intent code 1007"), (RAS, 1006, "auto", "RAS mm, by its intent code 1006"),
        (RAS, 1007, "ras", "although intent code 1007 says LPS"), (LPS, 0, "lps", "LPS mm, as told"), (VOXEL, 0, "voxel", "voxels"),
        (VOXEL, 1007, "voxel", "although"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flat", [False, True])
def test_nifti_fields(tmp_path: Path, stored: np.ndarray, intent: int, convention: str, words: str, flat: bool) -> None:
    vectors, said = _displacement(_nifti(tmp_path / "f.nii.gz", stored, intent, flat), convention)
    np.testing.assert_allclose(vectors, RAS, atol=1e-4)
    assert words in said


def test_scaled_nifti_is_scaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.rint(LPS[:, :, :, None] * 1000).astype(np.int16), GRID.affine)
    image.header.set_slope_inter(0.001, 0)
    image.header["intent_code"] = 1007
    nib.save(image, tmp_path / "f.nii")
    np.testing.assert_allclose(_displacement(tmp_path / "f.nii")[0], RAS, atol=1e-3)


def test_a_field_that_does_not_say_must_be_told(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "f.nii.gz", LPS)
    with pytest.raises(InputError, match=r"intent code 0, which does not say .* --convention lps .*ras .*voxel"):
        read_described_transform(path)
    with pytest.raises(FileFormatError, match="shape"):
        read_described_transform(_nifti(tmp_path / "g.nii.gz", LPS[..., :2], 1007))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_images_are_lps_unless_told(tmp_path: Path, suffix: str) -> None:
    """SimpleITK writes and applies the same field."""
    field = DisplacementField(GRID, RAS)
    write_transform(tmp_path / "t.h5", field)
    composite = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / "t.h5")))
    image = sitk.DisplacementFieldTransform(composite.GetNthTransform(0)).GetDisplacementField()
    path = tmp_path / f"f{suffix}"
    sitk.WriteImage(image, str(path))
    vectors, said = _displacement(path)
    np.testing.assert_allclose(vectors, RAS, atol=1e-4)
    assert "LPS" in said
    vectors, said = _displacement(path, "ras")
    np.testing.assert_allclose(vectors, LPS, atol=1e-4)
    assert "although" in said


def test_greedys_matrix_is_ras_and_itks_is_not_mistaken_for_it(tmp_path: Path) -> None:
    matrix = np.array([[1.1, 0.1, 0, 5], [0, 0.9, 0, -3], [0.05, 0, 1, 2], [0, 0, 0, 1]])
    np.savetxt(tmp_path / "greedy.mat", matrix)
    described = read_described_transform(tmp_path / "greedy.mat")
    (affine,) = described.chain.transforms
    assert isinstance(affine, AffineTransform)
    np.testing.assert_allclose(affine.matrix, matrix)
    assert "RAS" in described.convention
    for name in ("itk.mat", "itk.txt", "itk.tfm"):
        write_transform(tmp_path / name, AffineTransform(matrix))
        described = read_described_transform(tmp_path / name)
        np.testing.assert_allclose(described.chain.transforms[0].matrix, matrix, atol=1e-6)  # type: ignore[attr-defined]
        assert "LPS mm by definition" in described.convention


def test_a_list_goes_first_to_last_as_in_ants(tmp_path: Path) -> None:
    """The warp lies on the fixed grid, so that fixed points meet it first; SimpleITK's composite adds it last."""
    rng = np.random.default_rng(0)
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.05, (3, 4))
    warp = _nifti(tmp_path / "warp.nii.gz", LPS, 1007)
    write_transform(tmp_path / "affine.mat", AffineTransform(matrix))
    chain, described = read_described_transforms([warp, tmp_path / "affine.mat"])
    assert [part.name for part in described] == ["warp.nii.gz", "affine.mat"]
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(warp), sitk.sitkVectorFloat64))
    composite = sitk.CompositeTransform([sitk.ReadTransform(str(tmp_path / "affine.mat")), field])
    points = GRID.voxel_to_world(rng.uniform(0.5, 3.5, (5, 3)))
    flip = np.array([-1, -1, 1])
    expected = [np.array(composite.TransformPoint((point * flip).tolist())) * flip for point in points]
    np.testing.assert_allclose(chain.map(points), expected, atol=1e-4)
    back, (inverted,) = read_described_transforms([f"[{tmp_path / 'affine.mat'},1]"])
    np.testing.assert_allclose(back.map(AffineTransform(matrix).map(points)), points, atol=1e-6)
    assert "inverted" in inverted.convention
    with pytest.raises(InputError, match="only an affine"):
        read_described_transforms([f"[{warp},1]"])
    with pytest.raises(InputError, match="at least one"):
        read_described_transforms([])


def test_what_is_no_transform(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("1 0 0\n0 1 0\n")
    (tmp_path / "x.xyz").write_text("")
    for name in ("x.txt", "x.xyz"):
        with pytest.raises(FileFormatError):
            read_described_transform(tmp_path / name)
    with pytest.raises(InputError, match="no file"):
        read_described_transform(tmp_path / "gone.h5")


def test_a_flat_field_of_two_components(tmp_path: Path) -> None:
    """ANTs writes the field of a slice with two components."""
    grid = Grid((6, 5, 1), np.eye(4))
    vectors = np.zeros((*grid.shape, 1, 2), dtype=np.float32)
    vectors[..., 0] = 2
    image = nib.Nifti1Image(vectors, grid.affine)
    image.header["intent_code"] = 1007
    nib.save(image, tmp_path / "f.nii.gz")
    moved = read_described_transform(tmp_path / "f.nii.gz").chain.map(np.array([[2.0, 2.0, 0.0]]))
    np.testing.assert_allclose(moved, [[0.0, 2.0, 0.0]])
