"""The suggested partner lands on the true one and knows when it does not; pairs that disagree are found."""

import numpy as np
import pytest
from correction_cases import bump, cube, pair_with_bump, result_of, texture

from napari_deformreg.engine.correction import CorrectionSession
from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid, LandmarkPairs, Volume


@pytest.fixture(scope="module")
def session():
    grid = Grid((48, 48, 30), np.array([[0, 1.2, 0, 5], [-1.0, 0, 0, 40], [0, 0, 1.6, -3], [0, 0, 0, 1.0]]))
    return CorrectionSession(*pair_with_bump(grid), result_of(grid))


def test_the_partner_is_found_within_a_voxel(session):
    grid = session.fixed_grid
    points = grid.center + np.random.default_rng(3).uniform(-7, 7, (8, 3))
    found = [session.suggest(point, 12.0) for point in points]
    miss = np.linalg.norm([one.point for one in found] - (points + bump(points, grid.center)), axis=1)
    assert np.linalg.norm(bump(points, grid.center), axis=1).mean() > 2.0
    assert miss.mean() < 0.9
    assert miss.max() < 1.6  # mm, the largest voxel size; the patches around see the motion's mean, not its peak
    assert min(one.confidence for one in found) > 0.1
    assert [one.moved_mm for one in found] == pytest.approx(list(np.linalg.norm(bump(points, grid.center), axis=1)), abs=1.6)


def test_nothing_to_see_is_not_trusted(session):
    grid = session.fixed_grid
    noise = Volume(np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid, "noise")
    fixed, _ = pair_with_bump(grid)
    along = np.array([1.0, 0.0, 0.0])
    blind = CorrectionSession(fixed, noise, result_of(grid))
    sure = np.median([session.suggest(grid.center + d * along, 12.0).confidence for d in (-4.0, 0.0, 4.0)])
    unsure = np.median([blind.suggest(grid.center + d * along, 12.0).confidence for d in (-4.0, 0.0, 4.0)])
    assert unsure < 0.5 * sure


def test_a_partner_in_a_slice():
    grid = Grid((70, 64, 1), np.diag([1.0, 1.0, 5.0, 1.0]))
    points = grid.voxel_to_world(grid.voxel_indices())
    fixed, moving = (texture(points + shift, np.random.default_rng(1)).reshape(grid.shape) for shift in ([4.0, -2.0, 0], [0.0, 0, 0]))
    session = CorrectionSession(Volume(fixed, grid), Volume(moving, grid), result_of(grid))
    found = session.suggest(grid.center, 10.0)
    np.testing.assert_allclose(found.point - grid.center, [4.0, -2.0, 0.0], atol=0.5)


def test_a_landmark_outside(session):
    with pytest.raises(InputError, match="outside the fixed image"):
        session.suggest(session.fixed_grid.center + 300.0)


def clicks(grid, n=14, seed=2):
    rng = np.random.default_rng(seed)
    fixed = grid.center + rng.uniform(-16, 16, (n, 3))
    moving = fixed + bump(fixed, grid.center, 20.0) + rng.normal(scale=0.5, size=(n, 3))
    return LandmarkPairs(tuple(f"p{i}" for i in range(n)), fixed, moving)


def test_a_misclick_is_found_and_the_others_are_not_accused():
    grid = cube(56)
    session, pairs = CorrectionSession(*pair_with_bump(grid, reach_mm=20.0), result_of(grid)), clicks(grid)
    assert not any(doubt.is_outlier for doubt in session.doubts(pairs))
    moved = pairs.moving_points.copy()
    moved[4] += [0.0, 9.0, -6.0]
    doubts = session.doubts(LandmarkPairs(pairs.names, pairs.fixed_points, moved))
    assert [doubt.name for doubt in doubts if doubt.is_outlier] == ["p4"]
    assert "from where its neighbors" in doubts[4].reason
    assert doubts[4].by_others_mm > 8.0
    assert doubts[4].looks_worse > 0.3
    assert max(doubt.looks_worse for doubt in doubts if doubt.name != "p4") < 0.2


def test_the_images_find_a_misclick_that_no_neighbor_can():
    """Two pairs predict nothing of each other; 7 mm off, the images differ."""
    grid = cube(56)
    session, pairs = CorrectionSession(*pair_with_bump(grid, reach_mm=20.0), result_of(grid)), clicks(grid, 2)
    assert not any(doubt.is_outlier for doubt in session.doubts(pairs))
    moved = pairs.moving_points + np.array([[5.0, -4.0, 3.0], [0.0, 0.0, 0.0]])
    wrong = LandmarkPairs(pairs.names, pairs.fixed_points, moved)
    none = session.doubts(wrong, looks_at_most=0)
    assert [doubt.looks_worse for doubt in none[:1]] == [None]
    assert [doubt.is_outlier for doubt in session.doubts(wrong)] == [True, False]
    assert "less alike" in session.doubts(wrong)[0].reason


def test_a_partner_far_away_looks_like_any_place():
    grid = cube(40)
    session, pairs = CorrectionSession(*pair_with_bump(grid), result_of(grid)), clicks(grid, 1)
    far = LandmarkPairs(pairs.names, pairs.fixed_points, pairs.moving_points + 500.0)
    assert session.doubts(far)[0].looks_worse == 1.0


def test_swapped_partners_need_a_fold():
    grid = cube(40)
    session, pairs = CorrectionSession(*pair_with_bump(grid), result_of(grid)), clicks(grid)
    near = np.linalg.norm(pairs.fixed_points - pairs.fixed_points[0], axis=1)
    other = int(np.argsort(near)[1])
    moved = pairs.moving_points.copy()
    moved[[0, other]] = moved[[other, 0]]
    doubts = session.doubts(LandmarkPairs(pairs.names, pairs.fixed_points, moved))
    assert doubts[0].needs_fold
    assert doubts[other].needs_fold
    assert "needs a fold" in doubts[0].reason + doubts[other].reason


def test_with_few_pairs_nothing_is_predicted():
    grid = cube(40)
    session = CorrectionSession(*pair_with_bump(grid), result_of(grid))
    few = clicks(grid, 3)
    assert [doubt.by_others_mm for doubt in session.doubts(few)] == [None, None, None]
