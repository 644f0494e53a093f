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
from .outlines import PROJECTED, Outline, corners_of, densified, flattened, flattest_axis, within_slices

FAINT = 0.45
"""Part of its opacity that is left to an outline where it is drawn whole in a slice that only a part of it lies in."""


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
class Line:
    """What is drawn of one shape on the other image.

    Attributes
    ----------
    vertices : (n, 3) array
        Voxels z, y, x of the other image as it is drawn.
    number : int
        Of the shape.
    kind : str
        polygon or path.
    drawn : str
        whole; piece: the part in one slice of a shape that leaves it; projected: all of it, pushed into the slice that most of it lies in.
    off_mm : float
        How far it was pushed at most.
    """

    vertices: Float[np.ndarray, "n 3"]
    number: int
    kind: str
    drawn: str
    off_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class CarriedOutlines:
    """Shapes on the other image, and all their vertices."""

    lines: list[Line]
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
        if images is None or max((line.number for line in found.lines), default=-1) >= len(source.data):
            return self.touch()
        placement = images.placement(self.side.other)
        if self.partner is None:
            self._add(Shapes(None, ndim=3, **marks(placement, source, self.side)))
        _fill_shapes(self.partner, source, found)
        words = f"{len({line.number for line in found.lines})} shapes"
        pushed = [line.off_mm for line in found.lines if line.drawn == PROJECTED]
        if pushed:
            words += f", {len(pushed)} of them leave their slice by up to {max(pushed):.1f} mm (drawn whole there, but faint)"
        self._say(words + _residual_words(found.across, self.side) + outside_words(found.across.outside, "vertices"))
        return None


def _carried(
    outlines: list[Outline], across: Callable[[Float[np.ndarray, "n 3"]], Across], target: Placement, step_mm: float
) -> CarriedOutlines:
    dense = [densified(one.vertices, one.closed, step_mm) for one in outlines]
    found = across(np.concatenate([np.zeros((0, 3)), *dense]))
    ends = np.cumsum([len(one) for one in dense], dtype=int)[:-1]
    lines: list[Line] = []
    for outline, line in zip(outlines, np.split(found.points, ends), strict=False):
        lines += _lines(outline, target.to_layer_points(line), target)
    return CarriedOutlines(lines, found)


def _lines(outline: Outline, voxels: Float[np.ndarray, "n 3"], target: Placement) -> list[Line]:
    """Return what is drawn of one shape: what leaves its slice is cut, and a closed one is drawn whole besides."""
    axis = flattest_axis(voxels)
    parts = [voxels] if target.canonical.is_2d else within_slices(voxels, outline.closed, axis)
    if len(parts) == 1:
        return [Line(parts[0], outline.number, "polygon" if outline.closed and len(voxels) > 2 else "path", "whole")]
    pieces = [Line(part, outline.number, "path", "piece") for part in parts]
    if not outline.closed:
        return pieces
    flat = flattened(voxels, axis)
    off_mm = float(np.abs(flat - voxels).max() * target.spacing[2 - axis])
    return [Line(flat, outline.number, "polygon", PROJECTED, off_mm), *pieces]


def _fill_shapes(layer: Any, source: Any, found: CarriedOutlines) -> None:
    lines = found.lines
    numbers = np.array([line.number for line in lines], dtype=int)
    width = np.array(source.edge_width, dtype=float) * abs(float(source.scale[-1])) / float(np.min(layer.scale))
    faint = np.array([[1, 1, 1, FAINT if line.drawn == PROJECTED else 1.0] for line in lines]).reshape(-1, 4)
    with changed_at_once(layer):
        layer.data = []
        if len(numbers):
            layer.add(
                [line.vertices for line in lines], shape_type=[line.kind for line in lines], edge_width=list(width[numbers]),
                edge_color=np.array(source.edge_color)[numbers] * faint, face_color=np.array(source.face_color)[numbers] * faint,
            )  # fmt: skip
        layer.features = pd.DataFrame(
            {
                "shape": numbers,
                "drawn_as": [str(source.shape_type[n]) for n in numbers],
                "drawn": [line.drawn for line in lines],
                "off_slice_mm": [line.off_mm for line in lines],
            }
        )
    layer.editable = False
