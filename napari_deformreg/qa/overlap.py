"""How well structures overlap: Dice, surface distances in mm and volumes, structure by structure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float
from numba import njit
from scipy.ndimage import affine_transform
from scipy.spatial import cKDTree

from ..errors import InputError
from ..result import Control, Step
from ..space import Grid, LabelMap
from ..space.slabs import run_slabs, thread_count

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    return cast(_F, njit(nogil=True, cache=True)(function))


@dataclass(frozen=True)
class StructureOverlap:
    """One structure before and after; None where a value cannot be computed (the structure is empty on one side).

    Attributes
    ----------
    label, name : int, str
        Which structure.
    voxels : int
        Voxels of the fixed structure.
    fixed_volume_mm3, moving_volume_mm3, moved_volume_mm3 : float
        In the fixed image, in the moving image (None without its labels), and moved on the fixed grid.
    """

    label: int
    name: str
    voxels: int
    fixed_volume_mm3: float
    moving_volume_mm3: float | None
    moved_volume_mm3: float
    dice_before: float | None
    dice_after: float | None
    hd95_before_mm: float | None
    hd95_after_mm: float | None
    mean_surface_distance_before_mm: float | None
    mean_surface_distance_after_mm: float | None

    @property
    def in_both(self) -> bool:
        """Whether the structure occurs in the fixed and in the moving image, and so counts for the mean."""
        other = self.moved_volume_mm3 if self.moving_volume_mm3 is None else self.moving_volume_mm3
        return self.fixed_volume_mm3 > 0 and other > 0


def structure_rows(structures: Sequence[StructureOverlap]) -> list[dict[str, Any]]:
    """Give one flat mapping a structure, ready for a table or a CSV file."""
    return [{**vars(structure), "in_both_images": structure.in_both} for structure in structures]


def structure_overlaps(fixed: LabelMap, moved: LabelMap, moving: LabelMap | None = None) -> tuple[StructureOverlap, ...]:
    """Run `overlap_steps` to its end."""
    steps = overlap_steps(fixed, moved, moving)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            rows: tuple[StructureOverlap, ...] = stop.value
            return rows


def overlap_steps(
    fixed: LabelMap, moved: LabelMap, moving: LabelMap | None = None, first: float = 0.0, last: float = 1.0
) -> Generator[Step, Control | None, tuple[StructureOverlap, ...]]:
    """Compare the fixed labels with the moved ones, and, as the state before, with the moving ones placed by their header alone.

    Parameters
    ----------
    fixed, moved : LabelMap
        On the fixed grid.
    moving : LabelMap, optional
        On its own grid.
    first, last : float
        Fraction of the whole work at the beginning and at the end; a step is given after each structure.

    Raises
    ------
    InputError
        If the moved labels do not lie on the fixed grid.
    """
    if moved.grid != fixed.grid:
        raise InputError(f"Moved labels must lie on the fixed grid {fixed.grid.shape}, not on {moved.grid.shape}. Resample them first.")
    before = None if moving is None else on_grid(moving, fixed.grid)
    numbers = np.array(sorted(set(fixed.labels) | set((moving or moved).labels)), dtype=np.int32)
    named = replace(fixed, label_names={**(moving.label_names if moving is not None else {}), **fixed.label_names})
    places = [None if part is None else places_of(part.data, numbers) for part in (fixed, moved, before)]
    own_volumes = None if moving is None else _counts(places_of(moving.data, numbers), len(numbers)) * _voxel_mm3(moving.grid)
    surfaces = [None if place is None else _surfaces(place, len(numbers), fixed.grid) for place in places]
    tables = [_confusion(places[0], place, len(numbers)) for place in places[1:]]
    rows = []
    for n, number in enumerate(numbers.tolist()):
        after, earlier = (_agreement(n, table, surfaces[0], surface) for table, surface in zip(tables, surfaces[1:], strict=True))
        moving_volume = None if own_volumes is None else float(own_volumes[n])
        rows.append(_row(number, named.name_of(number), tables[0], n, moving_volume, _voxel_mm3(fixed.grid), earlier, after))
        yield Step("evaluate", message="comparing structures", fraction=first + (last - first) * (n + 1) / len(numbers))
    return tuple(rows)


def on_grid(labels: LabelMap, grid: Grid) -> LabelMap:
    """Resample labels on another grid through the headers alone, nearest voxel; 0 outside."""
    matrix = labels.grid.world_to_voxel_matrix @ grid.affine
    # grid-constant: a voxel reaches half a voxel beyond its center, at the rim, too.
    data = affine_transform(
        labels.data, matrix[:3, :3], offset=matrix[:3, 3], output_shape=grid.shape, order=0, mode="grid-constant", cval=0
    )
    return LabelMap(data, grid, labels.name, labels.label_names)


def surface_distances(
    first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "m 3"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]:
    """Give the distance in mm from each surface point to the nearest one of the other surface, both ways."""
    to_second = _tree(second).query(first, workers=thread_count())[0]
    to_first = _tree(first).query(second, workers=thread_count())[0]
    return np.asarray(to_second), np.asarray(to_first)


def _tree(points: np.ndarray) -> cKDTree:
    # Points of a lattice are spread evenly: the quick way of building costs nothing when asked.
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _voxel_mm3(grid: Grid) -> float:
    return float(abs(np.linalg.det(grid.affine[:3, :3])))


def places_of(data: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Replace each number by its place in `numbers`, counted from 1; 0 for background and numbers not listed."""
    low, high = int(data.min()), int(data.max())
    if high - low > 4_000_000:  # a lookup table would be larger than the search is slow
        place = np.searchsorted(numbers, data).clip(max=max(len(numbers) - 1, 0))
        return np.ascontiguousarray(np.where(numbers[place] == data, place + 1, 0), dtype=np.int32)
    table = np.zeros(high - low + 1, dtype=np.int32)
    listed = (numbers >= low) & (numbers <= high)
    table[numbers[listed] - low] = np.flatnonzero(listed) + 1
    return np.ascontiguousarray(table[data - low])


def _counts(places: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(_confusion(places, places, count)).diagonal()[1:]


def _confusion(first: np.ndarray | None, second: np.ndarray | None, count: int) -> np.ndarray | None:
    """Count voxels by their place in both maps: [first, second], place 0 for background."""
    if first is None or second is None:
        return None
    parts = run_slabs(_confusion_kernel, first.shape[0], first, second, count)
    return np.asarray(sum(parts[1:], start=parts[0]))


@_compiled
def _confusion_kernel(first: int, stop: int, one: Any, other: Any, count: int) -> Any:
    table = np.zeros((count + 1, count + 1), dtype=np.int64)
    for i in range(first, stop):
        for j in range(one.shape[1]):
            for k in range(one.shape[2]):
                table[one[i, j, k], other[i, j, k]] += 1
    return table


def _surfaces(places: np.ndarray, count: int, grid: Grid) -> list[Float[np.ndarray, "n 3"]]:
    """Give for each place the centers (mm, along the grid's axes in the world) of its surface voxels."""
    marked = np.empty(places.shape, dtype=np.bool_)
    slabs = run_slabs(_surface_kernel, places.shape[0], places, count, marked)
    sizes = np.asarray(sum(slabs[1:], start=slabs[0]))[1:]
    ends = np.cumsum(sizes)
    points = np.empty((int(sizes.sum()), 3), dtype=np.float64)
    _collect_kernel(places, marked, ends - sizes, np.ascontiguousarray(grid.affine[:3, :3]), points)
    return np.split(points, ends[:-1]) if count else []


@_compiled
def _surface_kernel(first: int, stop: int, places: Any, count: int, out: Any) -> Any:
    """Mark surface voxels and count them by place."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    ni, nj, nk = places.shape
    for i in range(first, stop):
        for j in range(nj):
            for k in range(nk):
                here = places[i, j, k]
                edge = ni > 1 and (i == 0 or i == ni - 1 or places[i - 1, j, k] != here or places[i + 1, j, k] != here)
                edge = edge or (nj > 1 and (j == 0 or j == nj - 1 or places[i, j - 1, k] != here or places[i, j + 1, k] != here))
                edge = edge or (nk > 1 and (k == 0 or k == nk - 1 or places[i, j, k - 1] != here or places[i, j, k + 1] != here))
                out[i, j, k] = here != 0 and edge
                sizes[here] += here != 0 and edge
    return sizes


@_compiled
def _collect_kernel(places: Any, marked: Any, starts: Any, matrix: Any, points: Any) -> None:
    """Write the marked voxels' centers, those of one place together."""
    following = starts.copy()
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            for k in range(places.shape[2]):
                if marked[i, j, k]:
                    n = following[places[i, j, k] - 1]
                    following[places[i, j, k] - 1] += 1
                    for axis in range(3):
                        points[n, axis] = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k


@dataclass(frozen=True)
class _Agreement:
    dice: float | None = None
    hd95_mm: float | None = None
    mean_surface_distance_mm: float | None = None


def _agreement(
    n: int, table: np.ndarray | None, fixed_surfaces: list[np.ndarray] | None, other_surfaces: list[np.ndarray] | None
) -> _Agreement:
    if table is None or fixed_surfaces is None or other_surfaces is None:
        return _Agreement()
    total = int(table[n + 1].sum() + table[:, n + 1].sum())
    dice = 2 * int(table[n + 1, n + 1]) / total if total else None
    if not len(fixed_surfaces[n]) or not len(other_surfaces[n]):
        return _Agreement(dice)
    there, back = surface_distances(fixed_surfaces[n], other_surfaces[n])
    return _Agreement(dice, float(max(np.percentile(there, 95), np.percentile(back, 95))), float((there.mean() + back.mean()) / 2))


def _row(
    number: int,
    name: str,
    table: np.ndarray | None,
    n: int,
    moving_volume: float | None,
    voxel_mm3: float,
    before: _Agreement,
    after: _Agreement,
) -> StructureOverlap:
    fixed_voxels, moved_voxels = (0, 0) if table is None else (table[n + 1].sum(), table[:, n + 1].sum())
    return StructureOverlap(
        label=number,
        name=name,
        voxels=int(fixed_voxels),
        fixed_volume_mm3=float(fixed_voxels) * voxel_mm3,
        moving_volume_mm3=moving_volume,
        moved_volume_mm3=float(moved_voxels) * voxel_mm3,
        dice_before=before.dice,
        dice_after=after.dice,
        hd95_before_mm=before.hd95_mm,
        hd95_after_mm=after.hd95_mm,
        mean_surface_distance_before_mm=before.mean_surface_distance_mm,
        mean_surface_distance_after_mm=after.mean_surface_distance_mm,
    )
