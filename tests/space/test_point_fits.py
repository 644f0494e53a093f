"""Transforms through landmarks equal those of SimpleITK and SciPy."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.interpolate import RBFInterpolator

from napari_deformreg.errors import InputError
from napari_deformreg.space import LandmarkPairs
from napari_deformreg.space.point_fits import ThinPlateSpline, fit_pairs, fit_start


def some_pairs(n=12, seed=0, flat=False, noise=2.0):
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(-60, 60, (n, 3))
    matrix = np.array([[0.9, 0.3, 0.1], [-0.35, 1.05, 0.0], [0.05, -0.1, 0.95]])
    moving = fixed @ matrix.T + [12.0, -30.0, 7.0] + noise * rng.normal(size=(n, 3))
    if flat:
        fixed[:, 2], moving[:, 2] = 4.0, -9.0
    return LandmarkPairs(tuple(f"p{i}" for i in range(n)), fixed, moving)


def itk_matrix(transform, pairs, weights=None):
    """What ITK's initializer finds; LPS or RAS makes no difference to it."""
    flat = [list(map(float, side.ravel())) for side in (pairs.fixed_points, pairs.moving_points)]
    made = sitk.LandmarkBasedTransformInitializer(transform, *flat, landmarkWeight=[] if weights is None else list(map(float, weights)))
    points = np.random.default_rng(1).uniform(-50, 50, (20, 3))
    return points, np.array([made.TransformPoint(tuple(point)) for point in points])


@pytest.mark.parametrize(("kind", "transform"), [("rigid", sitk.VersorRigid3DTransform), ("affine", lambda: sitk.AffineTransform(3))])
def test_matrices_equal_simpleitk(kind, transform):
    pairs = some_pairs()
    points, expected = itk_matrix(transform(), pairs)
    np.testing.assert_allclose(fit_pairs(pairs, kind).map(points), expected, atol=1e-6)


def test_similarity_turns_as_simpleitk_and_equals_it_where_the_pairs_are_exact():
    pairs = some_pairs()
    turn = fit_pairs(pairs, "rigid").matrix[:3, :3]
    exact = LandmarkPairs(pairs.names, pairs.fixed_points, 1.3 * pairs.fixed_points @ turn.T + [5.0, 6.0, -70.0])
    points, expected = itk_matrix(sitk.Similarity3DTransform(), exact)
    np.testing.assert_allclose(fit_pairs(exact, "similarity").map(points), expected, atol=1e-6)
    made = sitk.LandmarkBasedTransformInitializer(
        sitk.Similarity3DTransform(), pairs.fixed_points.ravel().tolist(), pairs.moving_points.ravel().tolist()
    )
    theirs, ours = np.array(made.GetMatrix()).reshape(3, 3), fit_pairs(pairs, "similarity").matrix[:3, :3]
    np.testing.assert_allclose(ours / np.cbrt(np.linalg.det(ours)), theirs / np.cbrt(np.linalg.det(theirs)), atol=1e-6)


def test_similarity_is_the_least_squares_one():
    """ITK takes the scale from the spreads (Horn's symmetric one); ours minimizes the distance: no neighbor does better."""
    pairs = some_pairs()
    best = fit_pairs(pairs, "similarity").matrix

    def cost(matrix):
        return np.square(pairs.fixed_points @ matrix[:3, :3].T + matrix[:3, 3] - pairs.moving_points).sum()

    center = np.append(pairs.fixed_points.mean(0), 1.0)
    for scale in (0.999, 1.001):
        other = best.copy()
        other[:3, :3] *= scale
        other[:3, 3] += (best @ center - other @ center)[:3]
        assert cost(best) < cost(other)


def test_weights_equal_simpleitk():
    """ITK multiplies differences with its weights, so it takes the root of ours."""
    pairs, weights = some_pairs(), np.random.default_rng(5).uniform(0.1, 1, 12)
    points, expected = itk_matrix(sitk.AffineTransform(3), pairs, np.sqrt(weights))
    np.testing.assert_allclose(fit_pairs(pairs, "affine", weights).map(points), expected, atol=1e-6)


def test_weight_zero_leaves_a_pair_out():
    pairs = some_pairs()
    weights = np.ones(12)
    weights[3] = 0
    kept = [n for n in range(12) if n != 3]
    rest = LandmarkPairs(tuple(pairs.names[n] for n in kept), pairs.fixed_points[kept], pairs.moving_points[kept])
    for kind in ("rigid", "similarity", "affine", "thin_plate"):
        np.testing.assert_allclose(fit_pairs(pairs, kind, weights).map(pairs.fixed_points), fit_pairs(rest, kind).map(pairs.fixed_points))


def test_a_mirror_image_is_not_mirrored():
    pairs = some_pairs(noise=0.0)
    mirrored = LandmarkPairs(pairs.names, pairs.fixed_points, pairs.fixed_points * [-1, 1, 1])
    assert np.linalg.det(fit_pairs(mirrored, "rigid").matrix[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize(("kernel", "scipy_kernel"), [("bigwarp", "thin_plate_spline"), ("biharmonic", "linear")])
def test_thin_plate_equals_scipy_in_space(kernel, scipy_kernel):
    pairs = some_pairs()
    points = np.random.default_rng(2).uniform(-80, 80, (40, 3))
    theirs = RBFInterpolator(pairs.fixed_points, pairs.moving_points, kernel=scipy_kernel, degree=1)
    ours = ThinPlateSpline.through(pairs, kernel=kernel)
    np.testing.assert_allclose(ours.map(points), theirs(points), atol=1e-6)
    np.testing.assert_allclose(ours.map(pairs.fixed_points), pairs.moving_points, atol=1e-8)


def test_thin_plate_equals_scipy_in_a_plane():
    pairs = some_pairs(flat=True)
    points = np.random.default_rng(2).uniform(-80, 80, (40, 3))
    points[:, 2] = 4.0
    theirs = RBFInterpolator(pairs.fixed_points[:, :2], pairs.moving_points[:, :2], kernel="thin_plate_spline")
    ours = ThinPlateSpline.through(pairs).map(points)
    np.testing.assert_allclose(ours[:, :2], theirs(points[:, :2]), atol=1e-6)
    np.testing.assert_allclose(ours[:, 2], -9.0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "scipy_kernel"), [("bigwarp", "thin_plate_spline"), ("biharmonic", "linear")])
def test_an_unsure_pair_is_met_in_part(kernel, scipy_kernel):
    pairs, weights = some_pairs(), np.ones(12)
    weights[4] = 0.2
    spline = ThinPlateSpline.through(pairs, weights, kernel)
    miss = np.linalg.norm(spline.map(pairs.fixed_points) - pairs.moving_points, axis=1)
    assert miss[4] > 0.1
    assert np.delete(miss, 4).max() < 1e-8
    r = np.linalg.norm(pairs.fixed_points[:, None] - pairs.fixed_points[None], axis=-1)
    entries = r**2 * np.log(np.maximum(r, 1e-30)) if kernel == "bigwarp" else r
    smoothing = np.zeros(12)
    smoothing[4] = 4.0 * np.abs(entries).mean()
    theirs = RBFInterpolator(pairs.fixed_points, pairs.moving_points, kernel=scipy_kernel, degree=1, smoothing=smoothing)
    np.testing.assert_allclose(spline.map(pairs.fixed_points), theirs(pairs.fixed_points), atol=1e-6)


def test_an_affine_of_a_slice_keeps_the_slice():
    pairs = some_pairs(flat=True, noise=0.0)
    made = fit_pairs(pairs, "affine")
    np.testing.assert_allclose(made.map(pairs.fixed_points)[:, 2], -9.0, atol=1e-9)
    assert np.linalg.det(made.matrix[:3, :3]) > 0.5


def test_a_start_is_affine_only_with_pairs_enough():
    few, many = some_pairs(5), some_pairs(12)
    turned = fit_start(few).matrix[:3, :3]
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(fit_start(many).matrix, fit_pairs(many, "affine").matrix)


def test_refusals():
    with pytest.raises(InputError, match="at least 3 landmark pairs; got 2"):
        fit_pairs(some_pairs(2), "rigid")
    line = np.outer(np.arange(4.0), [1.0, 2.0, 0.5])
    with pytest.raises(InputError, match="lie on one line"):
        fit_pairs(LandmarkPairs(("a", "b", "c", "d"), line, line), "affine")
    with pytest.raises(InputError, match="one weight of 0 or more a pair"):
        fit_pairs(some_pairs(4), "rigid", np.array([1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="got 'elastic'"):
        fit_pairs(some_pairs(4), "elastic")
