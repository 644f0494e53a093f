"""Which way points go: the only place of the dock that knows.

fixed_to_moving carries a fixed point to its partner. A moving point is shown over the moved image, which lies on the fixed grid; so it is
drawn where the inverse carries it, and a click on the moved image means the moving point that fixed_to_moving carries the place to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...space import AffineTransform, DisplacementField, TransformChain, invert_points
from ..layers import Placement


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
