"""Volume and LabelMap: arrays placed in the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer, Shaped

from ..errors import InputError
from .grid import Grid


def _check_shape(data: Shaped[np.ndarray, "..."], grid: Grid) -> None:
    if data.shape != grid.shape:
        raise InputError(f"Array and grid disagree: the array has shape {data.shape}, the grid {grid.shape}.")


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar image: ``data[i, j, k]`` lies at world point ``grid.affine @ (i, j, k, 1)``.

    Parameters
    ----------
    data : (i, j, k) float32 array
        Intensities in the file's own units (scl_slope applied).
    grid : Grid
        Where the voxels lie.
    name : str
        For messages and layer names.
    notices : tuple of str
        What the user should know about how it was read, e.g. that a sheared image was resampled.
    """

    data: Float[np.ndarray, "i j k"]
    grid: Grid
    name: str = "image"
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.data, self.grid)
        object.__setattr__(self, "data", np.asarray(self.data, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Structures: ``data[i, j, k]`` is the number of the structure at that voxel, 0 is background.

    A mask is a LabelMap whose non-zero voxels count.
    """

    data: Integer[np.ndarray, "i j k"]
    grid: Grid
    name: str = "labels"
    label_names: Mapping[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.data, self.grid)
        object.__setattr__(self, "data", np.asarray(self.data, dtype=np.int32))

    @property
    def labels(self) -> tuple[int, ...]:
        """The structure numbers that occur, background left out."""
        return tuple(int(n) for n in np.unique(self.data) if n != 0)

    def name_of(self, number: int) -> str:
        """Name a structure; by its number where it has no name."""
        return self.label_names.get(number) or f"structure {number}"
