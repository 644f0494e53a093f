"""Grid: a lattice of voxel centers placed in the world (RAS+ millimeters)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxel centers in the world.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the array axes i, j, k; each at least 1. A 2-D image has one axis of length 1.
    affine : (4, 4) float array
        Homogeneous matrix that carries continuous voxel indices (i, j, k) to RAS+ millimeters.

    Raises
    ------
    InputError
        If the affine is singular, not finite, or not an affine matrix.
    """

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A grid needs three axes of at least one voxel; got shape {self.shape}.")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise InputError(f"Expected a finite 4x4 affine with last row 0 0 0 1; got {affine.tolist()}.")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / np.where(spacing > 0, spacing, 1))) < 1e-4:
            raise InputError(
                f"The affine is singular (its axes do not span space): {affine.tolist()}. Repair the image's header, then load it again."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and bool(np.allclose(self.affine, other.affine, rtol=0, atol=1e-4))

    def __hash__(self) -> int:
        return hash(self.shape)

    @cached_property
    def spacing(self) -> Float[np.ndarray, "3"]:
        """Distance in mm between neighboring voxel centers along i, j, k."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @cached_property
    def direction(self) -> Float[np.ndarray, "3 3"]:
        """Unit vectors of the array axes in the world, one a column."""
        return np.asarray(self.affine[:3, :3] / self.spacing)

    @cached_property
    def world_to_voxel_matrix(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous matrix that carries RAS+ mm to continuous voxel indices."""
        return np.asarray(np.linalg.inv(self.affine))

    @property
    def is_2d(self) -> bool:
        """Whether one axis has a single voxel (registration is then truly two-dimensional)."""
        return sum(n == 1 for n in self.shape) == 1

    @property
    def is_orthogonal(self) -> bool:
        """Whether the array axes are perpendicular in the world (no shear)."""
        return bool(np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-3))

    @property
    def center(self) -> Float[np.ndarray, "3"]:
        """World point in mm halfway between the first and the last voxel center."""
        return np.asarray(self.voxel_to_world((np.array([self.shape], dtype=np.float64) - 1) / 2)[0])

    def voxel_to_world(self, voxels: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry continuous voxel indices to RAS+ mm."""
        return np.asarray(voxels @ self.affine[:3, :3].T + self.affine[:3, 3])

    def world_to_voxel(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm to continuous voxel indices."""
        inverse = self.world_to_voxel_matrix
        return np.asarray(points @ inverse[:3, :3].T + inverse[:3, 3])

    def contains(self, points: Float[np.ndarray, "n 3"], margin_vox: float = 0.5) -> np.ndarray:
        """Tell for each world point whether it lies in the field of view (voxel bodies, not only centers)."""
        voxels = self.world_to_voxel(points)
        return np.asarray(((voxels >= -margin_vox) & (voxels <= np.array(self.shape) - 1 + margin_vox)).all(axis=1))

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """World points in mm of the eight corner voxel centers."""
        ends = np.stack(np.meshgrid(*[(0.0, n - 1.0) for n in self.shape], indexing="ij"), -1).reshape(-1, 3)
        return self.voxel_to_world(ends)

    def voxel_indices(self) -> Float[np.ndarray, "n 3"]:
        """All voxel indices in array order (the last axis runs fastest)."""
        axes = [np.arange(n, dtype=np.float64) for n in self.shape]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)

    def resized(self, shape: tuple[int, int, int]) -> Grid:
        """Return the grid of another shape whose corner voxel centers stay where they are in the world."""
        old, new = np.array(self.shape), np.array(shape)
        factor = np.where((new > 1) & (old > 1), (old - 1) / np.maximum(new - 1, 1), 1.0)
        affine = self.affine.copy()
        affine[:3, :3] *= factor
        # An axis that collapses to one voxel is represented by its middle.
        middle = np.where((new == 1) & (old > 1), (old - 1) / 2, 0.0)
        affine[:3, 3] += self.affine[:3, :3] @ middle
        return Grid((int(new[0]), int(new[1]), int(new[2])), affine)
