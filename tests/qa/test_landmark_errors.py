"""Landmark errors and inverse consistency with known motion."""

from __future__ import annotations

import numpy as np
import pytest
from grids import oblique_grid, smooth_field
from qa_cases import Pair, make_result

from napari_deformreg.qa import landmark_errors
from napari_deformreg.qa.consistency import inverse_consistency
from napari_deformreg.result import Provenance
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, Grid, LandmarkPairs


def test_a_known_shift_is_gone_after(pair: Pair) -> None:
    errors = landmark_errors(pair.result, LandmarkPairs.match(pair.fixed_landmarks, pair.moving_landmarks))
    np.testing.assert_allclose(errors.before_mm, 2 * pair.fixed.grid.spacing[0])
    np.testing.assert_allclose(errors.after_mm, 0, atol=1e-5)
    np.testing.assert_allclose(errors.moving_in_fixed_points, pair.fixed_landmarks.points, atol=1e-3)
    assert errors.inverse_residual_mm.max() < 1e-3
    assert not errors.outside_field.any()
    assert not errors.drove.any()


def test_direction_is_fixed_through_the_transform(rng: np.random.Generator) -> None:
    """With an affine and a deformation, the error is |A (x + u(x)) - y|, and the parts keep their signs."""
    grid = oblique_grid()
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.05, (3, 3))
    matrix[:3, 3] = (5, -3, 2)
    result = make_result(grid, smooth_field(grid, rng, 3.0).displacement_mm, affine=AffineTransform(matrix))
    x = grid.voxel_to_world(np.array([[5.0, 6, 7], [10, 9, 4]]))
    offset = np.array([[1.0, 0, 0], [0, -2.0, 1.0]])
    y = AffineTransform(matrix).map(x + result.displacement.displacement_mm[[5, 10], [6, 9], [7, 4]]) - offset
    errors = landmark_errors(result, LandmarkPairs(("p", "q"), x, y))
    np.testing.assert_allclose(errors.after_axes_mm, offset, atol=1e-4)
    np.testing.assert_allclose(errors.after_mm, [1, np.sqrt(5)], atol=1e-4)
    np.testing.assert_allclose(errors.before_mm, np.linalg.norm(x - y, axis=1))
    np.testing.assert_allclose(result.fixed_to_moving.map(errors.moving_in_fixed_points), y, atol=1e-3)


def test_points_off_the_field_are_flagged() -> None:
    grid = oblique_grid()
    result = make_result(grid, np.zeros((*grid.shape, 3)))
    inside, outside = grid.voxel_to_world(np.array([[3.0, 3, 3], [-4.0, 3, 3]]))
    errors = landmark_errors(result, LandmarkPairs(("in", "out"), np.array([inside, outside]), np.array([inside, inside])))
    assert errors.outside_field.tolist() == [False, True]
    rows = errors.rows()
    assert [row["outside_field"] for row in rows] == [False, True]
    assert rows[1]["tre_after_mm"] == pytest.approx(7 * grid.spacing[0])


def test_landmarks_with_a_weight_drove() -> None:
    grid = oblique_grid()
    result = make_result(grid, np.zeros((*grid.shape, 3)), settings=Settings().changed(refine={"landmark_weight": 1.0}))
    errors = landmark_errors(result, LandmarkPairs(("p",), grid.corners()[:1], grid.corners()[:1]))
    assert errors.drove.all()
    assert errors.rows()[0]["drove_registration"] is True


def test_only_noted_landmarks_drove_whatever_they_are_called() -> None:
    """Held-out landmarks judge a registration that others drove, although the settings give landmarks a weight."""
    grid = oblique_grid()
    drove, held_out = grid.corners()[:2]
    noted = Provenance("9.9", "cpu", {}, driving_points_mm=(tuple(drove.tolist()),))
    settings = Settings().changed(refine={"landmark_weight": 1.0})
    result = make_result(grid, np.zeros((*grid.shape, 3)), settings=settings, provenance=noted)
    errors = landmark_errors(result, LandmarkPairs(("1", "2"), np.array([held_out, drove + 0.001]), np.array([held_out, drove])))
    assert errors.drove.tolist() == [False, True]


def test_consistency_of_exact_and_of_wrong_inverses() -> None:
    grid = oblique_grid((20, 20, 20))
    shift = np.broadcast_to([2.0, 0, 0], (*grid.shape, 3))
    mask = np.zeros(grid.shape, bool)
    mask[5:15, 5:15, 5:15] = True
    matrix = np.diag([1.1, 0.9, 1.0, 1.0])
    exact = make_result(grid, shift, -shift, affine=AffineTransform(matrix))
    np.testing.assert_allclose(inverse_consistency(exact, mask, grid).error_mm, 0, atol=1e-5)
    wrong = make_result(grid, shift, -shift + [0, 0.5, 0], affine=AffineTransform(matrix))
    found = inverse_consistency(wrong, mask, grid)
    np.testing.assert_allclose(found.error_mm, 0.5, atol=1e-5)
    assert found.points == 1000


def test_the_map_equals_a_walk_through_the_transforms(rng: np.random.Generator) -> None:
    """Every voxel goes there and back through the public transforms; the map says the same, NaN where it leaves the grid."""
    grid = oblique_grid((14, 12, 9))
    there, back = smooth_field(grid, rng, 6.0).displacement_mm, smooth_field(grid, rng, 6.0).displacement_mm
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.05, (3, 3))
    result = make_result(grid, there, back, affine=AffineTransform(matrix))
    found = inverse_consistency(result, np.ones(grid.shape, bool), grid)
    centers = grid.voxel_to_world(grid.voxel_indices())
    in_moving = result.fixed_to_moving.map(centers)
    stays = grid.contains(result.displacement.map(centers))
    error = np.linalg.norm(result.moving_to_fixed.map(in_moving) - centers, axis=1)
    np.testing.assert_array_equal(~np.isnan(found.map_mm.ravel()), stays)
    np.testing.assert_allclose(found.map_mm.ravel()[stays], error[stays], atol=1e-4)
    assert 0 < (~stays).sum() < stays.sum()
    assert found.outside_moving_percent == pytest.approx(100 * (~grid.contains(in_moving)).mean())


def test_share_outside_the_moving_image() -> None:
    """Half of the grid is carried off a moving image that ends there."""
    affine = np.eye(4)
    grid = Grid((20, 4, 4), affine)
    shift = np.broadcast_to([10.0, 0, 0], (*grid.shape, 3))
    found = inverse_consistency(make_result(grid, shift), np.ones(grid.shape, bool), grid)
    assert found.outside_moving_percent == pytest.approx(50)
    assert found.outside_moving_before_percent == 0
    assert len(found.error_mm) == 10 * 16
