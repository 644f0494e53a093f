"""Grids, fields and points that tests share; pytest puts this folder on the path."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_deformreg.space import DisplacementField, Grid

SPACING = (1.0, 1.5, 2.5)
SHAPE = (22, 18, 14)


def oriented_grid(codes: str, shape=SHAPE, spacing=(1.0, 1.0, 1.0), origin=(-20.0, 35.0, 12.0)) -> Grid:
    """A grid whose array axes point along the given anatomical directions."""
    ornt = nib.orientations.axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(ornt):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:3, 3] = origin
    return Grid(shape, affine)


def oblique_grid(shape=SHAPE, spacing=SPACING, origin=(-120.0, 80.0, 1350.0)) -> Grid:
    """An anisotropic grid turned about all three axes, far from the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [19, -31, 23], degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return Grid(shape, affine)


def sheared_grid(shape=SHAPE, tilt_degrees=18.0) -> Grid:
    """A tilted gantry: slices keep their directions, the table moves along another one than their normal."""
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[1, 2] = 2.0 * np.tan(np.deg2rad(tilt_degrees))
    affine[:3, 3] = (-30, -40, 100)
    return Grid(shape, affine)


GRIDS = {
    "RAS": oriented_grid("RAS"),
    "LAS": oriented_grid("LAS"),
    "LPS": oriented_grid("LPS"),
    "PSR": oriented_grid("PSR", spacing=SPACING),
    "permuted": oriented_grid("SLA", spacing=(0.7, 1.3, 2.1)),
    "anisotropic": oriented_grid("RAS", spacing=(0.5, 0.5, 5.0)),
    "oblique": oblique_grid(),
}


def smooth_field(grid: Grid, rng: np.random.Generator, amplitude_mm: float, smoothing_vox: float = 4.0) -> DisplacementField:
    """A random smooth displacement field whose largest vector has the given length."""
    noise = rng.standard_normal((*grid.shape, 3))
    smooth = np.stack([ndimage.gaussian_filter(noise[..., c], smoothing_vox, mode="nearest") for c in range(3)], -1)
    smooth *= amplitude_mm / np.linalg.norm(smooth, axis=-1).max()
    return DisplacementField(grid, smooth.astype(np.float32))


def points_around(grid: Grid, rng: np.random.Generator, count: int = 400, margin_vox: float = 0.0) -> np.ndarray:
    """World points spread over the field of view, and beyond it by a margin."""
    last = np.array(grid.shape) - 1.0
    return grid.voxel_to_world(rng.uniform(-margin_vox, last + margin_vox, (count, 3)))
