"""The two Points layers of the dock, tied to one list of pairs by name; they are drawn from it, never read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from napari.layers import Layer, Points

from ...space import Landmarks
from .. import result_layers as parts
from ..layers import Placement, points_layer
from ..several_changes import changed_at_once
from .pair_list import Pair, PairList, Point, Use
from .reach import Reach

ON_FIXED, ON_MOVING = "landmark pairs on fixed", "landmark pairs on moving"
SIDES = (ON_FIXED, ON_MOVING)

LOOKS = {ON_FIXED: {"symbol": "disc", "size": 1.0}, ON_MOVING: {"symbol": "cross", "size": 0.7}}

POINT_SIZE = 0.02
"""Diameter of a point as a part of the image's longest side; a point is visible on all slices that its sphere meets."""

OPACITY = {Use.DRIVES: 1.0, Use.HELD_OUT: 0.55, Use.EXCLUDED: 0.3}


@dataclass(frozen=True)
class Suggested:
    """A partner that nobody has accepted yet.

    Attributes
    ----------
    name : str
        Of the pair.
    moving_mm : point
        RAS+ mm.
    confidence : float or None
        None while nothing but the mapped place is known.
    """

    name: str
    moving_mm: Point
    confidence: float | None = None


@dataclass(frozen=True)
class End:
    """One end of a pair, as it is drawn.

    Attributes
    ----------
    side : str
        `ON_FIXED` or `ON_MOVING`.
    drawn : tuple of float
        mm along z, y, x of the viewer's world.
    """

    name: str
    side: str
    drawn: tuple[float, float, float]


class PairLayers:
    """Draws pairs in one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layers: dict[str, Any] = {}
        self._placement: Placement | None = None
        self._ends: list[End] = []
        self._reach = Reach(viewer)
        self._chosen: Pair | None = None
        self._radius_mm = 0.0
        self.size_mm = 5.0

    @property
    def ends(self) -> list[End]:
        """All ends as they are drawn."""
        return list(self._ends)

    def show(self, placement: Placement) -> None:
        """Add the layers, empty, on top of an image that is drawn this way."""
        self.remove()
        self._placement = placement
        extent = placement.spacing * np.array(placement.canonical.shape)
        self.size_mm = max(float(POINT_SIZE * extent.max()), float(placement.spacing.max()))
        active = self._viewer.layers.selection.active
        self._reach.show(placement)
        for side in SIDES:
            self._layers[side] = self._viewer.add_layer(_layer(side, placement, self.size_mm))
        self._viewer.layers.selection.active = active if active is not None else self._layers[ON_FIXED]

    def layer(self, side: str) -> Any | None:
        """Return a layer, if it is still there."""
        layer = self._layers.get(side)
        return layer if layer is not None and layer in self._viewer.layers else None

    def draw(
        self, pairs: PairList, drawn: Mapping[str, Mapping[str, Float[np.ndarray, "3"]]], chosen: str | None, suggested: Suggested | None,
        radius_mm: float,
    ) -> None:
        """Draw all pairs.

        Parameters
        ----------
        pairs : PairList
            What they are.
        drawn : mapping
            By side and name: where each end is drawn (mm along z, y, x).
        chosen : str or None
            The pair that is drawn thicker, with how far a correction of it reaches.
        suggested : Suggested or None
            Whose partner is drawn as a suggestion.
        radius_mm : float
            Farther from the fixed end nothing is corrected.
        """
        self._ends = []
        for side in SIDES:
            shown = [pair for pair in pairs.pairs if pair.name in drawn[side]]
            places = np.array([drawn[side][pair.name] for pair in shown], dtype=np.float64).reshape(-1, 3)
            self._ends += [End(pair.name, side, (z, y, x)) for pair, (z, y, x) in zip(shown, places.tolist(), strict=True)]
            layer = self.layer(side)
            if layer is not None and self._placement is not None:
                _fill(layer, places, shown, chosen, suggested)
        self._chosen, self._radius_mm = pairs[chosen] if chosen is not None and chosen in pairs else None, radius_mm
        self._draw_reach(None if self._chosen is None else tuple(float(n) for n in drawn[ON_FIXED][self._chosen.name]))

    def _draw_reach(self, place: tuple[float, ...] | None) -> None:
        if place is None or self._chosen is None:
            self._reach.draw(None, self._radius_mm, "white")
        else:
            self._reach.draw((place[0], place[1], place[2]), self._radius_mm, self._chosen.color)

    def drag(self, end: End, drawn: tuple[float, float, float]) -> None:
        """Draw one end elsewhere, while the mouse holds it."""
        layer = self.layer(end.side)
        if layer is None:
            return
        names = list(layer.features["name"])
        if end.name in names:
            data = np.array(layer.data)
            data[names.index(end.name)] = (np.array(drawn) - layer.translate) / layer.scale
            _replace(layer, data)
            if end.side == ON_FIXED and self._chosen is not None and end.name == self._chosen.name:
                self._draw_reach(drawn)

    def remove(self) -> None:
        """Take the layers away."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._reach.remove()
        self._layers, self._ends, self._placement, self._chosen = {}, [], None, None


def _layer(side: str, placement: Placement, size_mm: float) -> Any:
    text = {"string": "{label}", "size": 11, "color": "white", "anchor": "upper_left", "translation": (0.0, -0.6, -0.6)}
    # One point to begin with: napari cannot make texts and colors of columns without a row.
    some = Landmarks(np.zeros((1, 3)), ("–",))
    look = {"face_color": "transparent", "border_color": "white", "border_width": 0.12, "text": text, "out_of_slice_display": False}
    entry = points_layer(some, placement, size_mm, {"label": ["–"]}, name=side, **look)
    layer = Layer.create(*parts.marked_as_result(entry))
    layer.selected_data = {0}
    layer.remove_selected()
    # The points are moved by the dock, which knows what that means; napari's own tools would only move the drawing.
    layer.editable = False
    return layer


def _fill(layer: Points, places: Float[np.ndarray, "n 3"], pairs: list[Pair], chosen: str | None, suggested: Suggested | None) -> None:
    """Show these pairs; each property alone would draw all of them anew."""
    look = LOOKS[str(parts.part_of(layer))]
    colors = np.array([_color(pair) for pair in pairs]).reshape(-1, 4)
    # The fixed end was placed; what is suggested is the moving one.
    labels = [_label(pair, suggested) if parts.part_of(layer) == ON_MOVING else pair.name for pair in pairs]
    # The texts, too: they would be looked up by the points that were seen before.
    with changed_at_once(layer), layer.text.events.blocker_all():
        layer.data = (places - layer.translate) / layer.scale
        layer.features = pd.DataFrame({"name": [pair.name for pair in pairs], "label": labels})
        if len(pairs):
            layer.symbol = look["symbol"]
            layer.size = look["size"]
            layer.border_color = colors
            layer.face_color = np.zeros_like(colors) if look["symbol"] == "disc" else colors
            layer.border_width = [0.25 if pair.name == chosen else 0.12 for pair in pairs]


def _replace(layer: Points, data: Float[np.ndarray, "n 3"]) -> None:
    with changed_at_once(layer):
        layer.data = data


def _color(pair: Pair) -> np.ndarray:
    red, green, blue = (int(pair.color[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return np.array([red, green, blue, OPACITY[pair.use]])


def _label(pair: Pair, suggested: Suggested | None) -> str:
    if suggested is not None and suggested.name == pair.name:
        return f"{pair.name}?" if suggested.confidence is None else f"{pair.name}? {suggested.confidence:.0%}"
    return pair.name
