"""How each structure's volume changes, voxel by voxel, and where in it the deformation folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from ..errors import InputError
from ..space import LabelMap
from .jacobian import FoldReport
from .overlap import places_of

STATISTICS = ("min", "p1", "p5", "p50", "p95", "p99", "max")
_PERCENTILES = (0, 1, 5, 50, 95, 99, 100)


@dataclass(frozen=True)
class StructureChange:
    """One structure of the fixed image.

    Attributes
    ----------
    label, name : int, str
        Which structure.
    voxels : int
        Its size on the fixed grid.
    volume_change : mapping of str to float
        `STATISTICS` of the local volume change of fixed_to_moving, the affine included.
    folded_voxels, folded_central : int
        Voxels that fold by the ten determinants (2-D: four), and by central differences.
    center_mm : tuple of float
        The structure's voxel nearest to its center of mass, RAS+ mm: a place to look at that lies in the structure.
    """

    label: int
    name: str
    voxels: int
    volume_change: Mapping[str, float]
    folded_voxels: int
    folded_central: int
    center_mm: tuple[float, float, float]


def structure_changes(fixed_labels: LabelMap, folds: FoldReport) -> tuple[StructureChange, ...]:
    """Measure the deformation inside each fixed structure.

    Raises
    ------
    InputError
        If the labels do not lie on the fold report's grid.
    """
    if fixed_labels.grid != folds.grid:
        raise InputError(f"The fixed labels must lie on the fixed grid {folds.grid.shape}, not on {fixed_labels.grid.shape}.")
    numbers = np.array(fixed_labels.labels, dtype=np.int32)
    places = places_of(fixed_labels.data, numbers)
    boxes = ndimage.find_objects(places, max_label=len(numbers))
    return tuple(
        _change(fixed_labels, folds, box, places[box] == n, int(numbers[n - 1])) for n, box in enumerate(boxes, start=1) if box is not None
    )


def _change(
    labels: LabelMap, folds: FoldReport, box: tuple[slice, ...], inside: Bool[np.ndarray, "i j k"], number: int
) -> StructureChange:
    determinant = folds.determinant[box][inside]
    percentiles = np.percentile(determinant * np.float32(folds.affine_determinant), _PERCENTILES)
    voxels = np.argwhere(inside)
    nearest = voxels[np.linalg.norm((voxels - voxels.mean(0)) * folds.grid.spacing, axis=1).argmin()]
    center = folds.grid.voxel_to_world(np.array([nearest + [part.start for part in box]], dtype=np.float64))[0]
    return StructureChange(
        label=number,
        name=labels.name_of(number),
        voxels=len(voxels),
        volume_change={name: float(value) for name, value in zip(STATISTICS, percentiles, strict=True)},
        folded_voxels=int(np.count_nonzero(folds.labels[box][inside])),
        folded_central=int(np.count_nonzero(determinant <= 0)),
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
    )
