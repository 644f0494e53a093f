"""The fold report: where the exported field folds, how much, and how volumes change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy import ndimage

from ..errors import InputError
from ..result import RegistrationResult
from ..space import Grid, LabelMap, Volume
from ..space.jacobian import central_determinant, digital_minimum, displacement_mm_to_vox, ndv
from .foreground import Foreground

PERCENTILES = (1, 50, 99)


@dataclass(frozen=True)
class FoldSummary:
    """Numbers of the deformation (without the affine) over one domain; see METRICS for each definition.

    `sd_log_jacobian_l2r` is None where the grid is too small for it.
    """

    domain: str
    voxels: int
    digital_count: int
    digital_percent: float
    ndv_percent: float
    central_count: int
    central_percent: float
    digital_minimum: float
    jacobian_min: float
    jacobian_percentiles: Mapping[int, float]
    jacobian_max: float
    sd_log_jacobian: float
    sd_log_jacobian_l2r: float | None


@dataclass(frozen=True)
class FoldRegion:
    """Folded voxels that touch each other (by face, edge or corner).

    Attributes
    ----------
    label : int
        Its number in `FoldReport.labels`; regions in the foreground come first, worst first; then those outside of it.
    voxels, foreground_voxels : int
        Size, and how much of it lies in the fixed foreground.
    volume_mm3 : float
        Size in the fixed image.
    smallest_determinant : float
        Smallest digital determinant in it (in its foreground part, where it has one).
    center_mm : tuple of float
        World point (RAS+ mm) of the voxel that has it.
    center_voxel : tuple of int
        The same in voxel indices.
    structure : str
        Name of the fixed structure most of it lies in; empty without labels or outside all structures.
    """

    label: int
    voxels: int
    foreground_voxels: int
    volume_mm3: float
    smallest_determinant: float
    center_mm: tuple[float, float, float]
    center_voxel: tuple[int, int, int]
    structure: str


@dataclass(frozen=True, eq=False)
class FoldReport:
    """All about the Jacobian of the exported full-resolution field on the fixed grid.

    Attributes
    ----------
    grid : Grid
        The fixed grid.
    labels : (i, j, k) int32 array
        Number of the fold region at each voxel, 0 where nothing folds.
    regions : tuple of FoldRegion
        Those in the foreground first, each part worst (smallest determinant) first.
    determinant : (i, j, k) float32 array
        Central-difference determinant of the deformation without the affine.
    affine_determinant : float
        Volume change of the affine part.
    foreground, whole_grid : FoldSummary
        Numbers over the fixed foreground and over all voxels.
    """

    grid: Grid
    labels: Int32[np.ndarray, "i j k"]
    regions: tuple[FoldRegion, ...]
    determinant: Float32[np.ndarray, "i j k"]
    affine_determinant: float
    foreground: FoldSummary
    whole_grid: FoldSummary

    @cached_property
    def fold_mask(self) -> Bool[np.ndarray, "i j k"]:
        """Voxels that fail the digital test."""
        return np.asarray(self.labels > 0)

    @cached_property
    def jacobian(self) -> Volume:
        """Local volume change of the whole fixed_to_moving: the determinant of the deformation times the one of the affine."""
        return Volume(self.determinant * np.float32(self.affine_determinant), self.grid, "Jacobian determinant")


def fold_report(result: RegistrationResult, foreground: Foreground, fixed_labels: LabelMap | None = None) -> FoldReport:
    """Test the exported displacement for folds and measure how it changes volumes.

    Raises
    ------
    InputError
        If foreground or labels do not lie on the displacement's grid.
    """
    grid = result.displacement.grid
    if foreground.mask.shape != grid.shape or (fixed_labels is not None and fixed_labels.grid != grid):
        raise InputError(f"Foreground and labels must lie on the displacement's grid {grid.shape}. Resample them on the fixed image.")
    displacement_vox = displacement_mm_to_vox(result.displacement.displacement_mm, grid)
    smallest, folded_volume, determinant = digital_minimum(displacement_vox), ndv(displacement_vox), central_determinant(displacement_vox)
    labels, regions = _regions(smallest <= 0, smallest, grid, foreground.mask, fixed_labels)
    everything = np.ones(grid.shape, dtype=bool)
    return FoldReport(
        grid=grid,
        labels=labels,
        regions=regions,
        determinant=determinant,
        affine_determinant=float(np.linalg.det(result.affine.matrix[:3, :3])),
        foreground=_summary(foreground.description, foreground.mask, smallest, folded_volume, determinant),
        whole_grid=_summary("whole grid", everything, smallest, folded_volume, determinant),
    )


def _summary(domain: str, mask: np.ndarray, smallest: np.ndarray, folded_volume: np.ndarray, determinant: np.ndarray) -> FoldSummary:
    inside, least = determinant[mask], smallest[mask]
    count = int(np.count_nonzero(least <= 0))
    positive = inside[inside > 0]
    percentiles = np.percentile(inside, PERCENTILES)
    return FoldSummary(
        domain=domain,
        voxels=inside.size,
        digital_count=count,
        digital_percent=100 * count / inside.size,
        ndv_percent=100 * float(folded_volume[mask].sum(dtype=np.float64)) / inside.size,
        central_count=inside.size - positive.size,
        central_percent=100 * (inside.size - positive.size) / inside.size,
        digital_minimum=float(least.min()),
        jacobian_min=float(inside.min()),
        jacobian_percentiles={p: float(v) for p, v in zip(PERCENTILES, percentiles, strict=True)},
        jacobian_max=float(inside.max()),
        sd_log_jacobian=float(np.log(positive).std(dtype=np.float64)) if positive.size else float("nan"),
        sd_log_jacobian_l2r=_sd_log_l2r(determinant, mask),
    )


def _sd_log_l2r(determinant: np.ndarray, mask: np.ndarray) -> float | None:
    core = tuple(slice(2, -2) if n > 1 else slice(None) for n in determinant.shape)
    inside = determinant[core][mask[core]]
    return float(np.log(np.clip(inside + np.float32(3), 1e-9, 1e9)).std(dtype=np.float64)) if inside.size else None


def _regions(
    folded: np.ndarray, smallest: np.ndarray, grid: Grid, foreground: np.ndarray, fixed_labels: LabelMap | None
) -> tuple[np.ndarray, tuple[FoldRegion, ...]]:
    found, count = ndimage.label(folded, structure=np.ones((3, 3, 3)))
    if not count:
        return np.zeros(grid.shape, dtype=np.int32), ()
    voxels = np.argwhere(folded)
    region_of, least, outside = found[folded], smallest[folded], ~foreground[folded]
    # A field can fold in a hundred thousand places: everything that can be done for all regions at once is.
    order = np.lexsort((least, outside, region_of))
    voxels, region_of, least, outside = voxels[order], region_of[order], least[order], outside[order]
    starts = np.flatnonzero(np.r_[True, np.diff(region_of) > 0])
    sizes = np.diff(np.r_[starts, len(voxels)])
    inside_sizes = sizes - np.add.reduceat(outside.astype(np.int64), starts)
    centers = grid.voxel_to_world(voxels[starts].astype(np.float64))
    ranking = np.lexsort((least[starts], outside[starts]))
    numbers = np.zeros(count + 1, dtype=np.int32)
    numbers[region_of[starts][ranking]] = np.arange(1, count + 1)
    structure_numbers = None if fixed_labels is None else fixed_labels.data[folded][order]
    voxel_mm3 = float(abs(np.linalg.det(grid.affine[:3, :3])))
    regions = tuple(
        FoldRegion(
            label=label,
            voxels=int(sizes[n]),
            foreground_voxels=int(inside_sizes[n]),
            volume_mm3=float(sizes[n]) * voxel_mm3,
            smallest_determinant=float(least[starts[n]]),
            center_mm=tuple(centers[n].tolist()),
            center_voxel=tuple(voxels[starts[n]].tolist()),
            structure=_structure(fixed_labels, structure_numbers, int(starts[n]), int(sizes[n])),
        )
        for label, n in enumerate(ranking.tolist(), start=1)
    )
    return numbers[found], regions


def _structure(fixed_labels: LabelMap | None, numbers: np.ndarray | None, start: int, size: int) -> str:
    """Name the structure that most of a region lies in; `numbers` are those of all folded voxels, region by region."""
    if fixed_labels is None or numbers is None:
        return ""
    found, counts = np.unique(numbers[start : start + size], return_counts=True)
    number = int(found[counts.argmax()])
    return fixed_labels.name_of(number) if number else ""
