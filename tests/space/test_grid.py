import numpy as np
import pytest
import SimpleITK as sitk
from grids import GRIDS, oblique_grid, oriented_grid, points_around, sheared_grid

from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid
from napari_deformreg.space.orientation import (
    axis_codes,
    lps_to_ras,
    lps_to_ras_affine,
    lps_to_ras_matrix,
    ras_to_lps,
    ras_to_lps_affine,
    ras_to_lps_matrix,
    reorient,
)  # fmt: skip


def itk_image(grid):
    image = sitk.Image(list(grid.shape), sitk.sitkUInt8)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    return image


def test_voxel_to_world_agrees_with_itk(grid, rng):
    image = itk_image(grid)
    voxels = rng.uniform(-3, 20, (50, 3))
    expected = np.array([image.TransformContinuousIndexToPhysicalPoint(v.tolist()) for v in voxels]) * [-1, -1, 1]
    np.testing.assert_allclose(grid.voxel_to_world(voxels), expected, atol=1e-9)
    np.testing.assert_allclose(grid.world_to_voxel(expected), voxels, atol=1e-9)


def test_resized_keeps_the_corner_centers(grid):
    coarse = grid.resized((11, 9, 7))
    assert coarse.shape == (11, 9, 7)
    np.testing.assert_allclose(coarse.corners(), grid.corners(), atol=1e-9)
    np.testing.assert_allclose(coarse.spacing, grid.spacing * (np.array(grid.shape) - 1) / (np.array([11, 9, 7]) - 1))


def test_resized_to_one_voxel_takes_the_middle(grid):
    flat = grid.resized((grid.shape[0], grid.shape[1], 1))
    np.testing.assert_allclose(flat.center, grid.center, atol=1e-9)
    assert flat.is_2d


def test_resized_from_one_voxel_keeps_its_spacing():
    flat = oriented_grid("LPS", shape=(9, 7, 1), spacing=(1, 2, 3))
    finer = flat.resized((17, 13, 1))
    np.testing.assert_allclose(finer.spacing, [0.5, 1, 3])
    np.testing.assert_allclose(finer.corners(), flat.corners())


def test_contains_counts_voxel_bodies(grid):
    inside = grid.voxel_to_world(np.array([[-0.49, 0, 0], [0, 0, grid.shape[2] - 0.51]]))
    outside = grid.voxel_to_world(np.array([[-0.51, 0, 0], [0, grid.shape[1] - 0.49, 0]]))
    assert grid.contains(inside).all()
    assert not grid.contains(outside).any()


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.full((4, 4), np.nan),
        np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ],
    ids=["zero axis", "nan", "parallel axes"],
)
def test_impossible_affines_are_refused(affine):
    with pytest.raises(InputError):
        Grid((3, 3, 3), affine)


def test_orthogonality():
    assert all(g.is_orthogonal for g in GRIDS.values())
    assert not sheared_grid().is_orthogonal


def test_equal_grids_hash_alike():
    assert oblique_grid() == oblique_grid()
    assert hash(oblique_grid()) == hash(oblique_grid())
    assert oriented_grid("RAS") != oriented_grid("LAS")


@pytest.mark.parametrize("name", ["RAS", "LAS", "LPS", "PSR"])
def test_axis_codes(name):
    assert axis_codes(GRIDS[name]) == name


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_reorient_moves_nothing_in_the_world(grid, rng, codes):
    data = rng.standard_normal((*grid.shape, 3))
    turned, turned_grid = reorient(data, grid, codes)
    assert axis_codes(turned_grid) == codes
    voxels = np.stack([rng.integers(0, n, 60) for n in grid.shape], -1)
    there = np.rint(turned_grid.world_to_voxel(grid.voxel_to_world(voxels.astype(float)))).astype(int)
    np.testing.assert_array_equal(turned[tuple(there.T)], data[tuple(voxels.T)])
    back, back_grid = reorient(turned, turned_grid, axis_codes(grid))
    assert back_grid == grid
    np.testing.assert_array_equal(back, data)


def test_lps_and_back(grid, rng):
    points = points_around(grid, rng, 20)
    np.testing.assert_array_equal(lps_to_ras(ras_to_lps(points)), points)
    np.testing.assert_array_equal(ras_to_lps(points), points * [-1, -1, 1])
    assert ras_to_lps(points.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(lps_to_ras_affine(ras_to_lps_affine(grid.affine)), grid.affine)


def test_matrices_between_lps_spaces_carry_the_same_points(rng):
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.2, (3, 4))
    points = rng.normal(0, 50, (10, 3))
    mapped = points @ matrix[:3, :3].T + matrix[:3, 3]
    lps = ras_to_lps_matrix(matrix)
    np.testing.assert_allclose(ras_to_lps(points) @ lps[:3, :3].T + lps[:3, 3], ras_to_lps(mapped), atol=1e-12)
    np.testing.assert_allclose(lps_to_ras_matrix(lps), matrix, atol=1e-15)
