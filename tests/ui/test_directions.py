"""Which way points go, against SimpleITK and a phantom's known truth; and boxes written into layers. No window."""

import numpy as np
import pytest
import SimpleITK as sitk

from napari_deformreg.io import write_transform
from napari_deformreg.phantom import small_pair
from napari_deformreg.qa import pair_fits
from napari_deformreg.space import AffineTransform, Box, DisplacementField, LandmarkPairs, TransformChain
from napari_deformreg.ui.landmarks.directions import Directions
from napari_deformreg.ui.landmarks.live_result import write_box
from napari_deformreg.ui.layers import Placement

LPS = np.array([-1.0, -1.0, 1.0])


def true_directions(pair):
    """The phantom's truth in the form of a result: the pose as affine, all the rest sampled on the fixed grid."""
    pose = pair.fixed_to_moving.transforms[-1]
    assert isinstance(pose, AffineTransform)
    grid = pair.fixed.grid
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).reshape(-1, 3)
    centers = grid.voxel_to_world(voxels.astype(float))
    moved = pose.inverse().map(pair.fixed_to_moving.map(centers))
    u = (moved - centers).reshape(*grid.shape, 3).astype(np.float32)
    return Directions(DisplacementField(grid, u), pose)


@pytest.fixture(scope="module")
def pair():
    return small_pair(shape=(40, 40, 40), seed=3)


def test_partners_are_where_simpleitk_and_the_truth_carry_fixed_points(pair, tmp_path):
    directions = true_directions(pair)
    fixed, moving = pair.fixed_landmarks.points, pair.moving_landmarks.points
    assert np.linalg.norm(fixed - moving, axis=1).max() > 3, "a wrong direction would show"
    write_transform(tmp_path / "truth.h5", TransformChain((directions.displacement, directions.affine)))
    itk = sitk.ReadTransform(str(tmp_path / "truth.h5"))
    theirs = np.array([itk.TransformPoint([float(n) for n in point * LPS]) for point in fixed]) * LPS
    np.testing.assert_allclose(directions.partners(fixed), theirs, atol=1e-3)
    # Half a voxel of interpolation at most; the wrong way misses by the whole deformation.
    assert np.linalg.norm(directions.partners(fixed) - moving, axis=1).max() < 0.5
    assert np.linalg.norm(directions.on_moved(moving) - fixed, axis=1).max() < 0.5
    wrong = np.linalg.norm(directions.on_moved(fixed) - moving, axis=1)
    assert wrong.max() > 3


def test_a_click_on_the_moved_image_means_what_the_image_shows_there(pair):
    """The moved image is the moving one pulled through the transform: its value at a place is moving's at the clicked point."""
    directions = true_directions(pair)
    reference = sitk.GetImageFromArray(np.ascontiguousarray(pair.moving.data.transpose(2, 1, 0)))
    affine = pair.moving.grid.affine.copy()
    affine[:2] *= -1
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    reference.SetSpacing([float(n) for n in spacing])
    reference.SetOrigin([float(n) for n in affine[:3, 3]])
    reference.SetDirection([float(n) for n in (affine[:3, :3] / spacing).ravel()])
    from napari_deformreg.engine import resample

    moved = resample(pair.moving, pair.fixed.grid, directions.fixed_to_moving)
    values = []
    for voxel in [(20, 20, 20), (12, 22, 25), (28, 16, 18), (20, 30, 14)]:
        drawn = directions.placement.to_drawn(pair.fixed.grid.voxel_to_world(np.array([voxel], float)))[0]
        np.testing.assert_allclose(directions.clicked_fixed(tuple(drawn)), pair.fixed.grid.voxel_to_world(np.array([voxel], float))[0])
        point = directions.clicked_moving(tuple(drawn))
        index = reference.TransformPhysicalPointToContinuousIndex([float(n) for n in point * LPS])
        values.append((moved.data[voxel], reference.EvaluateAtContinuousIndex(index, sitk.sitkLinear)))
    np.testing.assert_allclose(*np.transpose(values), rtol=1e-3, atol=0.5)
    assert np.ptp(values) > 20


def test_there_and_back(pair):
    directions = true_directions(pair)
    moving = pair.moving_landmarks.points
    drawn = directions.drawn_moving(moving)
    back = np.array([directions.clicked_moving(tuple(place)) for place in drawn])
    np.testing.assert_allclose(back, moving, atol=1e-3)
    fixed = pair.fixed_landmarks.points
    np.testing.assert_allclose([directions.clicked_fixed(tuple(place)) for place in directions.drawn_fixed(fixed)], fixed, atol=1e-9)


def test_drawn_places_and_world_on_any_grid(grid, rng):
    placement = Placement(grid)
    points = grid.voxel_to_world(rng.uniform(0, np.array(grid.shape) - 1, (5, 3)))
    drawn = placement.to_drawn(points)
    np.testing.assert_allclose(placement.to_world(drawn), points, atol=1e-9)
    np.testing.assert_allclose(drawn, placement.to_layer_points(points) * placement.spacing[::-1] + placement.origin[::-1])


def test_a_box_is_written_where_it_lies_on_any_grid(grid, rng):
    box = Box(tuple(n // 4 for n in grid.shape), tuple(max(n // 4 + 1, n - 1) for n in grid.shape))
    data = rng.normal(size=grid.shape).astype(np.float32)
    placement = Placement(grid)
    layer = np.array(placement.to_layer_array(data))
    values = rng.normal(size=box.shape).astype(np.float32)
    data[box.slices] = values
    write_box(layer, placement, box, values)
    np.testing.assert_array_equal(layer, placement.to_layer_array(data))


def test_the_part_in_the_fit():
    pairs = LandmarkPairs(("a", "b", "c"), np.zeros((3, 3)), np.array([[3.0, 0, 0], [0, 4.0, 0], [0, 0, 10.0]]))
    fits = pair_fits(AffineTransform.identity(), pairs, {"a": 1.0, "b": 0.5, "c": 0.0})
    assert fits.residual_mm == {"a": 3.0, "b": 4.0, "c": 10.0}
    assert fits.part == pytest.approx({"a": 9 / 17, "b": 8 / 17})
    assert fits.mean_mm(("a", "c")) == 6.5
    assert fits.mean_mm(()) is None
    assert pair_fits(AffineTransform.identity(), LandmarkPairs((), np.zeros((0, 3)), np.zeros((0, 3))), {}).residual_mm == {}
