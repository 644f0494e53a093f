"""Which way points go: the only place of the dock that knows.

fixed_to_moving carries a fixed point to its partner. A moving point is shown over the moved image, which lies on the fixed grid; so it is
drawn where the inverse carries it, and a click on the moved image means the moving point that fixed_to_moving carries the place to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float

from ...space import AffineTransform, DisplacementField, TransformChain, invert_points
from ..layers import Placement


class Side(StrEnum):
    """Which image something was drawn on."""

    MOVING = "moving"
    FIXED = "fixed"

    @property
    def other(self) -> Side:
        """Where its partner is."""
        return Side.FIXED if self is Side.MOVING else Side.MOVING


@dataclass(frozen=True, eq=False)
class Across:
    """Points of one image carried to the other.

    Attributes
    ----------
    points : (n, 3) float array
        RAS+ mm.
    residual_mm : (n,) float array
        By how much the inverse misses; 0 for fixed points, which need none.
    outside : (n,) bool array
        Outside the fixed image, where nothing but the affine is known.
    """

    points: Float[np.ndarray, "n 3"]
    residual_mm: Float[np.ndarray, "n"]
    outside: Bool[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Directions:
    """A registration as the dock's points see it.

    Parameters
    ----------
    displacement : DisplacementField
        On the fixed grid; its array may change as the registration is corrected.
    affine : AffineTransform
        What comes after it.
    """

    displacement: DisplacementField
    affine: AffineTransform

    @property
    def placement(self) -> Placement:
        """How the fixed grid is drawn."""
        return Placement(self.displacement.grid)

    @property
    def fixed_to_moving(self) -> TransformChain:
        """Carries fixed points to moving space."""
        return TransformChain((self.displacement, self.affine))

    def partners(self, fixed_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry fixed points to moving space (RAS+ mm)."""
        return self.fixed_to_moving.map(np.asarray(fixed_mm, dtype=np.float64).reshape(-1, 3))

    def on_moved(self, moving_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry moving points to where the moved image shows them: fixed space (RAS+ mm), solved point by point."""
        points = np.asarray(moving_mm, dtype=np.float64).reshape(-1, 3)
        return invert_points(self.displacement, self.affine.inverse().map(points)).points

    def across(self, points_mm: Float[np.ndarray, "n 3"], drawn_on: Side) -> Across:
        """Carry points that were drawn on one image to the other: fixed ones by fixed_to_moving, moving ones by its inverse."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        if drawn_on is Side.FIXED:
            return Across(self.partners(points), np.zeros(len(points)), ~self.displacement.grid.contains(points))
        found = invert_points(self.displacement, self.affine.inverse().map(points))
        # What was solved is where the displacement ends; the affine comes after it.
        missed = np.linalg.norm(self.partners(found.points) - points, axis=1)
        return Across(found.points, missed, found.outside_field)

    def clicked_fixed(self, drawn: tuple[float, ...]) -> Float[np.ndarray, "3"]:
        """Tell which fixed point (RAS+ mm) lies at a place of the viewer's world (mm along z, y, x)."""
        return np.asarray(self.placement.to_world(np.array([drawn[-3:]]))[0])

    def clicked_moving(self, drawn: tuple[float, ...]) -> Float[np.ndarray, "3"]:
        """Tell which moving point (RAS+ mm) the moved image shows at a place of the viewer's world."""
        return np.asarray(self.partners(self.clicked_fixed(drawn)[None])[0])

    def drawn_fixed(self, fixed_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Tell where fixed points are drawn (mm along z, y, x)."""
        return self.placement.to_drawn(np.asarray(fixed_mm, dtype=np.float64).reshape(-1, 3))

    def drawn_moving(self, moving_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Tell where moving points are drawn over the moved image (mm along z, y, x)."""
        return self.placement.to_drawn(self.on_moved(moving_mm))
