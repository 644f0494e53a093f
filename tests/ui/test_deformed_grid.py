"""The deformed grid against fields whose answer is known, in the plane and in space."""

import numpy as np
import pytest
from test_overlays import LPS, constant_field

from napari_deformreg.space import DisplacementField, Grid
from napari_deformreg.ui.deformed_grid import grid_lines
from napari_deformreg.ui.overlays import DrawnField, View
from napari_deformreg.ui.regions import Region

SPACE = View(axis=0, index=4, slab=0, flat=False)


def linear_field(matrix, shape=(24, 20, 16)):
    """A field u(x) = M (x - center), in a grid of 1 mm."""
    grid = Grid(shape, np.eye(4))
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return DrawnField.of(DisplacementField(grid, ((voxels - (np.array(shape) - 1) / 2) @ np.transpose(matrix)).astype(np.float32)))


def test_lines_of_a_shift_are_shifted_straight_lines():
    lines = grid_lines(constant_field((3.0, 0.0, 9.0)), View(axis=0, index=4), spacing_mm=6.0).segments
    assert (lines[:, 0, 0] == 4).all()
    assert (lines[:, 1, 0] == 0).all()
    np.testing.assert_allclose(grid_lines(constant_field((3.0, 0.0, 9.0)), View(axis=0, index=4), 6.0).length_mm, np.hypot(3, 9), rtol=1e-6)
    lines = lines[lines.sum(axis=1)[:, 2] < 18.5]  # The rest was pushed over the rim and ends there.
    along_x, along_y = lines[lines[:, 1, 1] == 0], lines[lines[:, 1, 2] == 0]
    assert len(along_x) + len(along_y) == len(lines)
    np.testing.assert_allclose(along_y[:, 0, 2] % 4, 2.0, atol=1e-5)  # Every 4th voxel of 1.5 mm, 2 voxels (3 mm) to the right.


def test_lines_in_space_move_along_all_three_axes():
    shift = np.array([2.0, -1.0, 3.0])
    field = constant_field(tuple(shift), shape=(24, 24, 24), affine=np.eye(4))
    lines = grid_lines(field, SPACE, spacing_mm=8.0).segments
    starts, ends = lines[:, 0], lines.sum(axis=1)
    free = ((starts > 3) & (ends < 20)).all(axis=1)  # Not cut at the rim.
    back = starts[free] - shift[::-1]
    on_lattice = np.isclose(back % 8, 0, atol=1e-4).sum(axis=1)
    assert (on_lattice >= 2).all(), "two of three coordinates lie on the lattice"
    directions = lines[free, 1] / np.linalg.norm(lines[free, 1], axis=1, keepdims=True)
    assert {tuple(np.round(direction).astype(int)) for direction in directions} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_a_dilated_lattice_has_longer_cells():
    """With u(x) = 0.25 (x - c) a length of the fixed image is a quarter longer, wherever it is."""
    lines = grid_lines(linear_field(np.diag([0.25, 0.25, 0.25])), SPACE, spacing_mm=5.0).segments
    inside = ((lines[:, 0] > 0.5) & (lines.sum(axis=1) < np.array([16, 20, 24]) - 1.5)).all(axis=1)
    assert inside.sum() > 100
    lengths = np.linalg.norm(lines[inside, 1], axis=1)
    np.testing.assert_allclose(lengths / np.round(lengths / 1.25), 1.25, rtol=1e-4)


def test_a_slab_in_space_is_a_sheet_that_bends():
    field = linear_field([[0, 0, 0], [0, 0, 0], [0.2, 0, 0]])
    lines = grid_lines(field, View(axis=0, index=8, slab=1, flat=False), spacing_mm=4.0).segments
    x, z = lines[:, 0, 2], lines[:, 0, 0]
    np.testing.assert_allclose(z, 8 + 0.2 * (x - 11.5), atol=1e-4)


def test_bounded_lines_stay_in_their_structure():
    field = constant_field((0.0, 0.0, 0.0))
    labels = np.zeros(field.shape, np.int32)
    labels[:, 6:15, 4:9] = 7
    lines = grid_lines(field, View(axis=0, index=5), spacing_mm=1.0, region=Region("seven", labels, 7)).segments
    assert len(lines)
    ends = np.concatenate([lines[:, 0], lines.sum(axis=1)])
    assert (ends.min(axis=0) == [5, 6, 4]).all()
    assert (ends.max(axis=0) == [5, 14, 8]).all()


@pytest.mark.parametrize("view", [View(axis=0, index=1), SPACE, View(axis=2, index=3, slab=5, flat=False)])
def test_never_more_than_the_limit(view):
    found = grid_lines(constant_field((1.0, 1.0, 1.0), shape=(60, 50, 40), affine=np.eye(4)), view, spacing_mm=1.0, limit=3000)
    assert 1000 < len(found.segments) <= 3000
    assert found.spacing_mm > 1


def test_lines_reach_the_rim_of_a_turned_grid():
    lines = grid_lines(constant_field((0.0, 0.0, 0.0), affine=LPS), View(axis=1, index=3), spacing_mm=7.0).segments
    ends = lines.sum(axis=1)
    assert (ends.max(axis=0) == [11, 3, 19]).all()
