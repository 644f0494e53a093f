"""The napari door: array -> layer -> array must give back the very same voxels at the very same place."""

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Layer, Points

from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid, LabelMap, Landmarks, Volume, gray_of_colors
from napari_deformreg.ui import layers


def _rotation(degrees: float, axis: int) -> np.ndarray:
    a, b = [k for k in range(3) if k != axis]
    turn = np.eye(3)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    return turn


def _affine(columns: np.ndarray, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = columns * np.array(spacing)
    affine[:3, 3] = origin
    return affine


_X, _Y, _Z = np.eye(3)
GRIDS = {
    "RAS": _affine(np.eye(3)),
    "LAS": _affine(np.stack([-_X, _Y, _Z], 1), (1.0, 2.0, 3.0), (90.0, -120.0, 60.0)),
    "LPS": _affine(np.stack([-_X, -_Y, _Z], 1), (0.7, 0.7, 2.5), (80.0, 300.0, -1500.0)),
    "PSR": _affine(np.stack([-_Y, _Z, _X], 1), (1.2, 0.9, 1.1), (5.0, 6.0, 7.0)),
    "SLA": _affine(np.stack([_Z, -_X, _Y], 1), (2.0, 1.0, 0.5), (-5.0, 60.0, 7.0)),
    "oblique": _affine(_rotation(22, 0) @ _rotation(-13, 2), (1.1, 1.3, 3.0), (-20.0, 33.0, 41.0)),
    "oblique LIA": _affine(_rotation(17, 1) @ np.stack([-_X, -_Z, _Y], 1), (1.0, 1.0, 1.5), (70.0, 80.0, -90.0)),
    "far off": _affine(np.eye(3), (0.5, 0.5, 0.5), (4000.0, -9000.0, 2500.0)),
}


@pytest.fixture(params=GRIDS, ids=str)
def grid(request):
    return Grid((5, 6, 7), GRIDS[request.param])


def _through_napari(layer_tuple) -> Layer:
    return Layer.create(*layer_tuple)


def test_volume_round_trip(grid, rng):
    volume = Volume(rng.normal(size=grid.shape).astype(np.float32), grid, "head")
    back = layers.snapshot(_through_napari(layers.image_layer(volume))).volume()
    assert back.grid == grid
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.name == "head"
    assert back.notices == ()


def test_labels_round_trip(grid, rng):
    labels = LabelMap(rng.integers(0, 4, grid.shape), grid, "organs", {1: "liver", 3: "spleen"})
    back = layers.snapshot(_through_napari(layers.labels_layer(labels))).label_map()
    assert back.grid == grid
    np.testing.assert_array_equal(back.data, labels.data)
    assert back.label_names == {1: "liver", 3: "spleen"}


def test_landmarks_round_trip(grid, rng):
    world = grid.voxel_to_world(rng.uniform(0, 4, (6, 3)))
    landmarks = Landmarks(world, tuple("abcdef"))
    layer = _through_napari(layers.points_layer(landmarks, layers.Placement(grid)))
    back = layers.landmarks_from_layer(layer)
    np.testing.assert_allclose(back.points, world, atol=1e-9)
    assert back.names == landmarks.names


def test_points_sit_on_their_voxel(grid, rng):
    """A landmark at a voxel's center is drawn at that voxel of the image layer."""
    data = np.zeros(grid.shape, np.float32)
    data[1, 4, 5] = 1
    image = _through_napari(layers.image_layer(Volume(data, grid)))
    landmark = Landmarks(grid.voxel_to_world(np.array([[1.0, 4.0, 5.0]])), ("a",))
    points = _through_napari(layers.points_layer(landmark, layers.Placement(grid)))
    at = tuple(np.round(image.world_to_data(points.data_to_world(points.data[0]))).astype(int))
    assert image.data[at] == 1


def test_drawn_axis_aligned_with_units(grid):
    layer = _through_napari(layers.image_layer(Volume(np.arange(210.0).reshape(grid.shape), grid)))
    assert layer.axis_labels == ("z", "y", "x")
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    np.testing.assert_allclose(layer.rotate, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(layer.shear, 0, atol=1e-12)
    assert (np.asarray(layer.scale) > 0).all()


def test_axis_aligned_grids_are_drawn_at_their_ras_millimeters():
    grid = Grid((5, 6, 7), GRIDS["LPS"])
    layer = _through_napari(layers.image_layer(Volume(np.arange(210.0).reshape(grid.shape), grid)))
    world = grid.voxel_to_world(np.array([[0.0, 0.0, 0.0]]))[0]
    # Voxel (0, 0, 0) of an LPS array is the last one along canonical x and y.
    np.testing.assert_allclose(layer.data_to_world((0, 5, 4))[::-1], world, atol=1e-9)


def test_vectors_keep_their_length_in_millimeters(grid, rng):
    placement = layers.Placement(grid)
    vectors = rng.normal(size=(20, 3))
    drawn = placement.to_layer_vectors(vectors) * np.array(placement.layer_arguments["scale"])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-9)


def test_vectors_point_from_voxel_to_voxel(grid):
    placement = layers.Placement(grid)
    start, end = grid.voxel_to_world(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 4.0]]))
    difference = placement.to_layer_points(end[None]) - placement.to_layer_points(start[None])
    np.testing.assert_allclose(placement.to_layer_vectors((end - start)[None]), difference, atol=1e-9)


def test_layer_of_another_reader_is_placed_by_scale_and_translate():
    layer = Image(np.arange(24.0).reshape(2, 3, 4), scale=(3, 2, 1), translate=(30, 20, 10), units="mm", name="plain")
    volume = layers.snapshot(layer).volume()
    assert volume.data.shape == (4, 3, 2)
    np.testing.assert_allclose(volume.grid.affine, [[1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert volume.data[3, 1, 0] == layer.data[0, 1, 3]
    assert volume.notices == ()


def test_units_are_converted_and_pixels_are_reported():
    micrometers = layers.snapshot(Image(np.zeros((2, 3, 4)), scale=(5000, 1000, 1000), translate=(1000, 0, 0), units="um"))
    np.testing.assert_allclose(micrometers.affine[:3, :3], np.diag([1, 1, 5]))
    np.testing.assert_allclose(micrometers.affine[:3, 3], [0, 0, 1])
    assert micrometers.notices == ()
    pixels = layers.snapshot(Image(np.zeros((2, 3, 4)), name="scan"))
    assert "'scan'" in pixels.notices[0]
    assert "millimeters" in pixels.notices[0]


def test_a_moved_layer_is_where_the_user_put_it():
    grid = Grid((5, 6, 7), GRIDS["oblique"])
    layer = _through_napari(layers.image_layer(Volume(np.arange(210.0).reshape(grid.shape), grid)))
    layer.translate = np.asarray(layer.translate) + np.array([0.0, 0.0, 4.0])
    moved = layers.snapshot(layer).volume().grid
    shift = layers.Placement(grid).display_to_world[:3, :3] @ (4.0, 0.0, 0.0)
    np.testing.assert_allclose(moved.affine[:3, 3], grid.affine[:3, 3] + shift, atol=1e-9)


def test_rotated_layer_of_the_user():
    turn = _rotation(30, 0)
    layer = Image(np.arange(24.0).reshape(2, 3, 4), rotate=turn, units="mm")
    expected = turn[::-1, ::-1]
    np.testing.assert_allclose(layers.snapshot(layer).affine[:3, :3], expected, atol=1e-9)


def test_two_dimensional_layer_is_one_slice():
    layer = Image(np.arange(12.0).reshape(3, 4), scale=(2, 1), translate=(20, 10), units="mm")
    volume = layers.snapshot(layer).volume()
    assert volume.grid.shape == (4, 3, 1)
    assert volume.grid.is_2d
    np.testing.assert_allclose(volume.grid.voxel_to_world(np.array([[0.0, 1.0, 0.0]])), [[10, 22, 0]])


@pytest.mark.parametrize(
    ("layer", "advice"),
    [
        (Image(np.zeros((5, 2, 4, 4, 3), np.uint8), rgb=True, name="color film"), "holds 5 volumes"),
        (Image(np.zeros((5, 2, 3, 4)), name="film"), "holds 5 volumes"),
    ],
)
def test_unusable_layers_are_refused_with_advice(layer, advice):
    with pytest.raises(InputError, match=advice):
        layers.snapshot(layer)


@pytest.mark.parametrize("opacity", [False, True])
@pytest.mark.parametrize("lead", [(), (1,), (1, 1), (4,)])
def test_a_color_layer_is_read_like_the_file(lead, opacity, rng):
    """One gray value with a notice, in the place that a gray layer of this scale has."""
    colors = rng.integers(0, 255, (*lead, 5, 6, 4 if opacity else 3)).astype(np.uint8)
    if opacity:
        colors[..., 3] = 255
    scale = (3.0, 2.0, 0.5)[-min(max(len(lead), 0) + 2, 3) :]
    layer = Image(colors, rgb=True, name="section", scale=(*[1.0] * (len(lead) + 2 - len(scale)), *scale), units="mm")
    taken = layers.snapshot(layer)
    volume = taken.volume()
    slices = lead[-1] if lead else 1
    in_gray = Image(colors[..., 0].astype(np.float32), scale=layer.scale, units="mm")
    assert volume.grid == layers.snapshot(in_gray).volume().grid
    assert layers.placement_of(layer).grid == layers.placement_of(in_gray).grid
    expected, _ = gray_of_colors(colors.reshape(slices, 5, 6, -1).transpose(2, 1, 0, 3))
    np.testing.assert_array_equal(volume.data, expected)
    assert "section is a color image" in " ".join(volume.notices)
    with pytest.raises(InputError, match="color image; expected whole numbers"):
        taken.label_map()


def test_fractional_labels_are_refused():
    layer = Image(np.full((2, 3, 4), 0.5), name="half")
    with pytest.raises(InputError, match="whole numbers"):
        layers.snapshot(layer).label_map()


def test_points_placed_by_hand_belong_to_their_image():
    """Points that a user clicks on an image drawn de-obliqued lie where the image truly is."""
    grid = Grid((5, 6, 7), GRIDS["oblique"])
    placement = layers.Placement(grid)
    image = _through_napari(layers.image_layer(Volume(np.arange(210.0).reshape(grid.shape), grid)))
    world = grid.voxel_to_world(np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]]))
    drawn = placement.to_layer_points(world) * np.array(placement.layer_arguments["scale"]) + placement.layer_arguments["translate"]
    points = Points(drawn, units="mm")
    landmarks = layers.landmarks_from_layer(points, image)
    np.testing.assert_allclose(landmarks.points, world, atol=1e-9)
    assert landmarks.names == ("1", "2")


def test_a_forgotten_point_name_is_reported():
    points = Points(np.zeros((3, 3)), features=pd.DataFrame({"name": ["a", "", "c"]}), name="marks")
    with pytest.raises(InputError, match="point 2 has no name"):
        layers.landmarks_from_layer(points)


def test_empty_points_are_refused():
    with pytest.raises(InputError, match="empty"):
        layers.landmarks_from_layer(Points(ndim=3))


def test_is_drawn_as(grid):
    volume = Volume(np.arange(210.0).reshape(grid.shape), grid)
    layer = _through_napari(layers.image_layer(volume))
    assert layers.is_drawn_as(layer, layers.Placement(grid))
    layer.translate = np.asarray(layer.translate) + 1.0
    assert not layers.is_drawn_as(layer, layers.Placement(grid))


def test_contrast_limits_of_a_flat_image_are_not_empty():
    low, high = layers.contrast_limits(np.full((4, 4, 4), 3.0))
    assert low < 3.0 < high


@pytest.mark.parametrize(("largest", "size"), [(1, 1), (127, 1), (128, 2), (65535, 2), (65536, 8)])
def test_labels_are_drawn_with_few_bytes_where_they_fit(largest, size):
    """Wider labels make napari compile code in the GUI thread; one byte leaves room for labels that the user adds."""
    data, _, _ = layers.labels_layer(LabelMap(np.array([[[0, largest]]]), Grid((1, 1, 2), np.eye(4))))
    assert data.max() == largest
    assert data.dtype.itemsize == size or (size > 2 and data.dtype.itemsize > 2)


def test_negative_labels_keep_their_values():
    data, _, _ = layers.labels_layer(LabelMap(np.array([[[-1, 3]]]), Grid((1, 1, 2), np.eye(4))))
    assert data.min() == -1
