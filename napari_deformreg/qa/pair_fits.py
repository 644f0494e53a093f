"""How well single landmark pairs are met, for pairs that change under the user's hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..space import LandmarkPairs, Transform


@dataclass(frozen=True)
class PairFits:
    """Residuals of landmark pairs.

    Attributes
    ----------
    residual_mm : dict of str to float
        By name: distance of the fixed point, carried by fixed_to_moving, from the moving point. For a pair that drives it is part of the
        fiducial registration error, for one that is held out of the target registration error.
    part : dict of str to float
        By name, of those with a weight: w r^2 / sum w r^2.
    """

    residual_mm: dict[str, float]
    part: dict[str, float]

    def mean_mm(self, names: tuple[str, ...]) -> float | None:
        """Return the mean residual of some pairs; None without any."""
        return float(np.mean([self.residual_mm[name] for name in names])) if names else None


def pair_fits(fixed_to_moving: Transform, pairs: LandmarkPairs, weights: Mapping[str, float]) -> PairFits:
    """Measure pairs against a transform.

    Parameters
    ----------
    fixed_to_moving : Transform
        RAS+ mm.
    pairs : LandmarkPairs
        Which.
    weights : mapping of str to float
        Of those that drive; 0 or missing for all others.
    """
    if not len(pairs):
        return PairFits({}, {})
    residuals: Float[np.ndarray, "n"] = np.linalg.norm(fixed_to_moving.map(pairs.fixed_points) - pairs.moving_points, axis=1)
    known = dict(zip(pairs.names, residuals.tolist(), strict=True))
    squares = {name: weights[name] * known[name] ** 2 for name in pairs.names if weights.get(name, 0) > 0}
    total = sum(squares.values())
    return PairFits(known, {name: square / total if total > 0 else 0.0 for name, square in squares.items()})
