"""The circles that show how far a correction reaches: truly that far, on the slices, and in the window with the chosen pair."""

import numpy as np
import pytest

from napari_deformreg.space import Grid
from napari_deformreg.ui.landmarks.reach import REACH, circles
from napari_deformreg.ui.layers import Placement


def placed(affine, shape=(30, 40, 12)):
    return Placement(Grid(shape, np.asarray(affine, dtype=np.float64)))


@pytest.mark.parametrize(
    "affine",
    [np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([-1.0, 2.0, 4.0, 1.0]), [[0, 0, 3.0, -40], [1.5, 0, 0, 7], [0, -1.0, 0, 90], [0, 0, 0, 1]]],
)
def test_circles_lie_on_the_sphere_and_on_slices(affine):
    placement = placed(affine)
    center = placement.canonical.center
    pieces = circles(placement.drawn(tuple(center)), 9.0, placement)
    for voxels in (pieces[:, 0], pieces.sum(axis=1)):
        world = placement.canonical.voxel_to_world(voxels[:, ::-1])
        np.testing.assert_allclose(np.linalg.norm(world - center, axis=1), 9.0, atol=1e-9)
        assert np.isclose(voxels, np.round(voxels), atol=1e-9).any(axis=1).all(), "each piece lies in a slice"
        assert (voxels > -1e-9).all()
        assert (voxels < np.array(placement.canonical.shape)[::-1] - 1 + 1e-9).all()
    # Of the middle slice along the first axis the whole circle is there, as far as it lies in the image.
    assert len(pieces) > 200


def test_a_slice_through_the_middle_has_the_full_circle_and_one_farther_off_a_smaller_one():
    placement = placed(np.eye(4), (41, 41, 41))
    pieces = circles((20.0, 20.0, 20.0), 10.0, placement)
    for z, radius in ((20, 10.0), (26, 8.0), (29, np.sqrt(19))):
        here = pieces[(pieces[:, 0, 0] == z) & (pieces[:, 1, 0] == 0)]
        np.testing.assert_allclose(np.hypot(here[:, 0, 1] - 20, here[:, 0, 2] - 20), radius, atol=1e-9)
        assert len(here) >= 48
    assert not len(pieces[pieces[:, 0, 0] > 30])


@pytest.mark.window
def test_the_reach_follows_the_chosen_pair_and_its_radius(dock, viewer, mouse, outcome):
    dock.page.at_once.setChecked(False)
    layer = viewer.layers[REACH]
    assert not layer.data[:, 1].any(), "no pair is chosen yet"
    center = outcome.inputs.fixed.grid.center
    drawn = dock.desk.case.now.drawn_fixed(center[None])[0]
    mouse.show_slice(drawn)
    mouse.click(drawn)
    assert layer.data[:, 1].any()
    fixed_drawn = dock.desk.case.now.drawn_fixed(np.array([dock.desk.pair.fixed_mm]))[0]

    def distances():
        return np.linalg.norm(layer.data[:, 0] * layer.scale + layer.translate - fixed_drawn, axis=1)

    np.testing.assert_allclose(distances(), dock.desk.radius_mm, atol=1e-3)
    dock.page.radius.setValue(8.0)
    dock.page.radius.editingFinished.emit()
    np.testing.assert_allclose(distances(), 8.0, atol=1e-3)
    low, high = viewer.layers["fixed"].extent.world
    drawn = layer.data.sum(axis=1) * layer.scale + layer.translate
    assert ((drawn >= low - 1e-6) & (drawn <= high + 1e-6)).all(), "napari's sliders stay on the image's slices"
    dock.act("give_up")
    assert not layer.data[:, 1].any()
    dock.desk.stop()
    assert REACH not in viewer.layers
