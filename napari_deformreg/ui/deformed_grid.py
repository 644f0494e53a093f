"""Lattice lines of the fixed image, carried along by the displacement: in the displayed plane, or in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .overlays import ARROW_LIMIT, DrawnField, View
from .regions import EVERYWHERE, Region

_GROWTH = 1.15

SPACE_LIMIT = 3000
"""Segments in space: more cover each other."""

FINE_STRIDE = 4
"""Voxels between lines from which on every second voxel along them is enough."""


@dataclass(frozen=True, eq=False)
class GridLines:
    """Short line segments for a Vectors layer with the image's scale.

    Attributes
    ----------
    segments : (n, 2, 3) float array
        Start and direction in layer voxels z, y, x.
    length_mm : (n,) float array
        How far the start is moved.
    spacing_mm : float
        Distance between lines in use: the wanted one, or more where that would be too many segments.
    """

    segments: Float[np.ndarray, "n 2 3"]
    length_mm: Float[np.ndarray, "n"]
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class _Family:
    """Lines along one axis: where their points are sampled, per axis."""

    axis: int
    samples: tuple[Sequence[int], ...]

    @property
    def count(self) -> int:
        """An upper bound of its segments."""
        return int(np.prod([len(along) for along in self.samples]))


def grid_lines(
    field: DrawnField, view: View, spacing_mm: float, region: Region = EVERYWHERE, limit: int | None = None
) -> GridLines:
    """Draw the lattice lines within the view, each point moved by the field; of a line what lies in the region.

    In a flat view the lines of the plane, drawn within it; in space the lines along all axes that the slab leaves room for.
    """
    limit = limit or (ARROW_LIMIT if view.flat else SPACE_LIMIT)
    step = 2 if _stride(field, spacing_mm) >= FINE_STRIDE else 1  # Fields are smooth: nobody sees the points left out.
    families = _families(field, view, spacing_mm, step)
    while sum(family.count for family in families) > limit:
        if step < _stride(field, spacing_mm) // 2:
            step += 1
        else:
            spacing_mm *= _GROWTH
        families = _families(field, view, spacing_mm, step)
    drawn = [_segments(*_moved(field, view, family, region)) for family in families]
    segments, lengths = zip(*drawn, strict=True)
    return GridLines(np.concatenate(segments).astype(np.float32), np.concatenate(lengths), spacing_mm)


def _stride(field: DrawnField, spacing_mm: float) -> int:
    return max(1, round(spacing_mm / float(field.spacing_mm.min())))


def _families(field: DrawnField, view: View, spacing_mm: float, step: int) -> list[_Family]:
    whole: list[Sequence[int]] = [range(count) for count in field.shape]
    whole[view.axis] = [view.index] if view.flat else view.slices(field.shape[view.axis])
    lattice = [along[:: max(1, round(spacing_mm / mm))] for along, mm in zip(whole, field.spacing_mm, strict=True)]
    found = [
        _Family(axis, tuple(_to_the_end(whole[axis], step) if other == axis else lattice[other] for other in range(3)))
        for axis in range(3)
        if len(whole[axis]) > 1
    ]
    return found or [_Family(view.axis, tuple(lattice))]


def _to_the_end(along: Sequence[int], step: int) -> list[int]:
    """Take every `step`-th, and the last one too: a line ends at the rim."""
    taken = list(along[::step])
    return taken if taken[-1] == along[-1] else [*taken, along[-1]]


def _moved(
    field: DrawnField, view: View, family: _Family, region: Region
) -> tuple[Float[np.ndarray, "m n 3"], Float[np.ndarray, "m n"], Bool[np.ndarray, "m n"]]:
    """Give each line's points where the field moves them, how far that is in mm, and which of them belong to the region."""
    open_index = np.ix_(*family.samples)
    index = np.stack(np.broadcast_arrays(*open_index), -1)
    vectors_mm = field.displacement_mm[open_index].astype(np.float64)
    moved = index + field.placement.to_layer_vectors(vectors_mm.reshape(-1, 3)).reshape(index.shape)
    if view.flat:
        moved[..., view.axis] = view.index
    moved = np.clip(moved, 0, np.array(field.shape) - 1)
    inside = np.broadcast_to(region.inside(open_index), index.shape[:3])
    lengths = np.linalg.norm(vectors_mm, axis=-1)
    count = len(family.samples[family.axis])
    along = [np.moveaxis(values, family.axis, 2) for values in (moved, lengths, inside)]
    return along[0].reshape(-1, count, 3), along[1].reshape(-1, count), along[2].reshape(-1, count)


def _segments(
    lines: Float[np.ndarray, "m n 3"], lengths_mm: Float[np.ndarray, "m n"], inside: Bool[np.ndarray, "m n"]
) -> tuple[Float[np.ndarray, "k 2 3"], Float[np.ndarray, "k"]]:
    kept = inside[:, :-1] & inside[:, 1:]
    start, end = lines[:, :-1][kept], lines[:, 1:][kept]
    return np.stack([start, end - start], 1), lengths_mm[:, :-1][kept]
