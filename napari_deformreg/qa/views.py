"""Slices for the pictures: any grid turned to the nearest RAS axes and cut as a radiologist expects to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped
from scipy.ndimage import gaussian_filter1d

from ..space import Grid, Volume
from ..space.orientation import reorient

PlaneName = Literal["axial", "coronal", "sagittal"]

_ACROSS = {"axial": 2, "coronal": 1, "sagittal": 0}
_HORIZONTAL = {"axial": 0, "coronal": 0, "sagittal": 1}
_VERTICAL = {"axial": 1, "coronal": 2, "sagittal": 2}
_ENDS = {0: ("R", "L"), 1: ("A", "P"), 2: ("S", "I")}

MARGIN_SHARE = 0.05
"""Air left around the foreground, as a share of its extent."""


@dataclass(frozen=True, eq=False)
class View:
    """One cut through the fixed grid, for display only.

    Arrays cut by it have their first axis pointing down and their second to the right, in radiological convention: the patient's right is
    on the left of axial and coronal pictures, anterior on the left of sagittal ones, anterior or superior on top.

    Attributes
    ----------
    plane : str
        ``"axial"``, ``"coronal"`` or ``"sagittal"``, by the nearest anatomical directions.
    position : int
        Slice number along the RAS-turned axis.
    window : tuple of slice
        What is shown of the RAS-turned array's three axes.
    spacing : tuple of float
        Distance of pixels in mm: down, right.
    marks : tuple of str
        Letters at the left, right, top and bottom border.
    """

    plane: PlaneName
    position: int
    window: tuple[slice, slice, slice]
    spacing: tuple[float, float]
    marks: tuple[str, str, str, str]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width of the picture in mm."""
        down, right = self.window[_VERTICAL[self.plane]], self.window[_HORIZONTAL[self.plane]]
        return (down.stop - down.start) * self.spacing[0], (right.stop - right.start) * self.spacing[1]

    def cut(self, data: Shaped[np.ndarray, "i j k *rest"], grid: Grid) -> Shaped[np.ndarray, "down right *rest"]:
        """Cut an array that lies on the fixed grid."""
        turned, _ = reorient(data, grid, "RAS")
        index: list[slice | int] = list(self.window)
        index[_ACROSS[self.plane]] = self.position
        # The two remaining axes run horizontal, then vertical, from left/posterior/inferior: turn both and put vertical first.
        return np.asarray(np.swapaxes(turned[tuple(index)], 0, 1)[::-1, ::-1])

    def cut_vectors(self, vectors: Shaped[np.ndarray, "i j k 3"], grid: Grid) -> Shaped[np.ndarray, "down right 2"]:
        """Cut world vectors and give their in-plane parts: to the right of the picture, and up."""
        turned_grid = reorient(vectors[..., 0], grid, "RAS")[1]
        # Components along the grid's own (for display: perpendicular) axes, so that arrows follow an oblique picture.
        along = self.cut(vectors, grid) @ np.linalg.inv(turned_grid.direction).T
        return np.stack([-along[..., _HORIZONTAL[self.plane]], along[..., _VERTICAL[self.plane]]], -1)

    def place(self, points: Shaped[np.ndarray, "n 3"], grid: Grid) -> tuple[Shaped[np.ndarray, "n 2"], Shaped[np.ndarray, "n"]]:
        """Give for world points the pixel position (right, down) in this view and the distance to its plane in slices."""
        turned_grid = reorient(np.empty(grid.shape, dtype=np.bool_), grid, "RAS")[1]
        voxels = turned_grid.world_to_voxel(points)
        horizontal, vertical = self.window[_HORIZONTAL[self.plane]], self.window[_VERTICAL[self.plane]]
        right = horizontal.stop - 1 - voxels[:, _HORIZONTAL[self.plane]]
        down = vertical.stop - 1 - voxels[:, _VERTICAL[self.plane]]
        return np.stack([right, down], -1), np.asarray(np.abs(voxels[:, _ACROSS[self.plane]] - self.position))


def best_views(fixed: Volume, mask: Bool[np.ndarray, "i j k"]) -> list[View]:
    """Choose one slice a plane (2-D: the only one) through the region that shows most structure: where the fixed image changes most."""
    data, grid = reorient(fixed.data, fixed.grid, "RAS")
    inside, _ = reorient(mask, fixed.grid, "RAS")
    return _views(grid, _window(inside), [_liveliest(data, inside, axis) for axis in range(3)])


def views_through(fixed: Volume, mask: Bool[np.ndarray, "i j k"], point_mm: tuple[float, float, float]) -> list[View]:
    """Give the slices through a world point (RAS+ mm)."""
    inside, grid = reorient(mask, fixed.grid, "RAS")
    voxel = np.rint(grid.world_to_voxel(np.array([point_mm]))[0]).astype(int)
    window = _window(inside)
    held = tuple(
        slice(max(min(part.start, v), 0), min(max(part.stop, v + 1), n)) for part, v, n in zip(window, voxel, grid.shape, strict=True)
    )
    return _views(grid, (held[0], held[1], held[2]), [int(np.clip(v, 0, n - 1)) for v, n in zip(voxel, grid.shape, strict=True)])


def _views(grid: Grid, window: tuple[slice, slice, slice], positions: list[int]) -> list[View]:
    planes: tuple[PlaneName, ...] = ("axial", "coronal", "sagittal")
    flat = [axis for axis in range(3) if grid.shape[axis] == 1]
    out = []
    for plane in planes:
        across, right, up = _ACROSS[plane], _HORIZONTAL[plane], _VERTICAL[plane]
        if flat and across not in flat:
            continue
        marks = (*_ENDS[right], *_ENDS[up])
        out.append(View(plane, positions[across], window, (float(grid.spacing[up]), float(grid.spacing[right])), marks))
    return out


def _window(inside: np.ndarray) -> tuple[slice, slice, slice]:
    parts = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(hit[0]), int(hit[-1])
        margin = int(np.ceil(MARGIN_SHARE * (last - first)))
        parts.append(slice(max(first - margin, 0), min(last + 1 + margin, inside.shape[axis])))
    return parts[0], parts[1], parts[2]


def _liveliest(data: np.ndarray, inside: np.ndarray, across: int) -> int:
    """Find the slice whose in-plane edges inside the mask add up to most."""
    total = np.zeros(data.shape[across])
    others = tuple(axis for axis in range(3) if axis != across)
    for axis in others:
        if data.shape[axis] > 1:
            ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            edges = np.abs(data[ahead] - data[behind]) * (inside[ahead] & inside[behind])
            total += edges.sum(axis=others, dtype=np.float64)
    return int(np.argmax(gaussian_filter1d(total, max(0.03 * len(total), 0.5), mode="constant")))
