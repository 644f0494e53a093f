"""A correction gives way where it was asked to, and nowhere else."""

import numpy as np
import pytest
import torch
from correction_cases import BUMP_MM, bump, cube, pair_with_bump, result_of, smooth_field
from scipy.spatial.transform import Rotation

from napari_deformreg.engine import inverse_of_field, resample
from napari_deformreg.engine.correction import CorrectionSession
from napari_deformreg.engine.optimize import LevelOptimizer
from napari_deformreg.engine.prepare import LevelPair
from napari_deformreg.engine.regularizers import REGULARIZERS
from napari_deformreg.engine.tensors import Placed
from napari_deformreg.errors import InputError
from napari_deformreg.settings import CorrectionSettings, Settings
from napari_deformreg.space import AffineTransform, DisplacementField, Grid, LandmarkPairs
from napari_deformreg.space.box import distance_mm
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox
from napari_deformreg.space.point_fits import fit_pairs

RADIUS_MM = 16.0
HIT = CorrectionSettings(radius_mm=RADIUS_MM, points_weight=1.0)


def true_pair(grid, name="a", offset=(0.0, 0.0, 0.0)):
    point = grid.center[None] + np.array(offset)
    return LandmarkPairs((name,), point, point + bump(point, grid.center))


@pytest.fixture(scope="module")
def session():
    fixed, moving = pair_with_bump(cube())
    return CorrectionSession(fixed, moving, result_of(cube()))


@pytest.fixture(scope="module")
def corrected(session):
    return session.correct(true_pair(session.fixed_grid), ["a"], HIT)


def field_after(session, correction):
    u = session.fields.displacement_mm.copy()
    u[correction.box.slices] = correction.forward.after_mm
    return u


def test_the_point_is_hit(session, corrected):
    (fit,) = corrected.pairs
    assert fit.before_mm == pytest.approx(np.linalg.norm(BUMP_MM))
    assert fit.after_mm < 0.05
    assert (fit.role, fit.part) == ("drove", 1.0)


def test_nothing_moves_beyond_the_radius_and_nothing_folds(session, corrected):
    u = field_after(session, corrected)
    far = distance_mm(session.fixed_grid, session.fixed_grid.center[None]) > RADIUS_MM
    assert not u[far].any()
    assert corrected.beyond_radius_mm == 0
    assert not digital_fold_mask(displacement_mm_to_vox(u, session.fixed_grid)).any()
    assert (corrected.folds_before, corrected.folds_after) == (0, 0)


def test_the_image_finds_what_the_point_does_not_say():
    """The click lies beside the middle of the motion: a spline moves the wrong surroundings."""
    grid = cube(48)
    session = CorrectionSession(*pair_with_bump(grid, reach_mm=6.0), result_of(grid))
    point = grid.center[None] + [[5.0, 4.0, -3.0]]
    pair = LandmarkPairs(("a",), point, point + bump(point, grid.center, 6.0))
    points = grid.voxel_to_world(grid.voxel_indices())
    near = np.linalg.norm(points - point, axis=1) < 14.0
    truth = bump(points, grid.center, 6.0)[near]
    made = [session.correct(pair, ["a"], CorrectionSettings(radius_mm=20.0, use_image=use)) for use in (True, False)]
    errors = [np.linalg.norm(field_after(session, one).reshape(-1, 3)[near] - truth, axis=1).mean() for one in made]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.3 * np.linalg.norm(truth, axis=1).mean()
    assert made[0].similarity_after < made[1].similarity_after


@pytest.mark.parametrize(("reach_mm", "chosen"), [(3.0, 0.5), (6.0, 1.0), (14.0, 2.0)])
def test_the_images_choose_how_far_a_click_is_felt(reach_mm, chosen):
    """A narrow motion takes a narrow spline: what slides along what was clicked must not be dragged with it."""
    grid, settings = cube(48), CorrectionSettings(radius_mm=20.0)
    session = CorrectionSession(*pair_with_bump(grid, reach_mm=reach_mm), result_of(grid))
    task = session._task("pairs", true_pair(grid), ["a"], settings, None, None)
    assert session._velocity(task, settings)[1].reach == chosen


def test_trusting_the_image_repairs_a_careless_click(session):
    grid, miss = session.fixed_grid, np.array([[-1.5, 1.5, 0.0]])
    true = true_pair(grid)
    careless = LandmarkPairs(true.names, true.fixed_points, true.moving_points + miss)
    errors = {}
    for weight in (0.0, 1.0):
        one = session.correct(careless, ["a"], CorrectionSettings(radius_mm=RADIUS_MM, points_weight=weight))
        field = DisplacementField(grid, field_after(session, one))
        errors[weight] = np.linalg.norm(field.map(true.fixed_points) - true.moving_points)
    assert errors[0.0] < 0.5 * errors[1.0]
    assert errors[1.0] == pytest.approx(np.linalg.norm(miss), abs=0.1)


def test_undo_and_redo_bring_back_every_bit():
    fixed, moving = pair_with_bump(cube())
    session = CorrectionSession(fixed, moving, result_of(cube(), 0.5 * smooth_field(cube())))
    states, stack = [(session.fields.displacement_mm.copy(), session.fields.inverse_mm.copy())], []
    for offset in ((0.0, 0.0, 0.0), (6.0, -4.0, 3.0)):
        stack.append(session.correct(true_pair(cube(), offset=offset), ["a"], HIT))
        session.apply(stack[-1])
        states.append((session.fields.displacement_mm.copy(), session.fields.inverse_mm.copy()))
    for correction, (forward, backward) in zip(stack[::-1], states[-2::-1], strict=True):
        session.undo(correction)
        np.testing.assert_array_equal(session.fields.displacement_mm, forward)
        np.testing.assert_array_equal(session.fields.inverse_mm, backward)
    for correction in stack:
        session.apply(correction)
    np.testing.assert_array_equal(session.fields.displacement_mm, states[-1][0])
    back = session.back_to_automatic()
    session.apply(back)
    np.testing.assert_array_equal(session.fields.displacement_mm, states[0][0])
    session.undo(back)
    np.testing.assert_array_equal(session.fields.displacement_mm, states[-1][0])


GRIDS = {
    "RAS": Grid((36, 36, 36), np.diag([1.0, 1.0, 1.0, 1.0])),
    "permuted, flipped": Grid((36, 30, 40), np.array([[0, 0, 1.2, 4], [-1.1, 0, 0, 30], [0, -1.3, 0, 9], [0, 0, 0, 1.0]])),
    "thin slices": Grid((40, 40, 14), np.diag([1.0, 1.0, 3.0, 1.0])),
    "oblique": Grid((36, 36, 36), np.array([[0.9, -0.4, 0, 5], [0.4, 0.9, 0, -7], [0, 0, 1.0, 3], [0, 0, 0, 1.0]])),
}


@pytest.mark.parametrize("name", GRIDS)
def test_everything_agrees_on_every_grid(name):
    """The moved image is what resampling gives, the inverse inverts, the point is hit, whatever the axes, over a field and an affine."""
    grid = GRIDS[name]
    fixed, moving = pair_with_bump(grid)
    matrix = np.eye(4)
    matrix[:3] = [[1.02, 0.01, 0, 0.5], [0, 0.98, 0, -0.4], [0, 0.02, 1.0, 0.3]]
    matrix[:3, 3] += grid.center - matrix[:3, :3] @ grid.center
    result = result_of(grid, smooth_field(grid, size_mm=1.5), AffineTransform(matrix))
    inverse, _ = inverse_of_field(result.displacement)
    object.__setattr__(result, "inverse_displacement", inverse)
    session = CorrectionSession(fixed, moving, result)
    true = true_pair(grid)
    correction = session.correct(true, ["a"], CorrectionSettings(radius_mm=13.0, points_weight=1.0))
    session.apply(correction)
    now = session.result()
    assert correction.pairs[0].after_mm < 0.05
    np.testing.assert_allclose(np.linalg.norm(now.fixed_to_moving.map(true.fixed_points) - true.moving_points), 0, atol=0.05)
    whole = resample(moving, grid, now.fixed_to_moving)
    np.testing.assert_allclose(correction.moved, whole.data[correction.box.slices], atol=0.05)
    ends = grid.voxel_to_world(np.argwhere(distance_mm(grid, true.fixed_points) < 10.0).astype(float))
    miss = np.linalg.norm(now.displacement.map(now.inverse_displacement.map(ends)) - ends, axis=1)
    assert miss.mean() < 0.01
    assert miss.max() < 0.1
    assert correction.folds_after == 0


def test_a_slice_stays_a_slice():
    grid = Grid((64, 60, 1), np.diag([1.0, 1.0, 5.0, 1.0]))
    fixed, moving = pair_with_bump(grid)
    session = CorrectionSession(fixed, moving, result_of(grid))
    point = grid.center[None] + [[3.0, 1.0, 0.0]]
    pair = LandmarkPairs(("a",), point, point + np.array([[3.0, -2.0, 0.0]]))
    correction = session.correct(pair, ["a"], CorrectionSettings(radius_mm=18.0, points_weight=1.0))
    assert correction.pairs[0].after_mm < 0.05
    assert not correction.forward.after_mm[..., 2].any()


def test_a_locked_neighbor_stays_and_an_excluded_one_says_nothing(session):
    grid = session.fixed_grid
    true = true_pair(grid)
    other = grid.center[None] + [[7.0, 0.0, 0.0]]
    pairs = LandmarkPairs(("a", "b"), np.concatenate([true.fixed_points, other]), np.concatenate([true.moving_points, other]))
    settings = CorrectionSettings(radius_mm=RADIUS_MM, use_image=False)
    held = session.correct(pairs, ["a"], settings)
    assert held.pairs[1].after_mm < 0.05
    free = session.correct(pairs, ["a"], settings, weights={"b": 0.0})
    assert free.pairs[1].role == "excluded"
    assert free.pairs[1].after_mm > 1.0


def test_a_way_too_far_is_gone_in_part_and_said(session):
    grid = session.fixed_grid
    point = grid.center[None]
    correction = session.correct(LandmarkPairs(("far",), point, point + np.array([[14.0, 0, 0]])), ["far"], HIT)
    assert "far: 14 mm is too far for a radius of 16 mm" in correction.notices[0]
    assert correction.folds_after == 0
    assert correction.pairs[0].after_mm < 14.0


def test_the_advised_radius_grows_with_what_is_missing(session):
    point = session.fixed_grid.center[None]
    pairs = LandmarkPairs(("near", "far"), np.concatenate([point, point]), point + np.array([[1.0, 0, 0], [0, 9.0, 0]]))
    assert session.advised_radius_mm(pairs, ["near"]) == CorrectionSettings().radius_mm
    assert session.advised_radius_mm(pairs, ["near", "far"]) == pytest.approx(36.0, abs=0.1)


def test_the_preview_hits_without_being_more(session, corrected):
    preview = session.preview(true_pair(session.fixed_grid), ["a"], HIT)
    assert preview.kind == "preview"
    assert preview.pairs[0].after_mm < 0.3
    np.testing.assert_array_equal(preview.box.shape, corrected.box.shape)


def test_refusals(session):
    pair = true_pair(session.fixed_grid)
    with pytest.raises(InputError, match="There is no landmark pair b; known: a"):
        session.correct(pair, ["b"])
    with pytest.raises(InputError, match="Nothing was touched"):
        session.correct(pair, [])
    away = LandmarkPairs(("x",), np.array([[500.0, 0, 0]]), np.array([[500.0, 0, 0]]))
    with pytest.raises(InputError, match="outside the fixed image"):
        session.correct(away, ["x"])
    with pytest.raises(InputError, match="expected the same"):
        CorrectionSession(*pair_with_bump(cube(12)), result_of(cube(14)))


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine", "thin_plate"])
def test_points_alone_replace_the_registration_and_are_undone(kind):
    """Over an affine that is not theirs; judged by the fit itself, and the inverse by going there and back."""
    grid = cube(32)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 9, degrees=True).as_matrix() * 1.04
    turn[:3, 3] = [5.0, -3.0, 2.0]
    session = CorrectionSession(*pair_with_bump(grid), result_of(grid, smooth_field(grid), affine=AffineTransform(turn)))
    rng = np.random.default_rng(5)
    fixed = grid.voxel_to_world(rng.uniform(4, 27, (9, 3)))
    moving = Rotation.from_euler("x", 6, degrees=True).apply(fixed) + [1.0, 2.0, -3.0] + 0.4 * rng.normal(size=fixed.shape)
    pairs = LandmarkPairs(tuple("abcdefghi"), fixed, moving)
    before = session.fields.displacement_mm.copy(), session.fields.inverse_mm.copy()
    correction = session.by_points(pairs, kind, weights={"i": 0.0})
    assert correction.kind == "points"
    session.apply(correction)
    fit = fit_pairs(pairs, kind, np.array([1.0] * 8 + [0.0]))
    inner = grid.voxel_to_world(rng.uniform(3, 28, (60, 3)))
    np.testing.assert_allclose(session.carried(inner), fit.map(inner), atol=0.02 if kind != "thin_plate" else 0.1)
    for n, told in enumerate(correction.pairs):
        assert told.after_mm == pytest.approx(np.linalg.norm(fit.map(fixed[n][None])[0] - moving[n]), abs=0.05)
        assert told.role == ("excluded" if told.name == "i" else "drove")
    there = session.result().displacement.map(inner)
    near = ((grid.world_to_voxel(there) > 1) & (grid.world_to_voxel(there) < 30)).all(axis=1)
    np.testing.assert_allclose(session.result().inverse_displacement.map(there)[near], inner[near], atol=0.1)
    assert correction.folds_after == 0
    session.undo(correction)
    np.testing.assert_array_equal(session.fields.displacement_mm, before[0])
    np.testing.assert_array_equal(session.fields.inverse_mm, before[1])


def test_what_is_regularized_is_the_whole_displacement():
    """Against a finite difference of the regularizer of both together, on a lattice where the images say nothing."""
    grid = cube(12)
    flat = Placed(torch.full((1, 1, 12, 12, 12), 0.5), grid, None)
    there = torch.from_numpy(np.ascontiguousarray(np.moveaxis(smooth_field(grid, sigma=2.0), -1, 0)).astype(np.float32))[None]
    settings = Settings().changed(refine={"regularizer_weight": 2.0, "symmetric": False})
    pair = LevelPair(flat, flat, (0, 0, 0))
    optimizer = LevelOptimizer(pair, torch.zeros_like(there), settings, [], None, there)
    step = torch.from_numpy(np.random.default_rng(0).normal(size=there.shape).astype(np.float32))

    def whole(t):
        return 2.0 * float(REGULARIZERS["diffusion_l2"](t * step + there, grid)[0])

    value, slope = optimizer.evaluate(torch.zeros_like(there))
    nothing = LevelOptimizer(pair, torch.zeros_like(there), settings, []).evaluate(torch.zeros_like(there))[0]
    assert value - nothing == pytest.approx(whole(0.0), rel=1e-4)
    assert float((slope * step).sum()) == pytest.approx((whole(0.05) - whole(-0.05)) / 0.1, rel=1e-2)


def test_the_inverse_stays_near_through_many_steep_corrections():
    """Pairs dragged to and fro within a narrow radius squeeze the map to the edge of folding; a Newton step alone ran away there."""
    grid = cube(36)
    session = CorrectionSession(*pair_with_bump(grid), result_of(grid))
    settings = CorrectionSettings(radius_mm=9.0, points_weight=1.0, use_image=False)
    fixed = grid.center + np.array([[0.0, 0, 0], [3.0, 0, 0], [0, 3.0, 3.0]])
    rng = np.random.default_rng(2)
    for n in range(24):
        moving = fixed.copy()
        moving[n % 3] += 5.5 * np.eye(3)[n % 3] * (-1) ** (n // 3) + rng.normal(size=3)
        session.apply(session.correct(LandmarkPairs(("a", "b", "c"), fixed, moving), ["abc"[n % 3]], settings))
        assert np.isfinite(session.fields.inverse_mm).all()
        longest = [np.linalg.norm(part, axis=-1).max() for part in (session.fields.displacement_mm, session.fields.inverse_mm)]
        assert longest[1] < 1.2 * longest[0] + 0.5, "an inverse moves as far as its map does"
    result, points = session.result(), grid.voxel_to_world(grid.voxel_indices())
    inner = ((points > 6) & (points < 29)).all(axis=1)
    missed = np.linalg.norm(result.inverse_displacement.map(result.displacement.map(points[inner])) - points[inner], axis=1)
    assert np.percentile(missed, 95) < 1.0, "within a voxel, even where it is squeezed to the edge of folding"
    assert not digital_fold_mask(displacement_mm_to_vox(session.fields.displacement_mm, grid)).any()
