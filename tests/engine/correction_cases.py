"""Textured pairs with a known smooth deformation, and registrations that have not found it."""

import numpy as np
from scipy import ndimage

from napari_deformreg.result import Provenance, RegistrationResult, Status
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, DisplacementField, Grid, Volume

BUMP_MM = np.array([3.0, -2.0, 2.5])


def texture(points, rng, count=60, finest_mm=7.0):
    """Waves of random directions and lengths: defined everywhere, so that no interpolation blurs the truth."""
    out = np.zeros(len(points))
    for _ in range(count):
        direction = rng.normal(size=3)
        wave = direction / np.linalg.norm(direction) * 2 * np.pi / rng.uniform(finest_mm, 3 * finest_mm)
        out += np.sin(points @ wave + rng.uniform(0, 2 * np.pi))
    return 100 + 15 * out


def bump(points, center, reach_mm=9.0):
    """The truth: fixed points move by up to `BUMP_MM`, most in the center."""
    square = ((points - center) ** 2).sum(axis=1, keepdims=True)
    return np.exp(-square / (2 * reach_mm**2)) * BUMP_MM


def pair_with_bump(grid, seed=1, reach_mm=9.0):
    """Fixed shows at x what moving shows at x + bump(x)."""
    center = grid.center
    points = grid.voxel_to_world(grid.voxel_indices())
    fixed = texture(points + bump(points, center, reach_mm), np.random.default_rng(seed)).reshape(grid.shape)
    moving = texture(points, np.random.default_rng(seed)).reshape(grid.shape)
    return Volume(fixed.astype(np.float32), grid, "fixed"), Volume(moving.astype(np.float32), grid, "moving")


def result_of(grid, displacement_mm=None, affine=None, **settings):
    """A registration with this displacement (none: nothing was found)."""
    shape = (*grid.shape, 3)
    u = np.zeros(shape, np.float32) if displacement_mm is None else displacement_mm.astype(np.float32)
    inverse = np.zeros(shape, np.float32) if displacement_mm is None else -u
    return RegistrationResult(
        affine or AffineTransform.identity(), DisplacementField(grid, u), DisplacementField(grid, inverse), None, None,
        Status.CONVERGED, (),
        Settings.from_mapping({"device": "cpu", **settings}), Provenance("0", "cpu", {}),
    )


def smooth_field(grid, seed=0, size_mm=3.0, sigma=5.0):
    """A smooth random displacement without folds, in mm."""
    rng = np.random.default_rng(seed)
    out = np.stack([ndimage.gaussian_filter(rng.normal(size=grid.shape), sigma, mode="nearest") for _ in range(3)], -1)
    return size_mm * out / np.abs(out).max()


def cube(n=40, spacing=(1.0, 1.0, 1.0)):
    return Grid((n, n, n), np.diag([*spacing, 1.0]))
