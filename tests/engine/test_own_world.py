"""Own worlds: the same bits wherever the headers put two images, and nothing lost on the way back."""

import nibabel as nib
import numpy as np
import pytest
from grids import GRIDS, oblique_grid, oriented_grid
from scipy.spatial.transform import Rotation

from napari_deformreg.engine.own_world import OwnWorld, Worlds, rounded_spacing
from napari_deformreg.engine.prepare import canonical_volume
from napari_deformreg.space import Grid, LabelMap, LandmarkPairs, Volume


def through_a_header(grid, world, tmp_path):
    """The grid elsewhere in the world, with the 32 bits a number that a NIfTI file keeps of it."""
    path = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), world @ grid.affine), path)
    return canonical(Grid(grid.shape, nib.load(path).affine))


def canonical(grid):
    return canonical_volume(Volume(np.zeros(grid.shape, np.float32), grid)).grid


WORLD = np.eye(4)
WORLD[:3, :3] = Rotation.from_euler("xz", [-9, -7], degrees=True).as_matrix()  # no axis comes to lie nearest to another direction
WORLD[:3, 3] = (120, -75, 310)


def test_an_own_world_knows_shape_and_spacing_only(grid):
    own = OwnWorld.of(canonical(grid))
    assert np.array_equal(own.grid.center, np.zeros(3))
    assert np.array_equal(own.grid.direction, np.eye(3))
    np.testing.assert_allclose(own.grid.spacing, own.header_grid.spacing, rtol=1e-5)
    np.testing.assert_allclose(own.to_header @ own.from_header, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("spacing", [1.0, 0.859375, 0.48828125, 1.25, 2.5, 0.15])
def test_usual_spacings_are_far_from_where_rounding_turns(spacing):
    there = [float(rounded_spacing(np.full(3, spacing * factor))[0]) for factor in (1 - 2e-7, 1.0, 1 + 2e-7)]
    assert there[0] == there[1] == there[2] == pytest.approx(spacing, rel=1e-5)


@pytest.mark.parametrize("name", list(GRIDS))
def test_a_world_moved_or_turned_as_a_whole_changes_no_bit(name, tmp_path):
    fixed, moving = GRIDS[name], oblique_grid(origin=(-115.0, 70.0, 1340.0)) if name == "oblique" else oriented_grid("LPS", (20, 21, 22))
    here = Worlds.of(*(through_a_header(grid, np.eye(4), tmp_path) for grid in (fixed, moving)))
    there = Worlds.of(*(through_a_header(grid, WORLD, tmp_path) for grid in (fixed, moving)))
    assert np.array_equal(here.header.matrix, there.header.matrix)
    for one, other in ((here.fixed, there.fixed), (here.moving, there.moving)):
        assert np.array_equal(one.grid.affine, other.grid.affine)


@pytest.mark.parametrize("name", list(GRIDS))
def test_the_headers_position_is_the_identity_between_their_worlds(name):
    worlds = Worlds.of(canonical(GRIDS[name]), canonical(oblique_grid()))
    assert np.array_equal(worlds.to_header(worlds.header).matrix, np.eye(4))
    # The rounded matrix still puts every corner where the headers do.
    unrounded = worlds.moving.to_header @ worlds.header.matrix @ worlds.fixed.from_header
    corners = worlds.fixed.header_grid.corners()
    assert np.abs(corners @ unrounded[:3, :3].T + unrounded[:3, 3] - corners).max() < 0.02 * GRIDS[name].spacing.min()


def test_labels_and_landmarks_stay_on_their_voxels(rng):
    fixed, moving = canonical(oblique_grid()), canonical(GRIDS["PSR"])
    worlds = Worlds.of(fixed, moving)
    voxels = rng.uniform(0, 10, (5, 3))
    pairs = LandmarkPairs(tuple("abcde"), fixed.voxel_to_world(voxels), moving.voxel_to_world(voxels))
    own = worlds.landmarks(pairs)
    np.testing.assert_allclose(worlds.fixed.grid.world_to_voxel(own.fixed_points), voxels, atol=1e-6)
    np.testing.assert_allclose(worlds.moving.grid.world_to_voxel(own.moving_points), voxels, atol=1e-6)
    finer = fixed.resized((2 * fixed.shape[0], fixed.shape[1], fixed.shape[2]))
    labels = worlds.fixed.labels(LabelMap(np.zeros(finer.shape, np.int32), finer))
    wanted = fixed.world_to_voxel(finer.voxel_to_world(voxels))
    np.testing.assert_allclose(worlds.fixed.grid.world_to_voxel(labels.grid.voxel_to_world(voxels)), wanted, atol=1e-6)
