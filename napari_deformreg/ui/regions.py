"""Where a field is shown: everywhere, in the foreground that the report counts, or in one structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from .layers import Placement
from .pictures import ResultPicture


@dataclass(frozen=True, eq=False)
class Region:
    """Voxels of the fixed grid, in layer order.

    Attributes
    ----------
    title : str
        For the user.
    labels : (z, y, x) array or None
        None for all voxels.
    number : int or None
        The label that belongs to it; None for all labels but 0.
    foreground : bool
        Whether it is where most of the report's numbers are taken.
    """

    title: str
    labels: Shaped[np.ndarray, "z y x"] | None = None
    number: int | None = None
    foreground: bool = False

    def inside(self, index: Any) -> Any:
        """Tell which voxels at this index (of any kind that numpy takes) belong to it; one True for all."""
        if self.labels is None:
            return np.True_
        there = self.labels[index]
        return there != 0 if self.number is None else there == self.number


EVERYWHERE = Region("everywhere")


def regions_of(picture: ResultPicture) -> tuple[Region, ...]:
    """List what a result's field can be bounded to."""
    placement = Placement(picture.displacement.grid)
    found = [EVERYWHERE]
    if picture.foreground is not None:
        found.append(Region(picture.foreground.description, placement.to_layer_array(picture.foreground.mask), foreground=True))
    labels = picture.fixed_labels
    if labels is not None and labels.grid == picture.displacement.grid:
        drawn = placement.to_layer_array(labels.data)
        if len(picture.structures) > 1:
            found.append(Region("any structure", drawn))
        found += [Region(name, drawn, number) for number, name in picture.structures.items()]
    return tuple(found)
