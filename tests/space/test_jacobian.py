"""The compiled determinants against plain numpy ones, planted folds and cases worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid
from napari_deformreg.space.jacobian import (
    central_determinant,
    digital_fold_mask,
    digital_minimum,
    displacement_mm_to_vox,
    displacement_vox_to_mm,
    ndv,
)


def naive_determinants(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All one-sided determinants (2^d, i, j, k) and, in 3-D, the two star ones; u is continued by its rim values."""
    axes = [axis for axis in range(3) if u.shape[axis] > 1]
    padded = np.pad(u.astype(np.float64), [(1, 1)] * 3 + [(0, 0)], mode="edge")

    def mapped_from(offset: np.ndarray) -> np.ndarray:
        """phi(x + offset) - phi(x)."""
        window = tuple(slice(1 + o, 1 + o + n) for o, n in zip(offset, u.shape[:3], strict=True))
        return (padded[window] - u + offset)[..., axes]

    unit = np.eye(3, dtype=int)
    one_sided = [
        np.linalg.det(np.stack([sign * mapped_from(sign * unit[axis]) for sign, axis in zip(signs, axes, strict=True)], -1))
        for signs in itertools.product((1, -1), repeat=len(axes))
    ]
    if len(axes) == 2:
        return np.stack(one_sided), np.empty((0, *u.shape[:3]))
    star = [
        np.linalg.det(np.stack([mapped_from(np.array(o)) for o in offsets], -1))
        for offsets in ([(-1, -1, 0), (-1, 0, -1), (0, -1, -1)], [(1, 1, 0), (0, 1, 1), (1, 0, 1)])
    ]
    return np.stack(one_sided), np.stack(star)


def by_components(u: np.ndarray) -> np.ndarray:
    """The same vectors, stored component by component, as the engine does."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(u, -1, 0)), 0, -1)


@pytest.fixture(params=itertools.product([(7, 8, 9), (1, 8, 9), (7, 1, 9), (7, 8, 1), (2, 3, 4), (2, 2, 2)], [True, False]), ids=str)
def rough_field(request: pytest.FixtureRequest) -> np.ndarray:
    shape, interleaved = request.param
    u = np.random.default_rng(3).normal(0, 0.45, (*shape, 3)).astype(np.float32)
    return u if interleaved else by_components(u)


def test_equals_plain_numpy(rough_field: np.ndarray) -> None:
    one_sided, star = naive_determinants(rough_field)
    everything = np.concatenate([one_sided, star / 2])
    assert (everything.min(0) <= 0).any()
    assert (everything.min(0) > 0).any()
    np.testing.assert_array_equal(digital_fold_mask(rough_field), everything.min(0) <= 0)
    np.testing.assert_array_equal(digital_fold_mask(rough_field, margin=0.2), everything.min(0) <= 0.2)
    np.testing.assert_array_equal(digital_minimum(rough_field), digital_minimum(np.ascontiguousarray(rough_field)))
    np.testing.assert_allclose(digital_minimum(rough_field), everything.min(0), atol=1e-6)
    per_determinant = 6 if len(star) else 2
    folded = sum(-0.5 * np.minimum(d, 0) / per_determinant for d in [*one_sided, *star])
    np.testing.assert_allclose(ndv(rough_field), folded, atol=1e-6)


def test_central_equals_numpy_gradient(rough_field: np.ndarray) -> None:
    axes = [axis for axis in range(3) if rough_field.shape[axis] > 1]
    phi = rough_field + np.stack(np.meshgrid(*map(np.arange, rough_field.shape[:3]), indexing="ij"), -1)
    slopes = [[np.gradient(phi[..., component], axis=axis) for axis in axes] for component in axes]
    expected = np.linalg.det(np.moveaxis(np.array(slopes), (0, 1), (-2, -1)))
    np.testing.assert_allclose(central_determinant(rough_field), expected, atol=1e-5)


def test_identity() -> None:
    still = np.zeros((4, 5, 6, 3), np.float32)
    assert not digital_fold_mask(still).any()
    assert not digital_fold_mask(still, margin=0.99).any()
    np.testing.assert_array_equal(digital_minimum(still), 1)
    np.testing.assert_array_equal(ndv(still), 0)
    np.testing.assert_array_equal(central_determinant(still), 1)


def test_linear_map_has_its_determinant_inside() -> None:
    matrix = np.array([[1.2, 0.1, -0.2], [0.05, 0.8, 0.1], [0.1, -0.1, 1.1]])
    voxels = Grid((6, 6, 6), np.eye(4)).voxel_indices().reshape(6, 6, 6, 3)
    u = voxels @ (matrix - np.eye(3)).T
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(central_determinant(u), np.linalg.det(matrix), rtol=1e-6)
    np.testing.assert_allclose(digital_minimum(u)[inner].min(), np.linalg.det(matrix), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_voxel_pushed_past_its_neighbor_is_found(axis: int) -> None:
    u = np.zeros((9, 9, 9, 3), np.float32)
    u[4, 4, 4, axis] = 1.5
    marked = digital_fold_mask(u)
    beyond = [4, 4, 4]
    beyond[axis] = 5
    assert marked[4, 4, 4]
    assert marked[tuple(beyond)]
    assert not marked[:3].any()
    # One of the two differences along the axis is 1 - 1.5 and takes part in four one-sided determinants.
    assert ndv(u)[4, 4, 4] >= 4 * 0.5 * 0.5 / 6


def test_the_rim_is_tested() -> None:
    u = np.zeros((5, 5, 5, 3), np.float32)
    u[0, 2, 2, 0] = 1.25
    assert digital_fold_mask(u)[0, 2, 2]


def test_checkerboard_blinds_central_differences() -> None:
    """Every second voxel moves by one and more: neighbors swap places, but each voxel's two neighbors move alike."""
    parity = np.indices((8, 8, 8)).sum(0) % 2
    u = np.zeros((8, 8, 8, 3), np.float32)
    u[..., 0] = 1.2 * parity
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(central_determinant(u)[inner], 1, atol=1e-6)
    assert digital_fold_mask(u)[inner].all()
    assert digital_minimum(u)[inner].max() == pytest.approx(-0.2, abs=1e-6)


def test_only_a_star_determinant_sees_this_fold() -> None:
    """All axis neighbors stay; the three diagonal neighbors that the forward star looks at turn inside out."""
    u = np.zeros((7, 7, 7, 3), np.float32)
    for offset in [(1, 1, 0), (0, 1, 1), (1, 0, 1)]:
        u[3 + offset[0], 3 + offset[1], 3 + offset[2]] = (-1.4, -1.4, -1.4)
    one_sided, star = naive_determinants(u)
    assert one_sided[:, 3, 3, 3].min() > 0 > star[:, 3, 3, 3].min()
    assert digital_fold_mask(u)[3, 3, 3]


def test_a_plane_may_lie_across_any_axis() -> None:
    flat = np.random.default_rng(0).normal(0, 0.4, (6, 7, 2)).astype(np.float32)
    across_k = np.zeros((6, 7, 1, 3), np.float32)
    across_k[:, :, 0, :2] = flat
    across_j = np.zeros((6, 1, 7, 3), np.float32)
    across_j[:, 0, :, ::2] = flat
    np.testing.assert_array_equal(digital_minimum(across_k)[:, :, 0], digital_minimum(across_j)[:, 0, :])


def test_vectors_between_mm_and_voxels() -> None:
    """A voxel moved by u_vox lies where its world point moved by u_mm lies, on an oblique, anisotropic, flipped grid."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 1.3, 4.0])
    affine[:3, 3] = (100, -50, 7)
    grid = Grid((4, 5, 6), affine)
    u_vox = np.random.default_rng(2).normal(size=(4, 5, 6, 3)).astype(np.float32)
    u_mm = displacement_vox_to_mm(u_vox, grid)
    voxels = grid.voxel_indices()
    moved = grid.world_to_voxel(grid.voxel_to_world(voxels) + u_mm.reshape(-1, 3))
    np.testing.assert_allclose(moved - voxels, u_vox.reshape(-1, 3), atol=1e-5)
    np.testing.assert_allclose(displacement_mm_to_vox(u_mm, grid), u_vox, atol=1e-5)


def test_strided_views_are_read_right() -> None:
    u = np.random.default_rng(4).normal(0, 0.4, (3, 9, 8, 7)).astype(np.float32)
    view = np.moveaxis(u, 0, -1)
    np.testing.assert_array_equal(digital_minimum(view), digital_minimum(np.ascontiguousarray(view)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_vectors_of_turned_and_flipped_views_get_the_same_mm(order: tuple[int, ...]) -> None:
    grid = Grid((20, 19, 18), np.array([[0.0, 2.0, 0.1, 5], [-1.5, 0, 0, 6], [0, 0.2, 3.0, 7], [0, 0, 0, 1]]))
    stored = np.random.default_rng(6).normal(0, 2, (3, 20, 19, 18)).astype(np.float32)
    view = np.moveaxis(stored, 0, -1).transpose(*order, 3)[::-1, :, ::-1]
    expected = np.einsum("ijkc,dc->ijkd", view.astype(np.float64), grid.affine[:3, :3])
    found = displacement_vox_to_mm(view, grid)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(found, displacement_vox_to_mm(np.ascontiguousarray(view), grid))


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 2), (1, 1, 4, 3)])
def test_refuses_what_is_no_field(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="Expected vectors"):
        digital_fold_mask(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_what_is_not_finite(value: float) -> None:
    u = np.zeros((4, 4, 4, 3), np.float32)
    u[1, 2, 3, 0] = value
    for field in (u, by_components(u)):
        for measure in (ndv, digital_fold_mask, digital_minimum):
            with pytest.raises(InputError, match="NaN or infinite"):
                measure(field)
