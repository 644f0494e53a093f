"""Overlap against scipy's distance transform, simple bodies and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from grids import oblique_grid
from scipy import ndimage

from napari_deformreg.errors import InputError
from napari_deformreg.qa.overlap import on_grid, structure_overlaps, structure_rows
from napari_deformreg.space import Grid, LabelMap


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), [2, 2, 2 if shape[2] > 1 else 0])
    return np.digitize(smooth, np.quantile(smooth, [0.5, 0.75, 0.9])).astype(np.int32)


def distances_by_transform(one: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """From each surface voxel of one to the nearest of the other, by scipy's Euclidean distance transform."""
    axes = [axis for axis in range(3) if one.shape[axis] > 1]
    cross = ndimage.generate_binary_structure(len(axes), 1)

    def surface(body: np.ndarray) -> np.ndarray:
        return body & ~ndimage.binary_erosion(body, cross, border_value=0)

    one, other = one.squeeze(), other.squeeze()
    return ndimage.distance_transform_edt(~surface(other), sampling=spacing[axes])[surface(one)]


@pytest.mark.parametrize("shape", [(20, 24, 16), (40, 30, 1)], ids=["3d", "2d"])
def test_distances_equal_the_distance_transform(shape: tuple[int, int, int]) -> None:
    grid = oblique_grid(shape)
    fixed, moved = blobs(1, shape), blobs(2, shape)
    for row in structure_overlaps(LabelMap(fixed, grid), LabelMap(moved, grid)):
        a, b = fixed == row.label, moved == row.label
        there, back = distances_by_transform(a, b, grid.spacing), distances_by_transform(b, a, grid.spacing)
        assert row.hd95_after_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
        assert row.mean_surface_distance_after_mm == pytest.approx((there.mean() + back.mean()) / 2)
        assert row.dice_after == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert row.dice_before is None


def test_dice_equals_simpleitk() -> None:
    shape = (20, 24, 16)
    fixed, moved = blobs(3, shape), blobs(4, shape)
    grid = Grid(shape, np.eye(4))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moved))
    rows = structure_overlaps(LabelMap(fixed, grid), LabelMap(moved, grid))
    assert [row.label for row in rows] == [1, 2, 3]
    for row in rows:
        assert row.dice_after == pytest.approx(overlap.GetDiceCoefficient(row.label))


def test_a_shifted_box_is_off_by_its_shift_in_mm() -> None:
    grid = oblique_grid((40, 20, 20), spacing=(1.5, 1.0, 2.5))
    box = np.zeros(grid.shape, np.int32)
    box[5:15, 5:15, 5:15] = 7
    rows = structure_overlaps(LabelMap(box, grid), LabelMap(np.roll(box, 20, axis=0), grid))
    assert rows[0].dice_after == 0
    assert rows[0].hd95_after_mm == pytest.approx(20 * 1.5)
    assert rows[0].fixed_volume_mm3 == pytest.approx(1000 * 1.5 * 2.5)


def test_before_and_volumes_use_the_moving_grid() -> None:
    """Moving has half the spacing; placed by its header alone it covers the same box."""
    coarse = Grid((10, 10, 10), np.diag([2.0, 2, 2, 1]))
    fine_affine = np.eye(4)
    fine_affine[:3, 3] = -0.5
    fine = Grid((20, 20, 20), fine_affine)
    body = np.zeros(coarse.shape, np.int32)
    body[3:7, 3:7, 3:7] = 1
    moving = LabelMap(body.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    assert np.array_equal(on_grid(moving, coarse).data, body)
    (row,) = structure_overlaps(LabelMap(body, coarse), LabelMap(np.roll(body, 1, axis=1), coarse), moving)
    assert row.dice_before == 1
    assert row.hd95_before_mm == 0
    assert row.dice_after == pytest.approx(0.75)
    assert (row.moving_volume_mm3, row.fixed_volume_mm3, row.moved_volume_mm3) == pytest.approx((512, 512, 512))


def test_a_structure_of_one_side_only() -> None:
    grid = Grid((8, 8, 8), np.eye(4))
    fixed, moved = np.zeros(grid.shape, np.int32), np.zeros(grid.shape, np.int32)
    fixed[2:5, 2:5, 2:5] = 4
    moved[2:5, 2:5, 2:5] = 9
    rows = {row.label: row for row in structure_overlaps(LabelMap(fixed, grid), LabelMap(moved, grid), LabelMap(moved, grid))}
    assert not rows[4].in_both
    assert not rows[9].in_both
    assert rows[4].dice_after == 0
    assert rows[4].hd95_after_mm is None
    assert rows[4].moving_volume_mm3 == 0


def test_a_structure_lost_on_the_way_counts_as_no_overlap() -> None:
    grid = Grid((8, 8, 8), np.eye(4))
    body = np.zeros(grid.shape, np.int32)
    body[2:5, 2:5, 2:5] = 4
    (row,) = structure_overlaps(LabelMap(body, grid), LabelMap(np.zeros_like(body), grid), LabelMap(body, grid))
    assert row.in_both
    assert row.dice_after == 0
    assert row.hd95_after_mm is None


@pytest.mark.parametrize("numbers", [(-5, 3), (1, 2_000_000_000)])
def test_any_label_numbers(numbers: tuple[int, int]) -> None:
    grid = Grid((8, 8, 8), np.eye(4))
    data = np.zeros(grid.shape, np.int32)
    data[1:4], data[4:6] = numbers
    rows = structure_overlaps(LabelMap(data, grid), LabelMap(data, grid))
    assert [row.label for row in rows] == sorted(numbers)
    assert all(row.dice_after == 1 and row.hd95_after_mm == 0 for row in rows)


def test_no_structures_at_all() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    empty = LabelMap(np.zeros(grid.shape, np.int32), grid)
    assert structure_overlaps(empty, empty) == ()


def test_rows_are_flat() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    full = LabelMap(np.ones(grid.shape, np.int32), grid, label_names={1: "all"})
    (row,) = structure_rows(structure_overlaps(full, full))
    assert row["name"] == "all"
    assert row["dice_after"] == 1


def test_refuses_another_grid() -> None:
    body = np.ones((4, 4, 4), np.int32)
    with pytest.raises(InputError, match="fixed grid"):
        structure_overlaps(LabelMap(body, Grid((4, 4, 4), np.eye(4))), LabelMap(body, Grid((4, 4, 4), np.diag([2.0, 2, 2, 1]))))
