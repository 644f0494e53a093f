"""Points and Shapes that follow: their points are carried one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from napari.layers import Points, Shapes

from ..layers import Placement, layer_to_world
from ..several_changes import changed_at_once
from .directions import Across, Side
from .drawn_layers import BothImages, marks
from .follower import Follower, outside_words
from .outlines import Outline, corners_of, densified, flattest_axis, within_slices


def in_world(rows: Float[np.ndarray, "n d"], to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "n 3"]:
    """Carry a layer's coordinates (z, y, x or y, x) to RAS+ mm."""
    rows = np.asarray(rows, dtype=np.float64)
    voxels = np.concatenate([np.zeros((len(rows), 3 - rows.shape[1])), rows], axis=1)[:, ::-1]
    return np.asarray(voxels @ to_world[:3, :3].T + to_world[:3, 3])


def _residual_words(across: Across, side: Side) -> str:
    worst = float(across.residual_mm[~across.outside].max(initial=0.0))
    return f", inverse off by {worst:.1g} mm at most" if side is Side.MOVING else ""


class PointsFollower(Follower):
    """Follows a Points layer."""

    EVENTS = ("data", "set_data", "features")

    def read(self, images: BothImages) -> Callable[[], Across] | None:
        """Carry all points."""
        drawn = images.drawn_on(self.source, self.side, self.viewer)
        points = in_world(np.array(self.source.data), layer_to_world(self.source, drawn))
        if not self.is_new(points):
            return None
        return lambda: images.now.across(points, self.side)

    def show(self, found: Across) -> None:
        """Draw them where they were carried to, as their source draws them."""
        images, source = self.images(), self.source
        if images is None or len(found.points) != len(source.data):
            return self.touch()
        placement = images.placement(self.side.other)
        # Not below the image's spacing: the finest layer decides how far one step of the slider goes.
        size_mm = max(_mean(source.size) * float(np.abs(source.scale).max()), float(placement.spacing.max()))
        if self.partner is None:
            # One unit is a point's diameter: so points are round, and shown on every slice that they meet.
            own = {**marks(placement, source, self.side), "scale": (size_mm,) * 3, "size": 1.0}
            self._add(Points(np.zeros((0, 3)), **own))
        _fill_points(self.partner, source, found, placement)
        self._say(f"{len(found.points)} points" + _residual_words(found, self.side) + outside_words(found.outside, "points"))
        return None


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if np.size(values) else 0.0


def _fill_points(layer: Any, source: Any, found: Across, placement: Placement) -> None:
    features = source.features.copy().reset_index(drop=True)
    features["inverse_residual_mm"], features["outside_fixed"] = found.residual_mm, found.outside
    with changed_at_once(layer):
        layer.data = placement.to_layer_points(found.points) * placement.spacing[::-1] / layer.scale
        layer.features = features
        if len(found.points):
            layer.size = 1.0
            layer.symbol = source.symbol
            layer.face_color = np.array(source.face_color)
            layer.border_color = np.array(source.border_color)
    layer.editable = False


@dataclass(frozen=True, eq=False)
class CarriedOutlines:
    """Shapes on the other image.

    Attributes
    ----------
    pieces : list of (n, 3) arrays
        Voxels z, y, x of the other image as it is drawn.
    numbers : list of int
        Which shape each is a piece of.
    kinds : list of str
        polygon or path.
    across : Across
        All vertices.
    """

    pieces: list[Float[np.ndarray, "n 3"]]
    numbers: list[int]
    kinds: list[str]
    across: Across


class ShapesFollower(Follower):
    """Follows a Shapes layer."""

    EVENTS = ("data", "set_data", "features")

    def read(self, images: BothImages) -> Callable[[], CarriedOutlines] | None:
        """Carry the outlines of all shapes."""
        source, target = self.source, images.placement(self.side.other)
        to_world = layer_to_world(source, images.drawn_on(source, self.side, self.viewer))
        shapes = zip(source.shape_type, source.data, strict=True)
        outlines = [Outline(n, str(kind), in_world(corners_of(str(kind), data), to_world)) for n, (kind, data) in enumerate(shapes)]
        step = 0.5 * float(target.spacing.min())
        if not self.is_new(*(one.vertices for one in outlines)):
            return None
        return lambda: _carried(outlines, lambda points: images.now.across(points, self.side), target, step)

    def show(self, found: CarriedOutlines) -> None:
        """Draw them as polygons and paths in the colors of their source."""
        images, source = self.images(), self.source
        if images is None or max(found.numbers, default=-1) >= len(source.data):
            return self.touch()
        placement = images.placement(self.side.other)
        if self.partner is None:
            self._add(Shapes(None, ndim=3, **marks(placement, source, self.side)))
        _fill_shapes(self.partner, source, found)
        cut = sum(found.numbers.count(number) > 1 for number in set(found.numbers))
        words = f"{len(set(found.numbers))} shapes" + (f", {cut} of them in pieces, as they cross slices" if cut else "")
        self._say(words + _residual_words(found.across, self.side) + outside_words(found.across.outside, "vertices"))
        return None


def _carried(
    outlines: list[Outline], across: Callable[[Float[np.ndarray, "n 3"]], Across], target: Placement, step_mm: float
) -> CarriedOutlines:
    dense = [densified(one.vertices, one.closed, step_mm) for one in outlines]
    found = across(np.concatenate([np.zeros((0, 3)), *dense]))
    ends = np.cumsum([len(one) for one in dense], dtype=int)[:-1]
    pieces, numbers, kinds = [], [], []
    for outline, line in zip(outlines, np.split(found.points, ends), strict=False):
        voxels = target.to_layer_points(line)
        flat = target.canonical.is_2d
        parts = [voxels] if flat else within_slices(voxels, outline.closed, flattest_axis(voxels))
        whole = len(parts) == 1 and outline.closed and len(voxels) > 2
        pieces += parts
        numbers += [outline.number] * len(parts)
        kinds += ["polygon" if whole else "path"] * len(parts)
    return CarriedOutlines(pieces, numbers, kinds, found)


def _fill_shapes(layer: Any, source: Any, found: CarriedOutlines) -> None:
    numbers = np.array(found.numbers, dtype=int)
    width = np.array(source.edge_width, dtype=float) * abs(float(source.scale[-1])) / float(np.min(layer.scale))
    with changed_at_once(layer):
        layer.data = []
        if len(numbers):
            layer.add(
                found.pieces, shape_type=found.kinds, edge_width=list(width[numbers]),
                edge_color=np.array(source.edge_color)[numbers], face_color=np.array(source.face_color)[numbers],
            )  # fmt: skip
        layer.features = pd.DataFrame({"shape": numbers, "drawn_as": [str(source.shape_type[n]) for n in numbers]})
    layer.editable = False
