"""Target registration errors, point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..result import RegistrationResult
from ..space import LandmarkPairs

SAME_PLACE_MM = 0.01
"""Coordinates in tables are rounded to about this much; two anatomical landmarks lie farther apart."""


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Errors of landmark pairs before and after, evaluated as in the literature: fixed landmarks go through fixed_to_moving.

    Attributes
    ----------
    pairs : LandmarkPairs
        The landmarks, RAS+ mm.
    carried_points : (n, 3) float array
        Fixed landmarks in moving space, RAS+ mm.
    before_mm, after_mm : (n,) float array
        Distance to the moving landmark by the headers alone, and by the registration.
    before_axes_mm, after_axes_mm : (n, 3) float array
        The same as signed differences along R, A, S: where the fixed landmark came to lie minus the moving landmark.
    moving_in_fixed_points : (n, 3) float array
        Moving landmarks in fixed space, RAS+ mm.
    inverse_residual_mm : (n,) float array
        How far each of those misses when carried back.
    outside_field : (n,) bool array
        The fixed landmark, or the moving one in fixed space, lies outside the fixed image: only the affine is known there.
    drove : (n,) bool array
        Whether the pair drove the registration; then it does not judge it.
    """

    pairs: LandmarkPairs
    carried_points: Float[np.ndarray, "n 3"]
    before_mm: Float[np.ndarray, "n"]
    after_mm: Float[np.ndarray, "n"]
    before_axes_mm: Float[np.ndarray, "n 3"]
    after_axes_mm: Float[np.ndarray, "n 3"]
    moving_in_fixed_points: Float[np.ndarray, "n 3"]
    inverse_residual_mm: Float[np.ndarray, "n"]
    outside_field: Bool[np.ndarray, "n"]
    drove: Bool[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.pairs)

    def rows(self) -> list[dict[str, Any]]:
        """Give one flat mapping a landmark, in their order, ready for a table or a CSV file."""
        return [self._row(n) for n in range(len(self))]

    def _row(self, n: int) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.pairs.names[n]}
        row.update(tre_before_mm=float(self.before_mm[n]), tre_after_mm=float(self.after_mm[n]))
        for axis, direction in enumerate("xyz"):
            row[f"difference_before_{direction}_mm"] = float(self.before_axes_mm[n, axis])
            row[f"difference_after_{direction}_mm"] = float(self.after_axes_mm[n, axis])
        for title, points in (
            ("fixed", self.pairs.fixed_points),
            ("moving", self.pairs.moving_points),
            ("fixed_in_moving", self.carried_points),
            ("moving_in_fixed", self.moving_in_fixed_points),
        ):
            row.update({f"{title}_{direction}": float(points[n, axis]) for axis, direction in enumerate("xyz")})
        row["inverse_residual_mm"] = float(self.inverse_residual_mm[n])
        row["outside_field"] = bool(self.outside_field[n])
        row["drove_registration"] = bool(self.drove[n])
        return row


def landmark_errors(result: RegistrationResult, pairs: LandmarkPairs) -> LandmarkErrors:
    """Measure landmark pairs against a registration; all points in RAS+ mm."""
    carried = result.fixed_to_moving.map(pairs.fixed_points)
    before, after = pairs.fixed_points - pairs.moving_points, carried - pairs.moving_points
    back = result.moving_points_in_fixed(pairs.moving_points)
    return LandmarkErrors(
        pairs=pairs,
        carried_points=carried,
        before_mm=np.linalg.norm(before, axis=1),
        after_mm=np.linalg.norm(after, axis=1),
        before_axes_mm=before,
        after_axes_mm=after,
        moving_in_fixed_points=back.points,
        inverse_residual_mm=back.residual_mm,
        outside_field=back.outside_field | ~result.displacement.grid.contains(pairs.fixed_points),
        drove=_drove(result, pairs),
    )


def _drove(result: RegistrationResult, pairs: LandmarkPairs) -> Bool[np.ndarray, "n"]:
    """Tell which pairs drove the registration: those whose fixed point is one of the noted ones, whatever it is called."""
    noted = result.provenance.driving_points_mm
    if noted is None:  # an older result: it used what it was given
        return np.full(len(pairs), result.settings.refine.landmark_weight > 0)
    if not len(noted) or not len(pairs):
        return np.zeros(len(pairs), dtype=bool)
    apart = np.linalg.norm(pairs.fixed_points[:, None] - np.asarray(noted)[None], axis=-1)
    return np.asarray(apart.min(axis=1) < SAME_PLACE_MM)
