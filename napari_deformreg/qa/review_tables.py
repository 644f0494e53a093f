"""The rows of a review's tables: plain frozen values that a file can hold and a window can show."""

from __future__ import annotations

from typing import Literal

from .tolerances import Frozen, Grade

Point = tuple[float, float, float]


class FoldCount(Frozen):
    """How many voxels fold, by one test over one domain."""

    test: Literal["ten determinants", "four determinants", "central differences"]
    """Four determinants: the same test in 2-D."""
    domain: str
    """Over which voxels."""
    voxels: int
    """How many there are."""
    folded: int
    """How many of them fold."""
    percent: float
    """The same as a share of the domain."""
    definition: str
    """What counts as a fold."""


class FoldRow(Frozen):
    """One connected fold region; the worst comes first."""

    label: int
    """Its number in folds.nii.gz."""
    volume_mm3: float
    """Its size."""
    voxels: int
    """The same in voxels."""
    foreground_voxels: int
    """How many of them lie in the fixed foreground."""
    smallest_determinant: float
    """The smallest of the determinants in it (identity: 1; 0 or less folds)."""
    center_mm: Point
    """World point (RAS+ mm) of the voxel that has it."""
    structure: str
    """The fixed structure most of it lies in; empty without labels or outside of all."""


class LandmarkRow(Frozen):
    """One landmark pair."""

    name: str
    """The pair's name."""
    kind: Literal["target", "fiducial"]
    """Fiducial: it drove the registration, and its error shows the fit; target: it did not, and its error shows the accuracy."""
    before_mm: float
    """Distance by the headers alone."""
    after_mm: float
    """Distance by the registration."""
    before_axes_mm: Point
    """Where the fixed landmark came to lie minus the moving one, along R, A, S, by the headers alone."""
    after_axes_mm: Point
    """The same by the registration."""
    fixed_mm: Point
    """In the fixed image, RAS+ mm."""
    moving_mm: Point
    """In the moving image."""
    moving_in_fixed_mm: Point
    """The moving landmark carried to the fixed image."""
    inverse_residual_mm: float
    """How far that misses when carried back."""
    outside_field: bool
    """Whether one of them lies outside the fixed image, where only the affine is known."""
    grade: Grade
    """Its error against the tolerance of the mean; info for a fiducial."""


class StructureRow(Frozen):
    """One structure; None where there is nothing to compute from."""

    label: int
    """Its number."""
    name: str
    """Its name."""
    in_both: bool
    """Whether it occurs in both images."""
    voxels: int
    """Voxels in the fixed image."""
    center_mm: Point | None
    """The voxel of the fixed structure nearest to its center of mass, RAS+ mm."""
    dice_before: float | None
    dice_after: float | None
    dice_grade: Grade
    mean_surface_distance_before_mm: float | None
    mean_surface_distance_after_mm: float | None
    mean_surface_distance_grade: Grade
    hd95_before_mm: float | None
    hd95_after_mm: float | None
    fixed_volume_mm3: float
    moving_volume_mm3: float | None
    """Before: in the moving image."""
    moved_volume_mm3: float
    """After: moved to the fixed image."""
    volume_change: dict[str, float]
    """Local volume change over the fixed structure, the affine included: min, p1, p5, p50, p95, p99, max; empty without voxels."""
    folded_voxels: int
    """How many of its voxels fold by the ten determinants."""
    folded_central: int
    """How many by central differences."""


class ConsistencyRow(Frozen):
    """Inverse consistency over one domain."""

    domain: str
    """Over which voxels."""
    n: int
    """At how many of them it was measured; those that leave the grid are left out."""
    left_out: int
    """How many were left out."""
    mean_mm: float | None
    p95_mm: float | None
    max_mm: float | None
    inverse: str
    """Where the inverse comes from."""
