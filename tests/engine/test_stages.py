"""A whole registration on phantoms with an exactly known transform."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_deformreg.engine import refine_stage, register, register_steps, stages
from napari_deformreg.engine.plan import plan_levels
from napari_deformreg.engine.prepare import intensity_window
from napari_deformreg.errors import EngineError, InputError, OutOfMemoryError, SettingsError
from napari_deformreg.phantom import slice_pair, small_pair
from napari_deformreg.result import Control, Status
from napari_deformreg.settings import Settings
from napari_deformreg.space import Grid, LandmarkPairs, Volume
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox
from napari_deformreg.space.orientation import reorient

QUICK = Settings().changed(refine={"steps": (20, 20, 20, 15)})


@pytest.fixture(scope="module")
def pair():
    return small_pair((32, 32, 32), seed=3)


@pytest.fixture(scope="module")
def result(pair):
    return register(pair.fixed, pair.moving, QUICK)


def structure_points(pair):
    voxels = np.argwhere(pair.fixed_labels.data > 0).astype(float)
    return pair.fixed.grid.voxel_to_world(voxels)


def errors_mm(pair, result):
    points = structure_points(pair)
    return np.linalg.norm(result.fixed_to_moving.map(points) - pair.fixed_to_moving.map(points), axis=1)


def test_the_true_transform_is_recovered(pair, result):
    before = np.linalg.norm(structure_points(pair) - pair.fixed_to_moving.map(structure_points(pair)), axis=1)
    after = errors_mm(pair, result)
    assert after.mean() < 0.3 * pair.fixed.grid.spacing[0]
    assert after.mean() < 0.2 * before.mean()


def test_a_coarser_velocity_moves_finer_images(pair, result):
    """On a lattice of a quarter of the voxels the smooth true motion is found nearly as well, and the field is as large as ever."""
    coarse = register(pair.fixed, pair.moving, QUICK.changed(refine={"cpu_velocity_mvox": 0.008}))
    assert coarse.velocity_grid is not None
    assert np.prod(coarse.velocity_grid.shape) <= 8000
    assert coarse.displacement.displacement_mm.shape[:3] == pair.fixed.grid.shape
    before = np.linalg.norm(structure_points(pair) - pair.fixed_to_moving.map(structure_points(pair)), axis=1)
    assert errors_mm(pair, coarse).mean() < 0.25 * before.mean()
    assert not np.array_equal(coarse.displacement.displacement_mm, result.displacement.displacement_mm)


def test_there_are_no_folds_and_the_inverse_fits(pair, result):
    field = displacement_mm_to_vox(result.displacement.displacement_mm, pair.fixed.grid)
    assert not digital_fold_mask(field).any()
    points = structure_points(pair)
    back = result.moving_to_fixed.map(result.fixed_to_moving.map(points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.05 * pair.fixed.grid.spacing[0]


def test_moving_landmarks_arrive_by_newton(pair, result):
    found = result.moving_points_in_fixed(pair.moving_landmarks.points)
    assert found.residual_mm.max() < 1e-3
    miss = np.linalg.norm(found.points - pair.fixed_landmarks.points, axis=1)
    assert miss.mean() < 0.5 * pair.fixed.grid.spacing[0]


def test_the_same_seed_gives_the_same_bits(pair, result):
    again = register(pair.fixed, pair.moving, QUICK)
    assert np.array_equal(again.displacement.displacement_mm, result.displacement.displacement_mm)
    assert np.array_equal(again.affine.matrix, result.affine.matrix)


@pytest.mark.parametrize("codes", ["LPS", "PSR", "SAL"])
def test_orientation_and_origin_change_nothing(pair, result, codes):
    """The moving image stored along other axes and the fixed one too: the same points go to the same places."""
    fixed = Volume(*reorient(pair.fixed.data, pair.fixed.grid, codes))
    shifted = pair.moving.grid.affine.copy()
    shifted[:3, 3] += [200.0, -150.0, 90.0]
    moving = Volume(*reorient(pair.moving.data, Grid(pair.moving.grid.shape, shifted), codes[::-1] if codes == "SAL" else codes))
    other = register(fixed, moving, QUICK)
    points = structure_points(pair)
    difference = other.fixed_to_moving.map(points) - [200.0, -150.0, 90.0] - result.fixed_to_moving.map(points)
    assert np.linalg.norm(difference, axis=1).max() < 1e-3 * pair.fixed.grid.spacing[0]


ELSEWHERE = np.eye(4)
ELSEWHERE[:3, :3] = Rotation.from_euler("xz", [17, 11], degrees=True).as_matrix()
ELSEWHERE[:3, 3] = (120.0, -75.0, 310.0)


@pytest.mark.parametrize(("fixed_world", "moving_world"), [(ELSEWHERE, ELSEWHERE), (np.eye(4), ELSEWHERE)], ids=["both", "one"])
def test_a_world_elsewhere_changes_no_bit_of_the_deformation(pair, result, fixed_world, moving_world):
    """Far away and oblique, by headers of 32 bits a number; where only one image goes there, its header misleads by 330 mm."""
    fixed, moving = (
        Volume(volume.data, Grid(volume.grid.shape, (world @ volume.grid.affine).astype(np.float32)))
        for volume, world in ((pair.fixed, fixed_world), (pair.moving, moving_world))
    )
    other = register(fixed, moving, QUICK)
    assert np.array_equal(other.velocity_vox, result.velocity_vox)
    points = structure_points(pair)
    there = other.fixed_to_moving.map(points @ fixed_world[:3, :3].T + fixed_world[:3, 3])
    here = result.fixed_to_moving.map(points) @ moving_world[:3, :3].T + moving_world[:3, 3]
    assert np.linalg.norm(there - here, axis=1).max() < 1e-3 * pair.fixed.grid.spacing[0]


def test_two_contrasts():
    pair = small_pair((32, 32, 32), seed=4, contrast="different")
    result = register(pair.fixed, pair.moving, Settings.from_preset("multimodal"))
    affine_only = np.linalg.norm(result.affine.map(structure_points(pair)) - pair.fixed_to_moving.map(structure_points(pair)), axis=1)
    after = errors_mm(pair, result)
    assert after.mean() < affine_only.mean()
    assert after.mean() < 0.6 * pair.fixed.grid.spacing[0]


def test_one_slice_is_registered_in_its_plane():
    pair = slice_pair()
    result = register(pair.fixed, pair.moving, Settings.from_preset("slice-2d"))
    axis = pair.fixed.grid.shape.index(1)
    normal = pair.fixed.grid.direction[:, axis]
    assert np.abs(result.displacement.displacement_mm @ normal).max() < 1e-4
    before = np.linalg.norm(structure_points(pair) - pair.fixed_to_moving.map(structure_points(pair)), axis=1)
    after = errors_mm(pair, result)
    assert after.mean() < pair.fixed.grid.spacing[0] < 0.2 * before.mean()


def test_steps_tell_the_way_and_can_be_ended_early(pair):
    steps = register_steps(pair.fixed, pair.moving, QUICK)
    seen = [next(steps)]
    while seen[-1].stage != "refine":
        seen.append(next(steps))
    try:
        seen.append(steps.send(Control.FINISH_NOW))
        while True:
            seen.append(next(steps))
    except StopIteration as end:
        result = end.value
    assert result.status is Status.FINISHED_EARLY
    assert [s.stage for s in seen if s.stage == "refine"].count("refine") <= 3
    fractions = [s.fraction for s in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_closing_the_generator_cancels(pair):
    steps = register_steps(pair.fixed, pair.moving, QUICK)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_images_that_are_already_aligned_stay(pair):
    result = register(pair.fixed, pair.fixed, QUICK)
    assert np.linalg.norm(result.displacement.displacement_mm, axis=-1).max() < 0.2 * pair.fixed.grid.spacing[0]


def test_a_deformation_that_hardly_pays_is_dropped(pair):
    demanding = QUICK.changed(refine={"least_gain": 1.0})
    result = register(pair.fixed, pair.moving, demanding)
    assert result.status is Status.KEPT_START
    assert not result.displacement.displacement_mm.any()
    assert any("dropped" in notice for notice in result.provenance.notices)


def test_what_misled_the_coarse_levels_does_not_reach_the_finest(pair, monkeypatch):
    """Where any gain will do, a flow is compared with none before the finest level; one that is worse than none is gone by then."""
    began = []
    whole = refine_stage.level_optimizer

    def misled(case, affine, level, velocity, run):
        optimizer = whole(case, affine, level, velocity, run)
        began.append((level.grid.shape, velocity))
        if level.grid.shape != pair.fixed.grid.shape:
            wild = torch.full_like(velocity, 3.0)
            monkeypatch.setattr(optimizer, "finish", lambda: wild)
            monkeypatch.setattr(optimizer, "falling", lambda: False)
            optimizer.best_loss = 1.0
            monkeypatch.setattr(optimizer, "_remember", lambda loss: optimizer.losses.append(loss))
        return optimizer

    monkeypatch.setattr(refine_stage, "level_optimizer", misled)
    result = register(pair.fixed, pair.moving, QUICK.changed(search={"mode": "off"}))
    shape, velocity = began[-1]
    assert shape == pair.fixed.grid.shape
    assert not velocity.any()
    assert any(v.any() for _, v in began[:-1])
    assert result.status is not Status.KEPT_START
    assert result.displacement.displacement_mm.any()


def test_landmarks_drive_when_weighted(pair):
    """Pairs that ask for a motion the images do not show are followed only when they have a weight."""
    points = pair.fixed.grid.voxel_to_world(np.array([[16.0, 16.0, 16.0]]))
    asked = LandmarkPairs(("p",), points, pair.fixed_to_moving.map(points) + np.array([0.0, 6.0, 0.0]))
    free = register(pair.fixed, pair.moving, QUICK, landmarks=asked)
    driven = register(pair.fixed, pair.moving, QUICK.changed(refine={"landmark_weight": 1.0}), landmarks=asked)
    miss = [np.linalg.norm(r.fixed_to_moving.map(points) - asked.moving_points) for r in (free, driven)]
    assert miss[1] < 0.5 * miss[0]


def test_rigid_stays_rigid_and_none_stays_put(pair):
    off = {"refine": {"mode": "off"}}
    rigid = register(pair.fixed, pair.moving, QUICK.changed(affine={"mode": "rigid"}, **off)).affine.matrix[:3, :3]
    assert np.allclose(rigid.T @ rigid, np.eye(3), atol=1e-6)
    assert np.array_equal(register(pair.fixed, pair.moving, QUICK.changed(affine={"mode": "none"}, **off)).affine.matrix, np.eye(4))


def test_a_constant_image_is_refused(pair):
    with pytest.raises(InputError, match="constant"):
        intensity_window(Volume(np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), np.eye(4))), Settings())


def test_torch_errors_become_ours(pair, monkeypatch):
    def broken(*_):
        raise RuntimeError("something inside torch")

    monkeypatch.setattr(stages, "align_steps", broken)
    with pytest.raises(EngineError, match="something inside torch"):
        register(pair.fixed, pair.moving, QUICK)


def test_memory_that_runs_out_at_a_fine_level_leaves_the_coarser_result(pair, monkeypatch):
    whole = refine_stage.level_optimizer

    def scarce(case, affine, level, velocity, run):
        if level.grid.shape == pair.fixed.grid.shape:
            raise OutOfMemoryError("The GPU ran out of memory: test.")
        return whole(case, affine, level, velocity, run)

    monkeypatch.setattr(refine_stage, "level_optimizer", scarce)
    result = register(pair.fixed, pair.moving, QUICK)
    assert any("left out" in notice for notice in result.provenance.notices)
    assert result.displacement.displacement_mm.any()


def test_slices_of_scans_take_all_steps_and_large_sections_keep_within_the_budget():
    settings = Settings.from_preset("slice-2d")
    brain, section = (plan_levels(Grid((*shape, 1), np.eye(4)), settings, torch.device("cpu")) for shape in ((216, 291), (1780, 1466)))
    assert [level.steps for level in brain] == [60, 60, 60, 60, 60]
    assert [level.steps for level in section] == [60, 60, 15, 60, 15]


def test_levels_keep_within_the_cpu_budget():
    grid = Grid((160, 192, 224), np.eye(4))
    levels = plan_levels(grid, Settings(), torch.device("cpu"))
    assert [level.grid.shape for level in levels][-1] == (160, 192, 224)
    assert all(level.work <= Settings().refine.cpu_budget_mvox * 1e6 for level in levels)
    most = Settings().refine.cpu_velocity_mvox * 1e6
    assert all(level.shape == level.grid.shape for level in levels if np.prod(level.grid.shape) <= most)
    assert all(np.prod(level.shape) <= most for level in levels)
    assert np.prod(levels[-1].shape) > 0.9 * most
    assert plan_levels(grid, Settings(), torch.device("cuda"))[-1].shape == grid.shape
    few = Settings().changed(refine={"cpu_budget_mvox": 2.5 * np.prod(grid.shape) / 1e6})
    assert plan_levels(grid, few, torch.device("cpu"))[-1].steps == 2
    fewer = Settings().changed(refine={"cpu_budget_mvox": 1.5 * np.prod(grid.shape) / 1e6})
    assert max(plan_levels(grid, fewer, torch.device("cpu"))[-1].grid.shape) < 192
    huge = plan_levels(Grid((512, 512, 400), np.eye(4)), Settings(), torch.device("cpu"))
    assert max(huge[-1].grid.shape) < 512


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(pair):
    with pytest.raises(SettingsError, match="cuda"):
        register(pair.fixed, pair.moving, QUICK.changed(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_and_cpu_agree(pair, result):
    on_gpu = register(pair.fixed, pair.moving, QUICK.changed(device="cuda"))
    points = structure_points(pair)
    difference = on_gpu.fixed_to_moving.map(points) - result.fixed_to_moving.map(points)
    assert np.linalg.norm(difference, axis=1).mean() < 0.1 * pair.fixed.grid.spacing[0]
