"""Volumes that napari asks for slice by slice, so that they cost neither memory nor time until they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .regions import Region


class _SlicedArray:
    """What napari wants of an array."""

    ndim = 3
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :, :], dtype=dtype)


@dataclass(frozen=True, eq=False)
class Magnitude(_SlicedArray):
    """How long the displacement is.

    Attributes
    ----------
    displacement_mm : (z, y, x, 3) float array
    """

    displacement_mm: Float[np.ndarray, "z y x 3"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.displacement_mm.shape[:3]
        return z, y, x

    def __getitem__(self, index: Any) -> Any:
        vectors = np.asarray(self.displacement_mm[index], dtype=np.float32)
        return np.sqrt(np.einsum("...c,...c->...", vectors, vectors))


@dataclass(frozen=True, eq=False)
class Bounded(_SlicedArray):
    """A volume that is no number outside a region: clear on the canvas, and not to be mistaken for a value."""

    values: Any
    region: Region

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.values.shape
        return z, y, x

    def __getitem__(self, index: Any) -> Any:
        return np.where(self.region.inside(index), np.asarray(self.values[index], dtype=np.float32), np.float32(np.nan))
