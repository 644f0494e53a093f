import numpy as np
import pytest
import SimpleITK as sitk
from grids import GRIDS, oblique_grid, oriented_grid, points_around, smooth_field

from napari_deformreg.errors import InputError
from napari_deformreg.space import AffineTransform, DisplacementField, Grid, TransformChain, invert_points
from napari_deformreg.space.transforms import RESIDUAL_LIMIT_VOX

TO_LPS = np.array([-1.0, -1.0, 1.0])


def itk_field(field):
    vectors = (field.displacement_mm.astype(np.float64) * TO_LPS).transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ field.grid.affine
    image.SetSpacing(field.grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / field.grid.spacing).ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def itk_map(transform, points):
    return np.array([transform.TransformPoint((p * TO_LPS).tolist()) for p in points]) * TO_LPS


def test_displacement_inside_at_the_rim_and_outside_agrees_with_itk(grid, rng):
    field = smooth_field(grid, rng, 6.0)
    last = np.array(grid.shape) - 1.0
    low, high = rng.uniform(-0.7, 0.2, (300, 3)), last + rng.uniform(-0.2, 0.7, (300, 3))
    rim = grid.voxel_to_world(np.where(rng.random((300, 3)) < 0.5, low, high))
    points = np.concatenate([points_around(grid, rng, 300, margin_vox=3), rim])
    np.testing.assert_allclose(field.map(points), itk_map(itk_field(field), points), atol=1e-9)


def test_displacement_of_one_slice_agrees_with_itk(rng):
    grid = oriented_grid("LPS", shape=(20, 16, 1), spacing=(1, 1.5, 2))
    field = smooth_field(grid, rng, 3.0)
    points = points_around(grid, rng, 200, margin_vox=0.8)
    np.testing.assert_allclose(field.map(points), itk_map(itk_field(field), points), atol=1e-9)


def test_upper_faces_do_not_belong_to_the_field():
    field = DisplacementField(Grid((4, 4, 4), np.eye(4)), np.ones((4, 4, 4, 3), np.float32))
    faces = np.array([[3.5, 1, 1], [-0.5, 1, 1]])
    np.testing.assert_array_equal(field.displacement_at(faces), [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(field.map(faces), itk_map(itk_field(field), faces))


def test_gradient_of_a_linear_field_is_its_matrix(grid, rng):
    matrix = rng.normal(0, 0.1, (3, 3))
    centers = grid.voxel_to_world(grid.voxel_indices())
    field = DisplacementField(grid, ((centers - grid.center) @ matrix.T).reshape(*grid.shape, 3))
    gradient = field.displacement_gradient_at(points_around(grid, rng, 50))
    np.testing.assert_allclose(gradient, np.broadcast_to(matrix, (50, 3, 3)), atol=1e-6)


def test_gradient_within_a_cell_is_the_interpolants(rng):
    field = smooth_field(oblique_grid(), rng, 5.0, smoothing_vox=1)
    points = field.grid.voxel_to_world(rng.integers(2, 10, (40, 3)) + rng.uniform(0.1, 0.9, (40, 3)))
    numeric = np.stack([(field.displacement_at(points + h) - field.displacement_at(points - h)) / 2e-4 for h in 1e-4 * np.eye(3)], -1)
    np.testing.assert_allclose(field.displacement_gradient_at(points, within_cell=True), numeric, atol=1e-6)


def test_affine_inverse_is_exact(rng):
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.2, (3, 4))
    affine = AffineTransform(matrix)
    points = rng.normal(0, 100, (20, 3))
    np.testing.assert_allclose(affine.inverse().map(affine.map(points)), points, atol=1e-10)


def test_a_chain_applies_its_first_transform_first():
    shift = AffineTransform(np.array([[1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    double = AffineTransform(np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(TransformChain((shift, double)).map(np.ones((1, 3))), [[22, 2, 2]])


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.full((4, 4), np.inf)], ids=["singular", "infinite"])
def test_impossible_matrices_are_refused(matrix):
    with pytest.raises(InputError):
        AffineTransform(matrix)


def test_fields_that_are_not_finite_or_do_not_fit_are_refused():
    grid = GRIDS["RAS"]
    with pytest.raises(InputError, match="shape"):
        DisplacementField(grid, np.zeros((3, 3, 3, 3)))
    vectors = np.zeros((*grid.shape, 3))
    vectors[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        DisplacementField(grid, vectors)


def test_points_are_inverted_on_every_grid(grid, rng):
    field = smooth_field(grid, rng, 4.0, smoothing_vox=5)
    truth = points_around(Grid(grid.shape, grid.affine), rng, 300)
    found = invert_points(field, field.map(truth))
    assert found.residual_mm.max() < RESIDUAL_LIMIT_VOX * grid.spacing.min()
    np.testing.assert_allclose(field.map(found.points), field.map(truth), atol=1e-3)


def bent_field() -> DisplacementField:
    """Large (9 voxels) and regular, but u's slope reaches 1.5, where the plain fixed-point iteration diverges."""
    grid = oblique_grid(shape=(48, 40, 36))
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    bump = np.exp(-2 * (i**2 + j**2 + k**2)) * (1 - i**2) * (1 - j**2) * (1 - k**2)
    half = (np.array(grid.shape) - 1) / 2
    relative = np.stack([1.5 * i - 0.5 * j, 1.5 * j + 0.5 * i, 1.5 * k], -1) * bump[..., None]
    return DisplacementField(grid, (relative * half) @ grid.affine[:3, :3].T)


def test_newton_inverts_a_field_on_which_fixed_points_diverge(rng):
    field = bent_field()
    truth = points_around(field.grid, rng, 500)
    assert np.linalg.det(np.eye(3) + field.displacement_gradient_at(truth)).min() > 0.05
    target = field.map(truth)
    guess = target.copy()
    for _ in range(50):
        guess = target - field.displacement_at(guess)
    assert np.linalg.norm(field.map(guess) - target, axis=1).max() > 1.0
    found = invert_points(field, target)
    assert found.residual_mm.max() < RESIDUAL_LIMIT_VOX * field.grid.spacing.min()
    np.testing.assert_allclose(found.points, truth, atol=1e-3)


def test_points_that_nothing_maps_to_keep_an_honest_residual():
    # u pulls every voxel to the middle plane and beyond: nothing inside maps to the far corner.
    grid = Grid((20, 20, 20), np.eye(4))
    field = DisplacementField(grid, np.full((20, 20, 20, 3), 6.0))
    found = invert_points(field, np.array([[2.0, 2.0, 2.0], [15.0, 15.0, 15.0]]))
    np.testing.assert_allclose(np.linalg.norm(field.map(found.points) - [[2, 2, 2], [15, 15, 15]], axis=1), found.residual_mm)
    assert found.residual_mm[1] < 1e-6
    assert found.residual_mm[0] > 1 or found.outside_field[0]


def test_the_start_is_used():
    grid = Grid((20, 20, 20), np.eye(4))
    field = DisplacementField(grid, np.full((20, 20, 20, 3), 2.0))
    start = np.array([[5.0, 5, 5]])
    found = invert_points(field, start + 2, start=start, steps=0)
    assert found.residual_mm.max() == 0
