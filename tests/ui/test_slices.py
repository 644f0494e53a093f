"""Slices as pictures: the right voxels, on the right side, in the right place."""

import numpy as np
import pytest
from grids import GRIDS
from napari.layers import Image, Labels, Points

from napari_deformreg.space import Volume
from napari_deformreg.ui.crosshair import lines_through
from napari_deformreg.ui.layers import Placement, image_layer
from napari_deformreg.ui.slices import PLANES, is_sliceable, marks_of, picture_of, rims, whole_extent

AXIAL, CORONAL, SAGITTAL = PLANES
SCALE, TRANSLATE = (2.5, 1.5, 1.0), (-30.0, 10.0, 5.0)


def gray(data, **more):
    return Image(data, scale=SCALE, translate=TRANSLATE, contrast_limits=(0, 255), colormap="gray", **more)


def world(voxel):
    return tuple(np.array(voxel) * SCALE + TRANSLATE)


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_holds_its_voxels_mirrored_as_the_canvas_does(plane):
    data = np.random.default_rng(0).integers(0, 256, (6, 7, 8)).astype(np.float32)
    found = picture_of(gray(data), plane, world((2, 3, 5)))
    expected = {"axial": data[2], "coronal": data[:, 3], "sagittal": data[:, :, 5]}[plane.name][::-1, ::-1]
    np.testing.assert_allclose(found.rgba[..., 0], expected, atol=1)
    assert (found.rgba[..., 3] == 255).all()
    shape = np.array(data.shape)
    high = np.array(TRANSLATE) + (shape - 0.5) * SCALE
    assert (found.top_mm, found.left_mm) == pytest.approx((high[plane.vertical], high[plane.horizontal]))
    assert (found.height_mm, found.width_mm) == pytest.approx(((shape * SCALE)[plane.vertical], (shape * SCALE)[plane.horizontal]))


@pytest.mark.parametrize("name", list(GRIDS))
def test_right_is_left_and_superior_is_above_whatever_the_file(name):
    """A bright voxel at the patient's far right, front and top lies in the upper left corner of every plane."""
    grid = GRIDS[name]
    placement = Placement(grid)
    canonical = np.zeros(placement.canonical.shape, np.float32)
    canonical[-1, -1, -1] = 100
    index = np.round(grid.world_to_voxel(placement.canonical.voxel_to_world(grid_corner(canonical)))).astype(int)[0]
    data = np.zeros(grid.shape, np.float32)
    data[tuple(index)] = 100
    array, arguments, _ = image_layer(Volume(data, grid, "corner"), contrast_limits=(0, 100))
    layer = Image(array, **arguments)
    corner = tuple((np.array(array.shape) - 1) * arguments["scale"] + arguments["translate"])
    for plane in PLANES:
        shown = picture_of(layer, plane, corner).rgba[..., 0]
        assert shown[0, 0] == 255
        assert shown.sum() == 255


def grid_corner(canonical):
    return np.array([np.array(canonical.shape) - 1.0])


def test_beside_the_image_nothing_is_drawn():
    layer = gray(np.zeros((4, 4, 4), np.float32))
    assert picture_of(layer, AXIAL, world((3.4, 0, 0))) is not None
    assert picture_of(layer, AXIAL, world((3.6, 0, 0))) is None
    assert picture_of(layer, AXIAL, world((-0.6, 0, 0))) is None


def test_contrast_gamma_and_opacity_are_the_layers():
    data = np.array([[[-10.0, 0, 25, 50, 100, 200]]])
    layer = Image(data, contrast_limits=(0, 100), gamma=2.0, opacity=0.5, colormap="gray")
    found = picture_of(layer, AXIAL, (0.0, 0.0, 0.0)).rgba[0, ::-1]
    np.testing.assert_allclose(found[:, 0], [0, 0, 255 / 16, 255 / 4, 255, 255], atol=2)
    assert set(found[:, 3]) == {128}


def test_labels_are_clear_where_there_are_none_and_may_be_outlines():
    data = np.zeros((1, 7, 7), np.uint8)
    data[0, 1:6, 1:6] = 3
    layer = Labels(data, opacity=1.0)
    filled = picture_of(layer, AXIAL, (0.0, 0.0, 0.0)).rgba[..., 3]
    assert (filled > 0).sum() == 25
    layer.contour = 1
    outline = picture_of(layer, AXIAL, (0.0, 0.0, 0.0)).rgba[..., 3]
    assert (outline > 0).sum() == 16
    assert not outline[3, 3]
    assert rims(data[0]).sum() == 16 + 20


def test_points_are_drawn_on_the_planes_that_they_touch():
    layer = Points(np.array([[10.0, 20, 30], [14, 20, 30]]), size=6)
    assert [(mark.vertical_mm, mark.horizontal_mm) for mark in marks_of(layer, AXIAL, (10.0, 0.0, 0.0))] == [(20, 30)]
    assert len(marks_of(layer, CORONAL, (0.0, 22.0, 0.0))) == 2
    assert marks_of(layer, SAGITTAL, (0.0, 0.0, 26.0)) == []


def test_layers_that_cannot_be_sliced_are_left_out():
    turned = Image(np.zeros((4, 4, 4)), rotate=np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]]))
    assert is_sliceable(gray(np.zeros((4, 4, 4))))
    for other in (turned, Image(np.zeros((4, 4))), Image(np.zeros((4, 4, 4, 3)), rgb=True), Image(np.zeros((2, 4, 4, 4)))):
        assert not is_sliceable(other)


def test_the_crosshair_leaves_its_place_free_and_stays_within_the_image():
    layer = gray(np.zeros((20, 30, 40), np.float32))
    low, high = whole_extent([layer])
    np.testing.assert_allclose(low, np.array(TRANSLATE) - np.array(SCALE) / 2)
    place, spacing = world((5, 6, 7)), np.array(SCALE)
    lines = lines_through(place, (low, high), spacing)
    starts, ends = lines[:, 0] * spacing, (lines[:, 0] + lines[:, 1]) * spacing
    for points in (starts, ends):
        assert (points >= low + spacing / 2 - 1e-9).all()
        assert (points <= high - spacing / 2 + 1e-9).all()
    assert np.linalg.norm(np.concatenate([starts, ends]) - place, axis=1).min() > 0.5
    drawn = np.flatnonzero(np.linalg.norm(lines[:, 1], axis=1))
    for n in drawn:
        assert (np.abs(starts[n] - place) > 1e-9).sum() == 1, "each piece lies on an axis through the place"
