"""Label maps of anatomy: a folder read once, kept small in memory, and placed under a lattice at random."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...errors import InputError
from ...io import READERS, read_labels
from ...space import LabelMap
from ...space.orientation import reorient
from .draws import Draws
from .scene import Scene
from .settings import AnatomySettings

MOST_LABELS = 255

FREESURFER_PAIRS = (
    (2, 41), (3, 42), (4, 43), (5, 44), (7, 46), (8, 47), (10, 49), (11, 50), (12, 51), (13, 52), (17, 53), (18, 54), (25, 57), (26, 58),
    (28, 60), (30, 62), (136, 163), (137, 164),
)  # fmt: skip
"""Left and right of one structure in FreeSurfer's numbering (and its extension by the whole-head maps of SynthSeg)."""

FREESURFER_TISSUES = (
    (2, 41, 7, 46, 16, 28, 60, 85),
    (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58),
    (24, 4, 43, 5, 44, 14, 15, 72),
)
"""White matter, gray matter and fluid in the same numbering: most acquired contrasts tell hardly more apart."""

FIRST_OUTSIDE_BRAIN = 500
"""SynthSeg's maps number what lies outside the brain from here."""

_CSF = 24


@dataclass(frozen=True, eq=False)
class AnatomyMap:
    """One label map in memory, its axes turned to right, anterior, superior.

    Attributes
    ----------
    name : str
        The file's name without suffix.
    labels : uint8 tensor
        Numbers as in the table of the folder; 2-D maps have two axes.
    spacing_mm : (D,) array
        Voxel size along each axis.
    centroids_vox : (K, D) array
        Center of each label, NaN where it is missing or outside the brain.
    core : (2, D) array
        First and last voxel of the box around what matters: the brain, or all labels where there is no brain.
    """

    name: str
    labels: UInt8[Tensor, "*map"]
    spacing_mm: Float[np.ndarray, "D"]
    centroids_vox: Float[np.ndarray, "K D"]
    core: Float[np.ndarray, "2 D"]


@dataclass(frozen=True, eq=False)
class AnatomyFolder:
    """All label maps of a folder, renumbered 1, 2, … alike.

    Attributes
    ----------
    maps : tuple of AnatomyMap
        In the order of their names.
    numbers : tuple of int
        The files' own number of each label; the first is background, 0.
    """

    maps: tuple[AnatomyMap, ...]
    numbers: tuple[int, ...]

    @property
    def dimensions(self) -> int:
        """Axes of the maps."""
        return int(self.maps[0].labels.dim())

    @cached_property
    def outside_brain(self) -> Bool[np.ndarray, "K"] | None:
        """Mark labels outside the brain; None where the numbers are not FreeSurfer's."""
        numbers = np.array(self.numbers)
        return numbers >= FIRST_OUTSIDE_BRAIN if _is_freesurfer(self.numbers) and (numbers >= FIRST_OUTSIDE_BRAIN).any() else None

    @cached_property
    def fluid(self) -> int | None:
        """The label of the fluid around the brain, which some strippers remove and others keep."""
        return self.numbers.index(_CSF) if _is_freesurfer(self.numbers) and _CSF in self.numbers else None

    @cached_property
    def mirrored(self) -> tuple[tuple[int, int], ...]:
        """Left and right labels of one structure."""
        if not _is_freesurfer(self.numbers):
            return ()
        place = {number: label for label, number in enumerate(self.numbers)}
        return tuple((place[left], place[right]) for left, right in FREESURFER_PAIRS if left in place and right in place)

    @cached_property
    def tissues(self) -> tuple[tuple[int, ...], ...]:
        """Labels of one tissue."""
        if not _is_freesurfer(self.numbers):
            return ()
        place = {number: label for label, number in enumerate(self.numbers)}
        return tuple(tuple(place[number] for number in tissue if number in place) for tissue in FREESURFER_TISSUES)


def _is_freesurfer(numbers: Sequence[int]) -> bool:
    return sum(left in numbers and right in numbers for left, right in FREESURFER_PAIRS) >= 5


def read_folder(folder: str | os.PathLike[str], spacing_mm: float, names: Sequence[str] | None = None) -> AnatomyFolder:
    """Read every label map of a folder.

    Parameters
    ----------
    folder : path
        Files of any readable format; others are passed over.
    spacing_mm : float
        Voxel size of the pairs to come; the maps are kept at half of it, unless they are coarser.
    names : sequence of str, optional
        Only these files (names without suffix).

    Raises
    ------
    InputError
        If there are no maps, a map has a single structure, maps of two and of three axes are mixed, or there are too many labels.
    """
    files = {_stem(path): path for path in sorted(Path(folder).glob("*")) if _suffix(path) is not None}
    if not files:
        raise InputError(f"Expected a folder of label maps; found none in {folder}. Known suffixes: {', '.join(READERS)}.")
    missing = sorted(set(names or ()) - set(files))
    if missing:
        raise InputError(f"There is no label map named {', '.join(missing)} in {folder}. Name files there, without their suffix.")
    read = {name: _small(read_labels(path), spacing_mm) for name, path in files.items() if names is None or name in names}
    numbers = sorted({0}.union(*(np.unique(data).tolist() for data, _ in read.values())))
    _check(read, numbers)
    maps = tuple(_anatomy_map(name, np.searchsorted(numbers, data), spacing, numbers) for name, (data, spacing) in read.items())
    return AnatomyFolder(maps, tuple(int(n) for n in numbers))


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in sorted(READERS, key=len, reverse=True) if path.name.lower().endswith(suffix)), None)


def _stem(path: Path) -> str:
    return path.name[: -len(_suffix(path) or "")]


def _small(labels: LabelMap, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn to right, anterior, superior and take the nearest voxels of a coarser lattice; drop the axis of a single slice."""
    data, grid = reorient(labels.data, labels.grid, "RAS")
    steps = np.where(np.array(data.shape) > 1, np.maximum(spacing_mm / 2 / grid.spacing, 1.0), 1.0)
    nearest = [np.rint(np.arange(int((n - 1) / step) + 1) * step).astype(int) for n, step in zip(data.shape, steps, strict=True)]
    data = data[np.ix_(*nearest)]
    spacing = grid.spacing * steps
    keep = [axis for axis in range(3) if data.shape[axis] > 1]
    return np.squeeze(data), spacing[keep]


def _check(read: dict[str, tuple[np.ndarray, np.ndarray]], numbers: Sequence[int]) -> None:
    for name, (data, _) in read.items():
        if len(np.unique(data)) < 3:
            raise InputError(f"Label map {name!r} has fewer than two structures beside the background; expected a map of many. Remove it.")
    if len({data.ndim for data, _ in read.values()}) > 1 or next(iter(read.values()))[0].ndim < 2:
        raise InputError("The folder mixes label maps of two and of three axes. Keep them in separate folders.")
    if len(numbers) > MOST_LABELS + 1:
        raise InputError(f"The label maps have {len(numbers) - 1} different numbers; at most {MOST_LABELS} can be used. Merge some.")


def _anatomy_map(name: str, labels: np.ndarray, spacing: np.ndarray, numbers: Sequence[int]) -> AnatomyMap:
    count = len(numbers)
    some = labels[(slice(None, None, 2),) * labels.ndim]  # every second voxel will do for a center
    flat = some.ravel()
    total = np.bincount(flat, minlength=count)
    centroids = np.full((count, labels.ndim), np.nan)
    present = total > 0
    for axis, size in enumerate(some.shape):
        place = 2 * np.arange(size, dtype=np.float64).reshape([-1 if a == axis else 1 for a in range(labels.ndim)])
        sums = np.bincount(flat, weights=np.broadcast_to(place, some.shape).ravel(), minlength=count)
        centroids[present, axis] = sums[present] / total[present]
    inside = labels > 0
    if _is_freesurfer(numbers):  # how much of the neck is in view says nothing about where the brain is
        outside = np.array(numbers) >= FIRST_OUTSIDE_BRAIN
        inside &= ~outside[labels]
        centroids[outside] = np.nan
    where = [np.flatnonzero(inside.any(axis=tuple(a for a in range(labels.ndim) if a != axis))) for axis in range(labels.ndim)]
    core = np.array([[hit[0] for hit in where], [hit[-1] for hit in where]], dtype=np.float64)
    return AnatomyMap(name, torch.from_numpy(labels.astype(np.uint8)), spacing, centroids, core)


def draw_placement(draws: Draws, anatomy: AnatomyMap, size: tuple[int, ...], settings: AnatomySettings) -> Scene:
    """Lay the lattice's middle at a random place of the map, turned, flipped and zoomed at random."""
    d, map_axes = len(size), int(anatomy.labels.dim())
    matrix = _turned(draws, map_axes, d, settings) * (settings.spacing_mm * draws.within(settings.zoom))
    matrix = matrix * np.array([1 + draws.uniform(-0.07, 0.07) for _ in range(d)]) / anatomy.spacing_mm[:, None]
    first, last = anatomy.core
    covered = np.abs(matrix) @ np.array(size, dtype=np.float64)
    # A lattice smaller than the core lies somewhere within it; a larger one about its middle. Slices lie anywhere in the inner part.
    room = np.maximum((last - first - covered) / 2, 0.04 * (last - first))
    if d < map_axes:
        across = int(np.argmin(np.abs(matrix).sum(axis=1)))
        room[across] = 0.35 * (last - first)[across]
    target = (first + last) / 2 + room * np.array([draws.uniform(-1, 1) for _ in range(map_axes)])
    return Scene(anatomy.labels.to(draws.device), matrix, (np.array(size) - 1) / 2, target)


def _turned(draws: Draws, map_axes: int, d: int, settings: AnatomySettings) -> Float[np.ndarray, "D d"]:
    """Draw the directions of the lattice's axes in the map."""
    axes = draws.order(map_axes) if draws.chance(settings.permute_probability) else list(range(map_axes))
    if d < map_axes:  # a slice: any axis may be the one across, the order of the others is the anatomical one unless permuted
        across = draws.whole(0, map_axes - 1)
        axes = [axis for axis in axes if axis != across]
    chosen = np.zeros((map_axes, d))
    for column, axis in enumerate(axes):
        chosen[axis, column] = -1.0 if draws.chance(settings.flip_probability) else 1.0
    angles = [draws.uniform(-1, 1) * settings.rotation_deg for _ in range(3)]
    if map_axes == 3:
        return np.asarray(Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ chosen)
    turn = np.deg2rad(angles[0])
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ chosen


def same_view(scene: Scene, shown: AnatomyMap, other: AnatomyMap, device: torch.device) -> Scene:
    """Return the view of another map that corresponds, by the affine that best carries one map's label centers to the other's."""
    linear, offset = _between(shown, other)
    return Scene(other.labels.to(device), linear @ scene.matrix, scene.origin_vox, linear @ scene.target_vox + offset)


def _between(a: AnatomyMap, b: AnatomyMap) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, "D"]]:
    both = np.isfinite(a.centroids_vox).all(1) & np.isfinite(b.centroids_vox).all(1)
    both[0] = False
    x, y = a.centroids_vox[both], b.centroids_vox[both]
    if len(x) < 4 * a.labels.dim():  # too few to trust shears: bring the boxes together
        linear = np.diag((b.core[1] - b.core[0]) / np.maximum(a.core[1] - a.core[0], 1))
        return linear, b.core.mean(0) - linear @ a.core.mean(0)
    homogeneous = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(homogeneous, y, rcond=None)
    return solution[:-1].T, solution[-1]
