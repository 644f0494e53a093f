"""Where a correction may move anything: one inside, 0 beyond the radius, smooth between; and splines that live in there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ...space import Grid
from ...space.box import distance_mm

PLATEAU = 0.5
"""Part of the radius within which the window is 1. A wider one leaves less room for what has to be squeezed, a narrower one moves less."""

SPLINE_REACHES = (2.0, 1.0, 0.5)
"""Reach of the spline's kernel in radii: it is cut off by the window. A wide one moves a landmark's surroundings with it, a narrow one
leaves to themselves what slides along them. Where images take part they choose; landmarks alone take the first."""

LEAST_WINDOW = 0.1
"""A landmark where the window is smaller than this cannot be moved by a reasonable velocity; it takes no part."""

RIDGE = 1e-6
"""Added to the kernel matrix's diagonal (1): two landmarks in one place must not break it."""


def window_of(distance: Float[np.ndarray, "*shape"], radius_mm: float) -> Float[np.ndarray, "*shape"]:
    """Return 1 within half the radius, then a smooth descent (3 t^2 - 2 t^3) to 0 at the radius."""
    t = np.clip((radius_mm - distance) / ((1 - PLATEAU) * radius_mm), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Spline:
    """A compact displacement or velocity through given vectors at given points: W(x) sum_n c_n k(|x - p_n|).

    k is Wendland's function (1 - r)^4 (4 r + 1), W the window.

    Attributes
    ----------
    kernels : (n, *lattice) float32 array
        k(|x - p_n|) on the lattice, without the window.
    inverse : (n, n) array
        Of the kernel matrix, with the window at the points divided out.

    References
    ----------
    Wendland 1995, doi 10.1007/BF02123482: the function is positive definite in three dimensions; Fornefett et al. 2001,
    doi 10.1016/S0262-8856(00)00057-3: for registration by landmarks.
    """

    kernels: Float[np.ndarray, "n i j k"]
    inverse: Float[np.ndarray, "n n"]

    @classmethod
    def at(cls, lattice: Grid, points: Float[np.ndarray, "n 3"], window: Float[np.ndarray, "n"], reach_mm: float) -> Spline:
        """Prepare a spline on a lattice for points (RAS+ mm) where the window has these values, all at least `LEAST_WINDOW`."""
        kernels = [_wendland(distance_mm(lattice, point[None]) / np.float32(reach_mm)) for point in points]
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1) / reach_mm
        matrix = window[:, None] * (_wendland(apart) + RIDGE * np.eye(len(points)))
        return cls(np.array(kernels, dtype=np.float32).reshape(len(points), *lattice.shape), np.linalg.inv(matrix))

    def through(self, vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 i j k"]:
        """Return on the lattice, before the window, what the window turns into these vectors at the points."""
        coefficients = (self.inverse @ vectors).astype(np.float32)
        return np.ascontiguousarray(np.tensordot(coefficients.T, self.kernels, axes=1))


def _wendland(r: np.ndarray) -> np.ndarray:
    rest = np.clip(1 - r, 0, None)
    return np.asarray(np.square(np.square(rest)) * (4 * r + 1))
