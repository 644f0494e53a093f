"""A registration from landmark pairs alone is what the pairs say, has an inverse and no folds."""

import numpy as np
import pytest

from napari_deformreg.engine import register_points
from napari_deformreg.space import Grid, LandmarkPairs
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox
from napari_deformreg.space.point_fits import fit_pairs

GRID = Grid((40, 36, 30), np.array([[0, 1.5, 0, 5], [-1.2, 0, 0, 40], [0, 0, 2.0, -3], [0, 0, 0, 1.0]]))


def pairs(n=10, noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    fixed = GRID.voxel_to_world(rng.uniform([4, 4, 4], [35, 31, 25], (n, 3)))
    moving = fixed @ np.array([[1.0, 0.1, 0], [-0.1, 1.05, 0], [0, 0, 0.95]]).T + [30.0, 5, -9] + noise * rng.normal(size=(n, 3))
    return LandmarkPairs(tuple(f"p{i}" for i in range(n)), fixed, moving)


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine", "thin_plate"])
def test_the_result_is_the_fit(kind):
    given = pairs()
    result = register_points(GRID, given, kind)
    expected = fit_pairs(given, kind).map(given.fixed_points)
    np.testing.assert_allclose(result.fixed_to_moving.map(given.fixed_points), expected, atol=0.15)
    back = result.moving_points_in_fixed(expected)
    np.testing.assert_allclose(back.points, given.fixed_points, atol=0.15)
    assert len(result.provenance.driving_points_mm) == 10
    assert "10 landmark pairs alone" in result.provenance.notices[0]


def test_a_spline_that_folds_is_repaired():
    given = pairs(8, noise=0.0)
    moving = given.moving_points.copy()
    moving[[0, 1]] = moving[[1, 0]]  # exchanged partners
    result = register_points(GRID, LandmarkPairs(given.names, given.fixed_points, moving), "thin_plate")
    assert not digital_fold_mask(displacement_mm_to_vox(result.displacement.displacement_mm, GRID)).any()
    assert "folded voxels were repaired" in result.provenance.notices[1]


def test_a_pair_of_weight_zero_does_not_drive():
    result = register_points(GRID, pairs(), "affine", weights=np.array([0.0] + [1.0] * 9))
    assert len(result.provenance.driving_points_mm) == 9
