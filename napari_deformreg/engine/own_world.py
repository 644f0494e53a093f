"""Each image in a world of its own, so that where and how the headers place it cannot change a bit of what is computed.

An image's own world has its origin in the middle of the image's grid and its axes along the array axes. How the headers place the two
images to each other enters as one matrix, as one start position among others; a world moved or turned as a whole leaves that matrix as it
is. Spacings and that matrix are rounded to what a NIfTI header (32 bits a number) can tell, because the deformation amplifies
differences: a hundred-thousandth of a voxel of the start can become half a voxel somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from ..space import AffineTransform, Grid, LabelMap, LandmarkPairs, Volume

SPACING_BITS = 17
"""Binary digits of a spacing that count (a header has 24): powers of two and their usual fractions are kept as they are."""

POSITION_STEP = 2.0**-16
"""Turns (radians) and shifts (parts of the image's radius) by the headers are rounded to multiples of this: in a head about 0.001 mm."""

STRETCH_STEP = 2.0**-12
"""Likewise for a shear or stretch between the two worlds, of which a proper header has none."""


@dataclass(frozen=True, eq=False)
class OwnWorld:
    """A canonical grid in the world of the headers and in its own.

    Attributes
    ----------
    header_grid : Grid
        As the header places it, RAS+ mm.
    grid : Grid
        The same lattice, its middle in the origin and its axes along x, y and z, in mm.
    """

    header_grid: Grid
    grid: Grid

    @classmethod
    def of(cls, canonical: Grid) -> OwnWorld:
        """Make the own world of an image whose array axes are nearest to RAS."""
        affine = np.diag([*rounded_spacing(canonical.spacing), 1.0])
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(canonical.shape) - 1) / 2)
        return cls(canonical, Grid(canonical.shape, affine))

    @cached_property
    def to_header(self) -> Float[np.ndarray, "4 4"]:
        """Matrix from the own world to that of the headers."""
        return np.asarray(self.header_grid.affine @ self.grid.world_to_voxel_matrix)

    @cached_property
    def from_header(self) -> Float[np.ndarray, "4 4"]:
        """Matrix from the world of the headers to the own one."""
        return np.asarray(self.grid.affine @ self.header_grid.world_to_voxel_matrix)

    def volume(self, canonical: Volume) -> Volume:
        """Place the image itself in its own world."""
        return replace(canonical, grid=self.grid)

    def labels(self, canonical: LabelMap) -> LabelMap:
        """Place labels or a mask in the image's own world; mostly they lie on its grid."""
        if canonical.grid == self.header_grid:
            return replace(canonical, grid=self.grid)
        return replace(canonical, grid=Grid(canonical.grid.shape, self.from_header @ canonical.grid.affine))


def rounded_spacing(spacing: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Round spacings to `SPACING_BITS` binary digits."""
    mantissa, exponent = np.frexp(spacing)
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, SPACING_BITS)), exponent - SPACING_BITS))


def _rounded(numbers: np.ndarray, step: float) -> np.ndarray:
    return np.asarray(np.round(numbers / step) * step)


@dataclass(frozen=True, eq=False)
class Worlds:
    """The own worlds of the fixed and the moving image, and how the headers place them to each other."""

    fixed: OwnWorld
    moving: OwnWorld

    @classmethod
    def of(cls, fixed: Grid, moving: Grid) -> Worlds:
        """Make them for two canonical grids."""
        return cls(OwnWorld.of(fixed), OwnWorld.of(moving))

    @cached_property
    def header(self) -> AffineTransform:
        """The headers' position, rounded: from the fixed image's own world to the moving one's."""
        matrix = self.moving.from_header @ self.fixed.to_header
        turn, stretch = polar(matrix[:3, :3])
        radius = float(np.linalg.norm(self.fixed.grid.spacing * self.fixed.grid.shape)) / 2
        out = np.eye(4)
        out[:3, :3] = Rotation.from_rotvec(_rounded(Rotation.from_matrix(turn).as_rotvec(), POSITION_STEP)).as_matrix()
        out[:3, :3] @= _rounded(stretch, STRETCH_STEP)
        out[:3, 3] = _rounded(matrix[:3, 3], POSITION_STEP * radius)
        return AffineTransform(out)

    def to_header(self, own: AffineTransform) -> AffineTransform:
        """Express a matrix between the own worlds between those of the headers; exactly the identity if it is the headers' position."""
        if np.array_equal(own.matrix, self.header.matrix):
            return AffineTransform.identity()
        return AffineTransform(self.moving.to_header @ own.matrix @ self.fixed.from_header)

    def landmarks(self, pairs: LandmarkPairs) -> LandmarkPairs:
        """Express landmark pairs in the own worlds."""
        fixed, moving = AffineTransform(self.fixed.from_header), AffineTransform(self.moving.from_header)
        return LandmarkPairs(pairs.names, fixed.map(pairs.fixed_points), moving.map(pairs.moving_points))
