"""The fold report on fields whose folds are planted."""

from __future__ import annotations

import numpy as np
import pytest
from grids import oblique_grid, smooth_field
from qa_cases import make_result
from scipy import ndimage

from napari_deformreg.errors import InputError
from napari_deformreg.qa import Foreground, fold_report
from napari_deformreg.space import AffineTransform, Grid, LabelMap
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox, displacement_vox_to_mm


@pytest.fixture
def grid() -> Grid:
    return oblique_grid((24, 22, 20))


def planted(grid: Grid) -> np.ndarray:
    """Two pushed voxels: a mild one inside, a strong one outside the foreground of `left_half`."""
    u = np.zeros((*grid.shape, 3), np.float32)
    u[6, 8, 9, 0] = 1.3
    u[18, 8, 9, 1] = 2.5
    return displacement_vox_to_mm(u, grid)


def left_half(grid: Grid) -> Foreground:
    mask = np.zeros(grid.shape, bool)
    mask[:12] = True
    return Foreground(mask, "left half")


def test_planted_folds_are_listed(grid: Grid) -> None:
    labels = np.zeros(grid.shape, np.int32)
    labels[:12] = 17
    report = fold_report(make_result(grid, planted(grid)), left_half(grid), LabelMap(labels, grid, label_names={17: "Hippocampus"}))
    inside, outside = report.regions
    assert inside.label == 1
    assert inside.structure == "Hippocampus"
    assert outside.structure == ""
    assert inside.foreground_voxels == inside.voxels == report.foreground.digital_count
    assert outside.foreground_voxels == 0
    assert outside.smallest_determinant < inside.smallest_determinant < 0
    assert inside.smallest_determinant == pytest.approx(-0.3, abs=1e-5)
    assert np.linalg.norm(np.array(inside.center_voxel) - (6, 8, 9)) <= 1
    np.testing.assert_allclose(grid.world_to_voxel(np.array([inside.center_mm]))[0], inside.center_voxel, atol=1e-6)
    assert inside.volume_mm3 == pytest.approx(inside.voxels * np.prod(grid.spacing))
    assert report.labels[inside.center_voxel] == 1
    assert report.labels[outside.center_voxel] == 2
    assert report.whole_grid.digital_count == inside.voxels + outside.voxels == np.count_nonzero(report.fold_mask)
    assert report.foreground.digital_percent == pytest.approx(100 * inside.voxels / (12 * 22 * 20))
    assert report.foreground.digital_minimum == pytest.approx(inside.smallest_determinant)


def test_labels_are_the_connected_folds(grid: Grid) -> None:
    rough = displacement_vox_to_mm(np.random.default_rng(0).normal(0, 0.25, (*grid.shape, 3)).astype(np.float32), grid)
    report = fold_report(make_result(grid, rough), left_half(grid))
    folded = digital_fold_mask(displacement_mm_to_vox(rough, grid))
    np.testing.assert_array_equal(report.fold_mask, folded)
    assert len(report.regions) == ndimage.label(folded, np.ones((3, 3, 3)))[1] > 3
    sizes = np.bincount(report.labels.ravel())[1:]
    assert [region.voxels for region in report.regions] == sizes.tolist()
    assert [region.label for region in report.regions] == list(range(1, len(report.regions) + 1))
    within = [r.smallest_determinant for r in report.regions if r.foreground_voxels]
    beyond = [r.smallest_determinant for r in report.regions if not r.foreground_voxels]
    assert within == sorted(within)
    assert beyond == sorted(beyond)
    assert all(r.foreground_voxels for r in report.regions[: len(within)])


def test_a_smooth_field_does_not_fold(grid: Grid, rng: np.random.Generator) -> None:
    report = fold_report(make_result(grid, smooth_field(grid, rng, 2.0).displacement_mm), left_half(grid))
    assert report.regions == ()
    assert not report.labels.any()
    assert report.foreground.ndv_percent == 0
    assert report.foreground.digital_minimum > 0


def test_volume_change_is_the_one_of_the_linear_map(grid: Grid) -> None:
    """u(x) = (B - 1) (x - c): every voxel's volume changes by det(B); the map file also carries the affine's factor."""
    matrix = np.array([[1.1, 0.05, 0], [0, 0.9, 0.1], [0.02, 0, 1.3]])
    points = grid.voxel_to_world(grid.voxel_indices()) - grid.center
    displacement_mm = (points @ (matrix - np.eye(3)).T).reshape(*grid.shape, 3)
    affine = AffineTransform(np.diag([2.0, 1.0, 1.0, 1.0]))
    report = fold_report(make_result(grid, displacement_mm, affine=affine), left_half(grid))
    expected = np.linalg.det(matrix)
    np.testing.assert_allclose(report.determinant, expected, rtol=1e-4)
    np.testing.assert_allclose(report.jacobian.data, 2 * expected, rtol=1e-4)
    assert report.affine_determinant == pytest.approx(2)
    assert report.foreground.jacobian_percentiles[50] == pytest.approx(expected, rel=1e-4)
    assert report.foreground.sd_log_jacobian == pytest.approx(0, abs=1e-4)


def test_both_kinds_of_unevenness(grid: Grid, rng: np.random.Generator) -> None:
    report = fold_report(make_result(grid, smooth_field(grid, rng, 3.0).displacement_mm), left_half(grid))
    inside = report.determinant[left_half(grid).mask].astype(float)
    assert report.foreground.sd_log_jacobian == pytest.approx(np.log(inside).std(), rel=1e-4)
    core = report.determinant[2:12, 2:-2, 2:-2].astype(float)
    assert report.foreground.sd_log_jacobian_l2r == pytest.approx(np.log(core + 3).std(), rel=1e-4)


def test_refuses_a_foreground_of_another_shape(grid: Grid) -> None:
    with pytest.raises(InputError, match="displacement's grid"):
        fold_report(make_result(grid, planted(grid)), Foreground(np.ones((3, 3, 3), bool), "elsewhere"))
