"""Which way is up, left and right in the pictures, and that they are drawn for every kind of grid."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from grids import oriented_grid
from matplotlib.image import imread
from qa_cases import Pair, make_result

from napari_deformreg.errors import InputError
from napari_deformreg.qa import build_report, draw_pictures
from napari_deformreg.qa.views import best_views, views_through
from napari_deformreg.space import Grid, LabelMap, Volume
from napari_deformreg.space.jacobian import displacement_vox_to_mm


def world_ramp(grid: Grid, axis: int) -> Volume:
    """Brightness grows to the right, anterior or superior."""
    return Volume(grid.voxel_to_world(grid.voxel_indices())[:, axis].reshape(grid.shape) - 1e4, grid)


def test_radiological_convention(grid: Grid) -> None:
    """On every grid: patient right on the left, anterior on top (axial) or on the left (sagittal), superior on top."""
    right, anterior, superior = (world_ramp(grid, axis) for axis in range(3))
    everywhere = np.ones(grid.shape, bool)
    axial, coronal, sagittal = best_views(right, everywhere)
    assert [view.plane for view in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    for view, volume, left in ((axial, right, "R"), (coronal, right, "R"), (sagittal, anterior, "A")):
        picture = view.cut(volume.data, grid)
        assert picture[:, 0].mean() > picture[:, -1].mean()
        assert view.marks[0] == left
    for view, volume, top in ((axial, anterior, "A"), (coronal, superior, "S"), (sagittal, superior, "S")):
        picture = view.cut(volume.data, grid)
        assert picture[0].mean() > picture[-1].mean()
        assert view.marks[2] == top


def test_arrows_point_where_the_world_vectors_point(grid: Grid) -> None:
    """A vector along the picture's own right and up directions becomes (1, 0) and (0, 1)."""
    image = world_ramp(grid, 0)
    for view in best_views(image, np.ones(grid.shape, bool)):
        center = grid.center
        for step in np.eye(2):
            near, _ = view.place(center[None], grid)
            vector = next(
                v for axis in range(3) for v in (grid.direction[:, axis], -grid.direction[:, axis])
                if np.allclose((view.place((center + v)[None], grid)[0] - near)[0] * (view.spacing[1], -view.spacing[0]), step, atol=1e-6)
            )  # fmt: skip
            field = np.broadcast_to(vector, (*grid.shape, 3))
            np.testing.assert_allclose(view.cut_vectors(field, grid)[0, 0], step, atol=1e-6)


def test_place_finds_the_pixel_of_a_voxel(grid: Grid) -> None:
    marked = np.zeros(grid.shape, np.float32)
    voxel = tuple(n // 3 for n in grid.shape)
    marked[voxel] = 1
    point = grid.voxel_to_world(np.array([voxel], float))
    for view in views_through(Volume(marked, grid), np.ones(grid.shape, bool), tuple(point[0])):
        ((right, down),), distance = view.place(point, grid)
        assert view.cut(marked, grid)[round(down), round(right)] == 1
        assert distance[0] == pytest.approx(0, abs=1e-6)


def test_the_liveliest_slice_is_shown() -> None:
    grid = oriented_grid("RAS", shape=(30, 30, 30))
    data = np.zeros(grid.shape, np.float32)
    data[5:25, 5:25, 5:25] = 10
    data[6:24:2, 5:25, 17:20] = 50
    axial = best_views(Volume(data, grid), data > 0)[0]
    assert 16 <= axial.position <= 20


def test_pictures_of_a_pair(pair: Pair) -> None:
    report = build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result, **pair.report_arguments())
    labels = {"fixed_labels": pair.fixed_labels, "moved_labels": pair.moved_labels}
    pictures = draw_pictures(pair.fixed, pair.moved, pair.moving_before, pair.result, report, **labels)
    assert set(pictures) == {"preview", "structures", "landmarks", "progress"}
    for png in pictures.values():
        pixels = imread(BytesIO(png))
        assert pixels.shape[0] > 100
        assert pixels[..., :3].std() > 0.01


def test_a_fold_gets_its_picture_and_its_color(pair: Pair) -> None:
    grid = pair.fixed.grid
    u = np.zeros((*grid.shape, 3), np.float32)
    u[10:14, 10:14, grid.shape[2] // 2, 0] = 3
    result = make_result(grid, displacement_vox_to_mm(u, grid), history=())
    report = build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, result)
    pictures = draw_pictures(pair.fixed, pair.moved, pair.moving_before, result, report)
    assert set(pictures) == {"preview", "folds"}
    pixels = imread(BytesIO(pictures["folds"]))[..., :3]
    green = np.array([0x39, 0xFF, 0x14]) / 255
    assert (np.abs(pixels - green).max(-1) < 0.02).sum() > 50


def test_flat_and_empty_images_are_drawn(pair: Pair) -> None:
    """Nothing moved, nothing seen before: no division by zero, no warning."""
    grid = pair.fixed.grid
    nothing = Volume(np.zeros(grid.shape), grid)
    still = make_result(grid, np.zeros((*grid.shape, 3)), history=())
    report = build_report(nothing, nothing, nothing, nothing, still)
    assert set(draw_pictures(nothing, nothing, nothing, still, report)) == {"preview"}


def test_refuses_what_lies_elsewhere(pair: Pair) -> None:
    report = build_report(pair.fixed, pair.moving, pair.moved, pair.moving_before, pair.result)
    elsewhere = LabelMap(np.ones((4, 4, 4), np.int32), Grid((4, 4, 4), np.eye(4)), name="stray")
    with pytest.raises(InputError, match="stray"):
        draw_pictures(pair.fixed, pair.moved, pair.moving_before, pair.result, report, fixed_labels=elsewhere)
