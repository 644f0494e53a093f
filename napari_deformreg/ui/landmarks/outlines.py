"""Lines of a Shapes layer as vertices: dense enough to bend, and cut where they leave a slice. Plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

PROJECTED = "projected"
"""Said in a feature of a line that was pushed into a slice in which it does not lie."""

CLOSED = ("rectangle", "polygon", "ellipse")

ELLIPSE_VERTICES = 96

MOST_VERTICES = 2000
"""Of one shape: its vertices are farther apart than asked for rather than more."""

RIM_VOX = 1e-3
"""A piece of a line ends so far before the next slice begins."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One shape as a line.

    Attributes
    ----------
    number : int
        Of the shape in its layer.
    kind : str
        What it was drawn as.
    vertices : (n, 3) float array
        A closed line does not repeat its first one.
    """

    number: int
    kind: str
    vertices: Float[np.ndarray, "n 3"]

    @property
    def closed(self) -> bool:
        """Whether the last vertex is joined to the first one."""
        return self.kind in CLOSED


def corners_of(kind: str, data: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """Return a shape's vertices; an ellipse, which napari keeps as the four corners around it, becomes a polygon."""
    if kind != "ellipse":
        return np.asarray(data, dtype=np.float64)
    center, first, second = (data[0] + data[2]) / 2, (data[1] - data[0]) / 2, (data[3] - data[0]) / 2
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)[:, None]
    return np.asarray(center + np.cos(angle) * first + np.sin(angle) * second)


def densified(line: Float[np.ndarray, "n 3"], closed: bool, step_mm: float) -> Float[np.ndarray, "m 3"]:
    """Put vertices between those of a line, at most a step apart; all that were there stay."""
    ends = np.concatenate([line[1:], line[:1]]) if closed else line[1:]
    starts = line if closed else line[:-1]
    lengths = np.linalg.norm(ends - starts, axis=1)
    step = max(step_mm, float(lengths.sum()) / MOST_VERTICES)
    counts = np.maximum(np.ceil(lengths / step).astype(int), 1)
    parts = [a + np.arange(n)[:, None] / n * (b - a) for a, b, n in zip(starts, ends, counts, strict=True)]
    return np.concatenate([*parts, *([] if closed else [line[-1:]])])


def flattest_axis(line: Float[np.ndarray, "n 3"]) -> int:
    """Return the axis across the slice that a line was drawn in."""
    return int(np.argmin(np.ptp(line, axis=0)))


def within_slices(line: Float[np.ndarray, "n 3"], closed: bool, axis: int) -> list[Float[np.ndarray, "m 3"]]:
    """Cut a line (voxels) where it passes from one slice into the next one.

    napari shows a shape only on the slice that all of it lies in, so a line that leaves its slice would be seen nowhere.

    Returns
    -------
    pieces
        One closed line, if all of it lies in one slice; else open ones, each within a slice.
    """
    slices = np.floor(line[:, axis] + 0.5)
    if (slices == slices[0]).all():
        return [line]
    if closed:
        # Begun at a place where it is cut anyway.
        first = int(np.flatnonzero(slices != np.roll(slices, 1))[0])
        line = np.roll(line, -first, axis=0)
        line = np.concatenate([line, line[:1]])
    return [piece for piece in _pieces(line, axis) if len(piece) > 1]


def flattened(line: Float[np.ndarray, "n 3"], axis: int) -> Float[np.ndarray, "n 3"]:
    """Push a line (voxels) into the slice that most of its vertices lie in, straight across the slices."""
    slices, counts = np.unique(np.floor(line[:, axis] + 0.5), return_counts=True)
    flat = line.copy()
    flat[:, axis] = slices[np.argmax(counts)]
    return flat


def _pieces(line: Float[np.ndarray, "n 3"], axis: int) -> Iterator[Float[np.ndarray, "m 3"]]:
    piece = [line[0]]
    for start, end in pairwise(line):
        for leaving, entering in _crossings(start, end, axis):
            yield np.array([*piece, leaving])
            piece = [entering]
        piece.append(end)
    yield np.array(piece)


def _crossings(start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"], axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield where a segment leaves one slice and enters the next one, slice by slice."""
    here, there = (int(np.floor(point[axis] + 0.5)) for point in (start, end))
    ahead = 1 if there > here else -1
    for number in range(here, there, ahead):
        rim = number + 0.5 * ahead
        leaving = start + (rim - start[axis]) / (end[axis] - start[axis]) * (end - start)
        entering = leaving.copy()
        leaving[axis], entering[axis] = rim - RIM_VOX * ahead, rim + RIM_VOX * ahead
        yield leaving, entering
