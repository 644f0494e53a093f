"""A region is solved again: harder, softer or rigid; the rest stays."""

import numpy as np
import pytest
from correction_cases import bump, cube, pair_with_bump, result_of, smooth_field
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from napari_deformreg.engine import inverse_of_field
from napari_deformreg.engine.correction import CorrectionSession
from napari_deformreg.errors import InputError
from napari_deformreg.settings import CorrectionSettings
from napari_deformreg.space import AffineTransform, Grid, LabelMap, Region
from napari_deformreg.space.box import distance_mm
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox

MARGIN = CorrectionSettings(margin_mm=8.0)


@pytest.fixture(scope="module")
def wavy():
    """A registration that is 2 mm off here and there."""
    grid = cube(40)
    result = result_of(grid, smooth_field(grid, size_mm=2.0, sigma=3.0))
    inverse, _ = inverse_of_field(result.displacement)
    object.__setattr__(result, "inverse_displacement", inverse)
    return CorrectionSession(*pair_with_bump(grid), result)


def after(session, correction):
    u = session.fields.displacement_mm.copy()
    u[correction.box.slices] = correction.forward.after_mm
    return u


def unchanged_beyond(session, region_mask, margin_mm, u):
    grid = session.fixed_grid
    near = distance_mm(grid, grid.voxel_to_world(np.argwhere(region_mask).astype(float))) <= margin_mm
    return np.array_equal(u[~near], session.fields.displacement_mm[~near])


def test_harder_brings_the_images_nearer(wavy):
    grid = wavy.fixed_grid
    region = Region.ball(grid, grid.center, 10.0)
    correction = wavy.resolve(region, "harder", MARGIN)
    truth = bump(grid.voxel_to_world(grid.voxel_indices()), grid.center).reshape(*grid.shape, 3)
    inside = np.zeros(grid.shape, bool)
    inside[region.box.slices] = region.mask
    errors = [np.linalg.norm((u - truth)[inside], axis=-1).mean() for u in (wavy.fields.displacement_mm, after(wavy, correction))]
    assert errors[1] < 0.35 * errors[0]
    assert correction.similarity_after < correction.similarity_before
    assert correction.folds_after == 0
    assert correction.beyond_radius_mm == 0
    assert unchanged_beyond(wavy, inside, 8.0, after(wavy, correction))


def test_softer_has_less_detail(wavy):
    grid = wavy.fixed_grid
    region = Region.between(grid, grid.center - 9, grid.center + 9)
    correction = wavy.resolve(region, "softer", MARGIN)
    hard = wavy.resolve(region, "harder", MARGIN)
    within = region.box.slices

    def detail(u):
        return sum(np.square(np.diff(u[within], 2, axis=axis)).mean() for axis in range(3))

    assert detail(after(wavy, correction)) < 0.7 * detail(after(wavy, hard))
    assert detail(after(wavy, correction)) < 0.7 * detail(wavy.fields.displacement_mm)
    assert correction.folds_after == 0


def test_rigid_keeps_its_shape_and_is_undone(wavy):
    grid = wavy.fixed_grid
    labels = LabelMap((distance_mm(grid, grid.center[None] + 3.0) < 7.0).astype(int) * 5, grid)
    correction = wavy.resolve(Region.of_label(labels, 5), "rigid", MARGIN)
    before = wavy.fields.displacement_mm.copy(), wavy.fields.inverse_mm.copy()
    wavy.apply(correction)
    points = grid.voxel_to_world(np.argwhere(labels.data == 5).astype(float))
    moved = wavy.carried(points)
    linear = np.linalg.lstsq(points - points.mean(0), moved - moved.mean(0), rcond=None)[0]
    assert np.abs(polar(linear)[1] - np.eye(3)).max() < 5e-3
    assert np.abs((points - points.mean(0)) @ linear - (moved - moved.mean(0))).max() < 0.05
    assert correction.beyond_radius_mm == 0
    assert not digital_fold_mask(displacement_mm_to_vox(wavy.fields.displacement_mm, grid)).any()
    np.testing.assert_allclose(wavy.result().inverse_displacement.map(wavy.result().displacement.map(points)), points, atol=0.15)
    wavy.undo(correction)
    np.testing.assert_array_equal(wavy.fields.displacement_mm, before[0])
    np.testing.assert_array_equal(wavy.fields.inverse_mm, before[1])


def test_rigid_means_the_whole_map_with_its_affine():
    grid = cube(36)
    matrix = np.diag([1.1, 0.95, 1.0, 1.0])
    matrix[:3, 3] = grid.center - matrix[:3, :3] @ grid.center
    session = CorrectionSession(*pair_with_bump(grid), result_of(grid, affine=AffineTransform(matrix)))
    region = Region.ball(grid, grid.center, 6.0)
    session.apply(session.resolve(region, "rigid", CorrectionSettings(margin_mm=10.0)))
    points = grid.voxel_to_world(np.argwhere(region.mask) + np.array(region.box.start, float))
    moved = session.carried(points)
    apart = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points[::7], moved[::7])]
    np.testing.assert_allclose(apart[1], apart[0], atol=0.05)


def test_refusals(wavy):
    grid = wavy.fixed_grid
    with pytest.raises(InputError, match="got 'looser'"):
        wavy.resolve(Region.ball(grid, grid.center, 5.0), "looser")
    with pytest.raises(InputError, match="at least four voxels"):
        wavy.resolve(Region.ball(grid, np.array([19.0, 19.0, 19.0]), 0.9), "rigid")
    with pytest.raises(InputError, match="holds no voxel"):
        Region.ball(grid, grid.center + 500, 5.0)
    with pytest.raises(InputError, match="The region is empty"):
        Region.of_mask(np.zeros(grid.shape, bool))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.1, 2.5)])
def test_a_rigid_region_is_one_rigid_motion_and_the_rest_stays(spacing):
    """Inside within .05 voxels of one rotation and shift, as scipy fits them; beyond the rim not a bit changes."""
    shape = tuple(round(44 / s) for s in spacing)
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", [4, -7, 11], degrees=True).as_matrix() @ np.diag(spacing)
    grid = Grid(shape, turned)
    result = result_of(grid, smooth_field(grid, seed=4, size_mm=3.0, sigma=(4.0 / np.array(spacing)).tolist()))
    inverse, _ = inverse_of_field(result.displacement)
    object.__setattr__(result, "inverse_displacement", inverse)
    session = CorrectionSession(*pair_with_bump(grid), result)
    region = Region.ball(grid, grid.center + np.array([2.0, -1.0, 3.0]), 8.0)
    before = session.fields.displacement_mm.copy()
    correction = session.resolve(region, "rigid", CorrectionSettings(margin_mm=9.0))
    session.apply(correction)
    inside = np.zeros(grid.shape, bool)
    inside[region.box.slices] = region.mask
    fixed = grid.voxel_to_world(np.argwhere(inside).astype(float))
    moved = session.carried(fixed)
    rotation, _ = Rotation.align_vectors(moved - moved.mean(0), fixed - fixed.mean(0))
    left = rotation.apply(fixed - fixed.mean(0)) + moved.mean(0) - moved
    assert np.abs(grid.world_to_voxel_matrix[:3, :3] @ left.T).max() < 0.05
    margin = 9.0
    for notice in correction.notices:
        margin = float(notice.split("widened to ")[1].split(" mm")[0]) + 0.5
    assert margin <= 9.0 * 1.5**2 + 0.5, "two steps wider at most, for this field"
    away = distance_mm(grid, fixed) > margin
    assert away.any()
    np.testing.assert_array_equal(session.fields.displacement_mm[away], before[away])
    assert not digital_fold_mask(displacement_mm_to_vox(session.fields.displacement_mm, grid)).any()
    assert correction.folds_after == 0
