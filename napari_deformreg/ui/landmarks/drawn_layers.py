"""Annotations in a viewer: which layers they are, which image they were drawn on, and where that is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.layers import Image, Labels, Points, Shapes

from ...space import Grid
from .. import result_layers as parts
from ..input_rows import is_result
from ..layers import METADATA_KEY, Placement, is_drawn_as, shares_voxels
from .directions import Directions, Side

CARRIED = "carried"
"""Role, in the metadata, of a layer that follows another one."""


@dataclass(frozen=True, eq=False)
class BothImages:
    """How a case's two images lie and are drawn.

    Attributes
    ----------
    now : Directions
        The registration as it is shown.
    moving_grid : Grid
        The moving image's own.
    """

    now: Directions
    moving_grid: Grid

    def placement(self, side: Side) -> Placement:
        """Return how an image is drawn on its own grid."""
        return self.now.placement if side is Side.FIXED else Placement(self.moving_grid)

    def drawn_on(self, layer: Any, side: Side, viewer: Any) -> Placement:
        """Return how the image is drawn that a layer was drawn on: the moving one may be shown on the fixed grid alone."""
        own, fixed = self.placement(side), self.now.placement
        if side is Side.FIXED or not any(parts.part_of(one) == parts.MOVING_BEFORE for one in viewer.layers):
            return own
        there = any(isinstance(one, Image) and not is_result(one) and is_drawn_as(one, own) for one in viewer.layers)
        if isinstance(layer, Labels) and shares_voxels(layer, own) != shares_voxels(layer, fixed):
            return own if shares_voxels(layer, own) else fixed
        return own if there else fixed

    def guessed_side(self, layer: Any) -> Side:
        """Guess which image a layer was drawn on, by its voxels or its name; moving where nothing tells."""
        if isinstance(layer, Labels):
            fits = [side for side in Side if shares_voxels(layer, self.placement(side))]
            if len(fits) == 1:
                return fits[0]
        name = layer.name.lower()
        return Side.FIXED if "moving" not in name and ("fixed" in name or "moved" in name) else Side.MOVING


def is_annotation(layer: Any) -> bool:
    """Tell whether a layer can be followed: Points, Shapes or Labels that are not ours."""
    return isinstance(layer, Points | Shapes | Labels) and not is_result(layer) and not is_carried(layer)


def is_carried(layer: Any) -> bool:
    """Tell whether a layer was derived from another one by the registration."""
    known = layer.metadata.get(METADATA_KEY) if isinstance(layer.metadata, dict) else None
    return isinstance(known, dict) and known.get("role") == CARRIED


def marks(placement: Placement, source: Any, side: Side) -> dict[str, Any]:
    """Give the arguments of a layer that follows another one, but its scale and place if its data are not in voxels."""
    arguments = placement.layer_arguments
    own = {**arguments["metadata"][METADATA_KEY], "role": CARRIED, "follows": source.name, "drawn_on": str(side), "live": True}
    return {**arguments, "metadata": {METADATA_KEY: own}, "name": f"{source.name} in {side.other}"}
