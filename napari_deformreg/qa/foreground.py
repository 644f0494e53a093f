"""The fixed foreground: where most numbers of a report are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from ..errors import InputError
from ..space import LabelMap, Volume

THRESHOLD_SHARE = 0.02
"""Air of CT and MR lies within the lowest hundredth of the robust range; twice that keeps noise out and dark tissue in."""


@dataclass(frozen=True, eq=False)
class Foreground:
    """Voxels that count, and how they were chosen.

    Attributes
    ----------
    mask : (i, j, k) bool array
        On the fixed grid; never empty.
    description : str
        For the report's domain column.
    """

    mask: Bool[np.ndarray, "i j k"]
    description: str

    @property
    def voxels(self) -> int:
        """How many voxels count."""
        return int(np.count_nonzero(self.mask))


def fixed_foreground(fixed: Volume, mask: LabelMap | None = None) -> Foreground:
    """Take the given mask, else the voxels brighter than 2 % of the robust range (0.5th to 99.5th percentile) above its lower end.

    Raises
    ------
    InputError
        If the mask lies on another grid or is empty.
    """
    if mask is not None:
        if mask.grid != fixed.grid:
            raise InputError(f"The fixed mask must lie on the fixed grid {fixed.grid.shape}, not on {mask.grid.shape}. Resample it first.")
        inside = mask.data != 0
        if not inside.any():
            raise InputError("The fixed mask is empty: no voxel counts. Give a mask with at least one non-zero voxel, or none.")
        return Foreground(inside, "inside the fixed mask")
    low, high = np.percentile(fixed.data, [0.5, 99.5])
    inside = fixed.data > low + THRESHOLD_SHARE * (high - low)
    if not inside.any():  # a constant image: there is no better choice
        return Foreground(np.ones(fixed.grid.shape, dtype=bool), "whole grid")
    return Foreground(inside, "fixed foreground (brighter than 2 % of the robust range)")
