"""Landmarks: named points in the world, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named world points.

    Parameters
    ----------
    points : (n, 3) float array
        RAS+ mm.
    names : tuple of str
        One a point, all different.
    """

    points: Float[np.ndarray, "n 3"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64).reshape(-1, 3)
        if len(points) != len(self.names):
            raise InputError(f"{len(points)} landmark points but {len(self.names)} names; each point needs one name.")
        if not np.isfinite(points).all():
            bad = [n for n, p in zip(self.names, points, strict=True) if not np.isfinite(p).all()]
            raise InputError(f"Landmark coordinates must be finite numbers; these are not: {', '.join(bad[:5])}.")
        seen = sorted({n for n in self.names if self.names.count(n) > 1})
        if seen:
            raise InputError(f"Landmark names must be unique; these occur more than once: {', '.join(seen[:5])}.")
        points.setflags(write=False)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "names", tuple(self.names))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class LandmarkPairs:
    """The same anatomical places in the fixed and in the moving image, in one order, tied by name."""

    names: tuple[str, ...]
    fixed_points: Float[np.ndarray, "n 3"]
    moving_points: Float[np.ndarray, "n 3"]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def match(cls, fixed: Landmarks, moving: Landmarks) -> LandmarkPairs:
        """Tie landmarks by name.

        Raises
        ------
        InputError
            If a name is missing on either side; names every missing one.
        """
        only_fixed = [n for n in fixed.names if n not in moving.names]
        only_moving = [n for n in moving.names if n not in fixed.names]
        if only_fixed or only_moving:
            raise InputError(
                f"Fixed and moving landmarks must have the same names: {len(fixed)} fixed, {len(moving)} moving; "
                f"only in fixed: {', '.join(only_fixed[:5]) or 'none'}; only in moving: {', '.join(only_moving[:5]) or 'none'}. "
                "Rename or remove the unmatched ones."
            )
        order = [moving.names.index(n) for n in fixed.names]
        return cls(fixed.names, fixed.points, moving.points[order])
