"""Annotations on grids of any orientation, in two and three dimensions, against SimpleITK; no window."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from grids import oblique_grid, oriented_grid, smooth_field
from napari.components import ViewerModel
from napari.layers import Labels, Points, Shapes
from scipy.spatial.transform import Rotation

from napari_deformreg.errors import InputError
from napari_deformreg.io import write_labels, write_transform
from napari_deformreg.space import AffineTransform, Box, Grid, LabelMap, TransformChain
from napari_deformreg.ui.landmarks.carried_labels import CarriedLabels, DrawnLabels
from napari_deformreg.ui.landmarks.directions import Directions, Side
from napari_deformreg.ui.landmarks.drawn_layers import BothImages
from napari_deformreg.ui.landmarks.labels_follower import changed_box
from napari_deformreg.ui.landmarks.vector_followers import PointsFollower, ShapesFollower
from napari_deformreg.ui.layers import Placement, layer_to_world

LPS = np.array([-1.0, -1.0, 1.0])


def case(grid, rng, flat=False):
    """A registration with a strong field and an affine, and a moving image on an oblique grid."""
    field = smooth_field(grid, rng, 3.0, 3.0)
    if flat:
        field.displacement_mm[..., 2] = 0
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [0, 0, 6] if flat else [4, -3, 6], degrees=True).as_matrix()
    matrix[:3, 3] = (1.5, -2.0, 0.0) + (grid.center - matrix[:3, :3] @ grid.center)
    around = grid.center - oblique_grid().center
    moving = grid if flat else oblique_grid(origin=tuple(np.array((-120.0, 80.0, 1350.0)) + around))
    return BothImages(Directions(field, AffineTransform(matrix)), moving)


def itk(images, folder):
    write_transform(folder / "now.h5", images.now.fixed_to_moving)
    return sitk.ReadTransform(str(folder / "now.h5"))


def carried_by(transform, points):
    return np.array([transform.TransformPoint([float(n) for n in point * LPS]) for point in points]) * LPS


def followed(kind, layer, side, images):
    viewer = ViewerModel()
    viewer.add_layer(layer)
    follower = kind(viewer, layer, side, lambda: images)
    follower.show(follower.read(images)())
    return follower


def of(layer, placement):
    """Where a layer's points are in the world, by napari's own transform of it."""
    rows = np.array([layer.data_to_world(row) for row in (layer.data if isinstance(layer, Points) else np.concatenate(layer.data))])
    return placement.to_world(rows)


@pytest.mark.parametrize("side", list(Side))
def test_points_of_a_scaled_and_turned_layer_go_to_the_right_place(grid, side, rng, tmp_path, qapp):
    """A layer with a scale, a place and a rotation of its own, without any word of ours."""
    images = case(grid, rng)
    start, end = images.placement(side), images.placement(side.other)
    wanted = grid.voxel_to_world(np.array(grid.shape) * rng.uniform(0.3, 0.7, size=(12, 3)))
    if side is Side.MOVING:
        wanted = images.now.partners(wanted)
    turn = Rotation.from_euler("x", 20, degrees=True).as_matrix()  # Within the slice: napari warns of any other.
    layer = Points(np.zeros((1, 3)), scale=(2.0, 0.7, 1.3), translate=(11.0, -7.0, 3.0), rotate=turn)
    layer.data = np.array([layer.world_to_data(row) for row in start.to_drawn(wanted)])
    follower = followed(PointsFollower, layer, side, images)
    carried = of(follower.partner, end)
    transform = itk(images, tmp_path)
    if side is Side.FIXED:
        np.testing.assert_allclose(carried, carried_by(transform, wanted), atol=1e-3)
    else:
        np.testing.assert_allclose(carried_by(transform, carried), wanted, atol=1e-3)
        assert float(follower.partner.features["inverse_residual_mm"].max()) < 1e-3
    assert np.linalg.norm(carried - wanted, axis=1).max() > 1, "an identity would show"


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("ndim", [2, 3])
def test_two_dimensional_cases(side, ndim, rng, tmp_path, qapp):
    """Points and shapes of a slice, in layers of two or three axes; the slice lies anywhere along z."""
    grid = Grid((40, 36, 1), oriented_grid("LPS", spacing=(1.2, 0.8, 3.0)).affine)
    images = case(grid, rng, flat=True)
    placement = images.now.placement
    wanted = grid.voxel_to_world(np.array(grid.shape) * rng.uniform(0.3, 0.7, size=(9, 3)) * [1, 1, 0])
    rows = placement.to_drawn(wanted)[:, 3 - ndim :]
    transform = itk(images, tmp_path)

    def check(there, points):
        expected = carried_by(transform, points if side is Side.FIXED else there)
        np.testing.assert_allclose(expected, there if side is Side.FIXED else points, atol=1e-3)

    check(of(followed(PointsFollower, Points(rows), side, images).partner, placement), wanted)
    shapes = Shapes([rows[:4]], shape_type="polygon", ndim=ndim)
    there = followed(ShapesFollower, shapes, side, images).partner
    assert list(there.shape_type) == ["polygon"]
    found = of(there, placement)
    back = carried_by(transform, found) if side is Side.MOVING else found
    forth = carried_by(transform, wanted[:4]) if side is Side.FIXED else wanted[:4]
    assert np.linalg.norm(back[:, None] - forth[None], axis=-1).min(axis=0).max() < 1e-3, "each corner is there"


def test_a_flat_layer_over_a_volume_is_refused(rng, qapp):
    images = case(oblique_grid(), rng)
    with pytest.raises(InputError, match="two axes"):
        layer_to_world(Points(np.zeros((1, 2))), images.now.placement)
    with pytest.raises(InputError, match="4 axes"):
        layer_to_world(Points(np.zeros((1, 4))), images.now.placement)


@pytest.mark.parametrize("side", list(Side))
def test_labels_are_resampled_as_simpleitk_does_and_changed_in_boxes(grid, side, rng, tmp_path):
    images = case(grid, rng)
    # An inverse field of its own: labels on fixed are pulled by what is exported as moving_to_fixed.
    inverse = smooth_field(grid, rng, 3.0, 3.0)
    fields = SimpleNamespace(displacement_mm=images.now.displacement.displacement_mm.copy(), inverse_mm=inverse.displacement_mm.copy())
    session = SimpleNamespace(fixed_grid=grid, fields=fields, automatic=SimpleNamespace(affine=images.now.affine))
    start, end = images.placement(side).grid, images.placement(side.other).grid
    data = np.zeros(start.shape, np.uint16)
    data[3:-3, 4:-3, 2:-4] = rng.integers(1, 400, size=data[3:-3, 4:-3, 2:-4].shape)
    one = CarriedLabels.of(DrawnLabels(data.copy(), start, side), session, images.moving_grid)
    shown = one.whole().data.copy()

    def expected():
        field = type(images.now.displacement)(grid, fields.displacement_mm if side is Side.MOVING else fields.inverse_mm)
        affine = images.now.affine
        write_transform(tmp_path / "t.h5", TransformChain((field, affine) if side is Side.MOVING else (affine.inverse(), field)))
        write_labels(tmp_path / "a.nii.gz", LabelMap(data.astype(np.int32), start))
        write_labels(tmp_path / "b.nii.gz", LabelMap(np.zeros(end.shape, np.int32), end))
        a, b = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nii.gz", "b.nii.gz"))
        found = sitk.Resample(a, b, sitk.ReadTransform(str(tmp_path / "t.h5")), sitk.sitkNearestNeighbor, 0)
        return sitk.GetArrayFromImage(found).transpose(2, 1, 0)

    def put(update):
        if update is not None:
            shown[update.box.slices] = update.data
        wrong = np.count_nonzero(shown != expected())
        assert wrong <= 2e-3 * shown.size, f"{wrong} of {shown.size} (noise on every voxel: ties of rounding alone)"

    put(None)
    assert shown.any()
    data[6:10, 5:9, 4:8] = 7
    put(one.painted(Box((6, 5, 4), (10, 9, 8)), data[6:10, 5:9, 4:8]))
    # A correction in a box: the displacement and its inverse change there, and nothing else may.
    box = Box((5, 5, 3), (14, 12, 10))
    for array in (fields.displacement_mm, fields.inverse_mm):
        array[box.slices] += 1.3
    one.note(box, box)
    update = one.follow(session)
    assert update is not None
    assert np.prod(update.box.shape) < 0.8 * np.prod(end.shape)
    put(update)
    assert one.follow(session) is None, "nothing changed since"


def test_the_changed_box_holds_all_that_differs(rng):
    before = rng.integers(0, 9, size=(6, 7, 8))
    assert changed_box(before, before.copy()) is None
    now = before.copy()
    now[2, 3, 4] += 1
    now[4, 1, 7] += 1
    assert changed_box(before, now) == (slice(2, 5), slice(1, 4), slice(4, 8))


def test_which_image_it_was_drawn_on_is_guessed_by_voxels_then_by_name(rng, qapp):
    images = case(oblique_grid(shape=(10, 12, 14)), rng)
    for side in Side:
        placement = images.placement(side)
        array = np.zeros(placement.canonical.shape[::-1], np.uint8)
        labels = Labels(array, scale=placement.spacing[::-1], translate=placement.origin[::-1], name="moving fixed")
        assert images.guessed_side(labels) is side
    assert images.guessed_side(Points(np.zeros((0, 3)), name="spots on Fixed")) is Side.FIXED
    assert images.guessed_side(Points(np.zeros((0, 3)), name="Points")) is Side.MOVING
    assert Placement(images.moving_grid).grid == images.placement(Side.MOVING).grid
