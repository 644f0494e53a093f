"""Flows one after the other, against rotations and shifts whose composition is known exactly, and in a whole registration."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_deformreg.engine import flows, refine_stage, register, register_steps
from napari_deformreg.engine.plan import Progress, plan_levels
from napari_deformreg.engine.tensors import Placed, to_array
from napari_deformreg.errors import OutOfMemoryError
from napari_deformreg.phantom import slice_pair
from napari_deformreg.result import Control, Status
from napari_deformreg.settings import PRESETS, Settings
from napari_deformreg.space import AffineTransform, Grid, LabelMap, LandmarkPairs
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox

SHAPE = (41, 37, 1)
CENTERS = (np.array([14.0, 20.0, 0.0]), np.array([25.0, 15.0, 0.0]))
ANGLES = (0.3, -0.2)
SPACING = np.diag([1.5, 2.0, 1.0, 1.0])


def turned(points, flow, sign=1.0):
    c, s = np.cos(sign * ANGLES[flow]), np.sin(sign * ANGLES[flow])
    return (points - CENTERS[flow]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + CENTERS[flow]


def rotation_velocity(flow):
    """The velocity a (-y, x) about a center: a linear field, whose flow is the rotation by a."""
    x = np.indices(SHAPE).astype(float) - CENTERS[flow][:, None, None, None]
    return torch.tensor(ANGLES[flow] * np.stack([-x[1], x[0], 0 * x[0]]), dtype=torch.float32)[None]


@pytest.fixture(scope="module")
def velocities():
    return [rotation_velocity(0), rotation_velocity(1)]


@pytest.fixture
def inner_points():
    return np.stack(np.meshgrid(np.arange(14, 27), np.arange(12, 25), [0], indexing="ij"), -1).reshape(-1, 3).astype(float)


def at(displacement, points):
    return points + to_array(displacement)[tuple(points.astype(int).T)]


def test_the_last_flow_acts_first(velocities, inner_points):
    arrived = at(flows.flow_displacement(velocities, SHAPE), inner_points)
    assert np.abs(arrived - turned(turned(inner_points, 1), 0)).max() < 0.02
    assert np.abs(arrived - turned(turned(inner_points, 0), 1)).max() > 0.5  # the other order is another place


def test_the_inverse_goes_back_in_the_other_order(velocities, inner_points):
    back = at(flows.inverse_displacement(velocities, SHAPE), inner_points)
    assert np.abs(back - turned(turned(inner_points, 0, -1.0), 1, -1.0)).max() < 0.02


@pytest.fixture
def moving_grid():
    affine = SPACING.copy()
    affine[:3, 3] = [-4.0, 3.0, 0.0]
    return Grid((50, 45, 1), affine)


def sampled_truth(data, grid, affine, lattice, order):
    """What lies at affine(rotation 0 (rotation 1 (x))), computed with scipy from the formulas alone."""
    origin = lattice.affine[:3, 3] / np.diag(SPACING)[:3]
    voxels = np.indices(lattice.shape).reshape(3, -1).T + origin
    world = affine.map(turned(turned(voxels, 1), 0) @ SPACING[:3, :3].T)
    return ndimage.map_coordinates(data[..., 0], grid.world_to_voxel(world)[:, :2].T, order=order, mode="nearest").reshape(lattice.shape)


def central(lattice, keep=7):
    """Voxels around the middle of a lattice, whose path stays inside."""
    middle = [slice(n // 2 - keep, n // 2 + keep) if n > 1 else slice(None) for n in lattice.shape]
    return tuple(middle)


@pytest.fixture
def shift():
    matrix = np.eye(4)
    matrix[:2, 3] = [2.3, -1.7]
    return AffineTransform(matrix)


def test_the_image_is_carried_in_one_interpolation(velocities, moving_grid, shift):
    data = ndimage.gaussian_filter(np.random.default_rng(0).random((50, 45)), 1.5)[..., None].astype(np.float32)
    moving = Placed(torch.from_numpy(data)[None, None], moving_grid, None)
    carried = flows.carried_image(moving, Grid(SHAPE, SPACING), shift, velocities)
    expected = sampled_truth(data, moving_grid, shift, carried.grid, order=1)
    inside = central(carried.grid)
    assert np.ptp(expected[inside]) > 0.1
    assert np.abs(carried.data[0, 0].numpy() - expected)[inside].max() < 0.003


def test_labels_are_carried_whole(velocities, moving_grid, shift):
    blocks = (np.indices((50, 45, 1)) // 5).sum(axis=0).astype(np.int32) + 1
    carried = flows.carried_labels(LabelMap(blocks, moving_grid, "labels", {}), Grid(SHAPE, SPACING), shift, velocities)
    expected = sampled_truth(blocks, moving_grid, shift, carried.grid, order=0)
    inside = central(carried.grid)
    assert (carried.data == expected)[inside].mean() > 0.98  # ties at the borders between voxels
    assert set(np.unique(carried.data)) <= set(np.unique(blocks)) | {0}


def test_landmarks_are_carried_to_where_the_carried_image_shows_them(velocities, shift, inner_points):
    there = shift.map(turned(turned(inner_points, 1), 0) @ SPACING[:3, :3].T)
    names = tuple(str(n) for n in range(len(there)))
    pairs = flows.carried_landmarks(LandmarkPairs(names, inner_points, there), Grid(SHAPE, SPACING), shift, velocities)
    assert np.abs(pairs.moving_points - inner_points @ SPACING[:3, :3].T).max() < 0.05


def test_later_flows_repeat_the_finest_levels():
    settings = Settings().changed(refine={"flows": 3, "shrink_factors": (4.0, 2.0, 1.0), "steps": (9, 7, 5)})
    levels = plan_levels(Grid((64, 64, 1), np.eye(4)), settings, torch.device("cpu"))
    assert [level.flow for level in levels] == [0, 0, 0, 1, 1, 2, 2]
    assert [level.steps for level in levels] == [9, 7, 5, 7, 5, 7, 5]
    done = [Progress.of(levels).done(n, level.steps) for n, level in enumerate(levels)]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)


ONE = {"shrink_factors": (4.0, 2.0, 1.0), "steps": (30, 30, 20), "flows": 1}
TWO = {**ONE, "flows": 2, "later_gain": 0.0}


@pytest.fixture(scope="module")
def pair():
    return slice_pair()


@pytest.fixture(scope="module")
def composed(pair):
    return register(pair.fixed, pair.moving, Settings.from_preset("slice-2d").changed(refine=TWO))


@pytest.fixture(scope="module")
def single(pair):
    return register(pair.fixed, pair.moving, Settings.from_preset("slice-2d").changed(refine=ONE))


def errors_mm(pair, result):
    points = pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0).astype(float))
    return np.linalg.norm(result.fixed_to_moving.map(points) - pair.fixed_to_moving.map(points), axis=1)


def unlikeness(pair, result):
    """Mean squared difference of the fixed image and the moving one pulled through the result, by scipy."""
    world = result.fixed_to_moving.map(pair.fixed.grid.voxel_to_world(np.indices(pair.fixed.grid.shape).reshape(3, -1).T.astype(float)))
    moved = ndimage.map_coordinates(pair.moving.data, pair.moving.grid.world_to_voxel(world).T, order=1, mode="nearest")
    return np.square(moved.reshape(pair.fixed.grid.shape) - pair.fixed.data).mean()


def test_two_flows_bring_the_images_nearer_than_one(pair, single, composed):
    assert unlikeness(pair, composed) < unlikeness(pair, single)
    assert errors_mm(pair, composed).mean() < pair.fixed.grid.spacing[0]
    assert single.velocity_vox is not None
    assert composed.velocity_vox is None
    assert composed.velocity_grid is None


def test_a_later_flow_that_gains_too_little_is_left_out(pair, single):
    """The sample slices are smooth and one flow brings them all the way: a second would only follow the noise."""
    result = register(pair.fixed, pair.moving, Settings.from_preset("slice-2d").changed(refine={**TWO, "later_gain": 0.05}))
    assert np.array_equal(result.displacement.displacement_mm, single.displacement.displacement_mm)
    assert np.array_equal(result.velocity_vox, single.velocity_vox)
    assert result.status is single.status
    fractions = [step.fraction for step in result.history]
    assert fractions == sorted(fractions)


def test_only_slices_take_a_second_flow():
    assert {name: Settings.from_preset(name).refine.flows for name in PRESETS} == {name: 2 if name == "slice-2d" else 1 for name in PRESETS}


def test_what_is_composed_has_no_folds_and_an_inverse(pair, composed):
    assert not digital_fold_mask(displacement_mm_to_vox(composed.displacement.displacement_mm, pair.fixed.grid)).any()
    points = pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0).astype(float))
    back = composed.moving_to_fixed.map(composed.fixed_to_moving.map(points))
    assert np.percentile(np.linalg.norm(back - points, axis=1), 95) < 0.2 * pair.fixed.grid.spacing[0]


def test_landmarks_and_labels_drive_the_later_flow_too(pair, monkeypatch):
    """What the terms of the second flow see is nearer than at the start: they were carried along."""
    seen = []
    whole = refine_stage.level_optimizer

    def watched(case, affine, level, velocity, run):
        miss = np.linalg.norm(affine.inverse().map(case.landmarks.moving_points) - case.landmarks.fixed_points, axis=1).mean()
        there = ((case.moving_labels.data > 0).sum() / np.prod(case.moving_labels.grid.shape))
        seen.append((level.flow, miss, there))
        return whole(case, affine, level, velocity, run)

    monkeypatch.setattr(refine_stage, "level_optimizer", watched)
    points = pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0)[::200].astype(float))
    pairs = LandmarkPairs(tuple(str(n) for n in range(len(points))), points, pair.fixed_to_moving.map(points))
    settings = Settings.from_preset("slice-2d").changed(refine={**TWO, "landmark_weight": 0.1, "label_weight": 0.1})
    register(pair.fixed, pair.moving, settings, landmarks=pairs, fixed_labels=pair.fixed_labels, moving_labels=pair.moving_labels)
    first, later = [row for row in seen if row[0] == 0], [row for row in seen if row[0] == 1]
    assert len(later) == 2
    assert later[0][1] < 0.3 * first[0][1]
    assert later[0][2] > 0


def test_an_early_end_keeps_the_flows_so_far(pair):
    steps = register_steps(pair.fixed, pair.moving, Settings.from_preset("slice-2d").changed(refine={**TWO, "flows": 3}))
    step, result = next(steps), None
    while result is None:
        try:
            step = steps.send(Control.FINISH_NOW) if step.stage == "refine" and step.level == 3 else next(steps)
        except StopIteration as end:
            result = end.value
    assert result.status is Status.FINISHED_EARLY
    assert result.displacement.displacement_mm.any()


def test_memory_that_runs_out_in_a_later_flow_leaves_the_flows_before_it(pair, monkeypatch):
    def scarce(*_):
        raise OutOfMemoryError("The GPU ran out of memory: test.")

    monkeypatch.setattr(refine_stage, "carried_image", scarce)
    result = register(pair.fixed, pair.moving, Settings.from_preset("slice-2d").changed(refine=TWO))
    assert any("Flow 2 was left out" in notice for notice in result.provenance.notices)
    assert result.displacement.displacement_mm.any()
    assert result.velocity_vox is not None
