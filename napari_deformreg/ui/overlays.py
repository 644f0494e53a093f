"""Arrays in, layer data out: arrows of a displacement field, colors of its length and of the Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..space import DisplacementField
from .layers import Placement
from .regions import EVERYWHERE, Region

ARROW_LIMIT = 20_000
"""napari redraws 10 000 arrows in 14 ms and 100 000 in 100 ms on one core without a GPU."""

SMALLEST_ARROW_MM = 0.05
"""Shorter arrows say nothing and hide the image."""

JACOBIAN_RANGE = (0.0, 4.0)
"""Drawn determinants; 1/4 to 4 covers what tissue does, below 0 is a fold."""

ARROW_WIDTH, LINE_WIDTH = 0.15, 0.06
"""Widths of arrows and grid lines as parts of their spacing."""

MAGNITUDE_COLORMAP = "turbo"
"""Of arrows and of the map of their lengths: many hues, so that two lengths are told apart wherever they lie."""

FOLD_COLOR = (0.416, 0.208, 1.0, 1.0)
"""Violet: apart from every gray, from fixed green, moved magenta and all between them, from the colors of the difference, of the Jacobian
and of contours and rings, for those who see no red or no green, too (which no brighter color is)."""


@dataclass(frozen=True)
class View:
    """What part of a volume is looked at.

    Attributes
    ----------
    axis : int
        Layer axis (0 z, 1 y, 2 x) across the displayed plane.
    index : int
        Slice along that axis.
    slab : int
        How many slices around it count; 0 for all.
    flat : bool
        Whether the plane alone is displayed, so that the slab is projected onto it.
    """

    axis: int
    index: int
    slab: int = 1
    flat: bool = True

    def slices(self, length: int) -> range:
        """Return the slices that count, of an axis of this length."""
        if self.slab == 0:
            return range(length)
        first = self.index - (self.slab - 1) // 2
        return range(max(first, 0), min(first + self.slab, length))


@dataclass(frozen=True, eq=False)
class Arrows:
    """Arrows for a Vectors layer with the image's scale.

    Attributes
    ----------
    vectors : (n, 2, 3) float array
        Start and direction in layer voxels z, y, x; the layer's scale makes them millimeters. Within the displayed plane, if it is flat;
        they end at the image's rim at the latest, for an arrow beyond it would move napari's sliders off the slices.
    length_mm : (n,) float array
        True length, the part across the displayed plane included.
    spacing_mm : float
        Distance between arrows in use: the wanted one, or more where that would be too many arrows.
    """

    vectors: Float[np.ndarray, "n 2 3"]
    length_mm: Float[np.ndarray, "n"]
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class DrawnField:
    """A displacement field in layer order, ready to be sampled.

    Attributes
    ----------
    displacement_mm : (z, y, x, 3) float array
        World vectors; the first three axes are the layer's.
    """

    placement: Placement
    displacement_mm: Float[np.ndarray, "z y x 3"]

    @classmethod
    def of(cls, field: DisplacementField) -> DrawnField:
        """Turn a field into layer order, without copying it."""
        placement = Placement(field.grid)
        return cls(placement, placement.to_layer_array(field.displacement_mm))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.displacement_mm.shape[:3]
        return z, y, x

    @property
    def spacing_mm(self) -> Float[np.ndarray, "3"]:
        """Millimeters between voxels along z, y, x."""
        return self.placement.spacing[::-1]

    def typical_spacing(self) -> float:
        """Suggest a distance between arrows: about 45 along the longest side."""
        return float(max((np.array(self.shape) * self.spacing_mm).max() / 45, self.spacing_mm.min()))

    def width(self, part: float, spacing_mm: float) -> float:
        """Give the layer width (in voxels, as napari wants it) of lines that are this part of their spacing."""
        return float(part * spacing_mm / self.spacing_mm.mean())

    def longest_mm(self) -> float:
        """Give the length that nearly all arrows stay under (99.5 % of a sample of the voxels)."""
        stride = max(1, int(np.cbrt(np.prod(self.shape) / 50_000)))
        sample = self.displacement_mm[tuple(slice(None, None, stride if n > stride else None) for n in self.shape)]
        return float(max(np.percentile(np.linalg.norm(sample, axis=-1), 99.5), 0.1))


def arrows(
    field: DrawnField, view: View, spacing_mm: float, limit: int = ARROW_LIMIT, scale: float = 1.0, region: Region = EVERYWHERE
) -> Arrows:
    """Sample the field's arrows on a lattice of about `spacing_mm` within the view and the region, never more than `limit`.

    They are drawn `scale` times as long as they are.
    """
    samples = _lattice(field, view, spacing_mm)
    while _count(samples) > limit:
        spacing_mm *= 1.1
        samples = _lattice(field, view, spacing_mm)
    index = np.stack(np.meshgrid(*samples, indexing="ij"), -1).reshape(-1, 3)
    vectors_mm = field.displacement_mm[tuple(index.T)].astype(np.float64)
    length_mm = np.linalg.norm(vectors_mm, axis=1)
    seen = (length_mm >= SMALLEST_ARROW_MM) & region.inside(tuple(index.T))
    starts = index[seen].astype(np.float64)
    directions = scale * field.placement.to_layer_vectors(vectors_mm[seen])
    if view.flat:
        starts[:, view.axis] = view.index
        directions[:, view.axis] = 0
    directions *= _part_inside(starts, directions, field.shape)[:, None]
    return Arrows(np.stack([starts, directions], 1).astype(np.float32), length_mm[seen], spacing_mm)


def jacobian_colors() -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n"]]:
    """Give colors and their places (0 to 1 over `JACOBIAN_RANGE`): blue shrinks, red grows, clear at 1, even steps in log2.

    A napari colormap with these, and `FOLD_COLOR` for what lies below the range, is diverging, centered at 1 and logarithmic, while the
    values under the cursor stay true determinants.
    """
    low, high = JACOBIAN_RANGE
    logs = np.linspace(-2, 2, 33)
    places = (2.0**logs - low) / (high - low)
    strength = np.abs(logs) / 2
    cold, hot = np.array([0.02, 0.12, 0.55]), np.array([0.55, 0.0, 0.05])
    pale_cold, pale_hot = np.array([0.35, 0.75, 1.0]), np.array([1.0, 0.75, 0.2])
    ends = np.where(logs[:, None] < 0, cold, hot)
    middles = np.where(logs[:, None] < 0, pale_cold, pale_hot)
    colors = middles + (ends - middles) * strength[:, None]
    alpha = np.clip(1.6 * strength, 0, 0.92)
    rgba = np.concatenate([colors, alpha[:, None]], 1)
    return np.concatenate([rgba[:1], rgba]), np.concatenate([[0.0], places])


def magnitude_colors() -> Float[np.ndarray, "n 4"]:
    """Give the colors of a displacement's length, evenly from none to the longest: those of the arrows, clear where nothing moves."""
    from napari.utils.colormaps import ensure_colormap

    parts = np.linspace(0, 1, 33)
    colors = np.array(ensure_colormap(MAGNITUDE_COLORMAP).map(parts), dtype=np.float64)
    colors[:, 3] = np.clip(4 * parts, 0, 1)
    return colors


def _part_inside(
    starts: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "n"]:
    """Tell how much of each arrow, 0 to 1, lies between the first and the last voxel center."""
    room = np.where(directions > 0, np.array(shape) - 1 - starts, starts)
    parts = np.where(directions == 0, 1.0, room / np.maximum(np.abs(directions), 1e-9))
    return np.asarray(np.clip(parts.min(axis=1), 0.0, 1.0))


def _lattice(field: DrawnField, view: View, spacing_mm: float) -> list[Sequence[int]]:
    samples: list[Sequence[int]] = []
    for axis in range(3):
        along: Sequence[int] = view.slices(field.shape[axis]) if axis == view.axis else range(field.shape[axis])
        stride = max(1, round(spacing_mm / field.spacing_mm[axis]))
        samples.append(along[(len(along) - 1) % stride // 2 :: stride])
    return samples


def _count(samples: list[Sequence[int]]) -> int:
    return int(np.prod([len(along) for along in samples]))
