"""Shapes as signed distances (mm, negative inside) at points, and band-limited random waves: the alphabet of the phantom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "n 3"]
Distance = Float[np.ndarray, "n"]
Triple = Sequence[float] | Float[np.ndarray, "3"]


def ellipsoid(points: Points, center: Triple, radii: Triple, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> Distance:
    """Distance to an ellipsoid, exact on its surface and first-order around it; yaw turns it about z, then pitch about x."""
    local = (points - np.asarray(center)) @ _turn(yaw_deg, pitch_deg)
    scaled = local / np.asarray(radii)
    level = np.linalg.norm(scaled, axis=1)
    slope = np.linalg.norm(scaled / np.asarray(radii), axis=1)
    # Near the center the quotient is 0/0; there any value as deep as the shortest radius will do.
    return np.where(slope > 1e-9, (level - 1) * level / np.maximum(slope, 1e-9), -float(np.min(radii)))


def _turn(yaw_deg: float, pitch_deg: float) -> Float[np.ndarray, "3 3"]:
    a, b = np.deg2rad([yaw_deg, pitch_deg])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(about_x @ about_z)


def tube(points: Points, knots: Sequence[Sequence[float]], radii: Sequence[float]) -> Distance:
    """Distance to a chain of round cones through `knots` (mm) with a radius (mm) at each knot."""
    best = np.full(len(points), np.inf)
    for start, end, first, last in zip(knots[:-1], knots[1:], radii[:-1], radii[1:], strict=True):
        a, along = np.asarray(start, dtype=np.float64), np.subtract(end, start)
        part = np.clip((points - a) @ along / (along @ along), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - part[:, None] * along, axis=1) - (first + part * (last - first)))
    return best


def blend(a: Distance, b: Distance, width_mm: float) -> Distance:
    """Union of two shapes with the crease between them filled over `width_mm`."""
    part = np.clip(0.5 + 0.5 * (b - a) / width_mm, 0, 1)
    return np.asarray(b + (a - b) * part - width_mm * part * (1 - part))


def mirrored(points: Points) -> Points:
    """Fold the left side (negative x) onto the right one."""
    return np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], 1)


@dataclass(frozen=True)
class Waves:
    """A random band-limited function: plane waves of about one wavelength in all directions; mean 0, variance 1."""

    wave_vectors: Float[np.ndarray, "m 3"]
    phases: Float[np.ndarray, "m"]

    @classmethod
    def random(cls, rng: np.random.Generator, wavelength_mm: float, count: int = 32, spread: float = 0.15) -> Waves:
        """Draw directions evenly, and wavelengths within the relative `spread`."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        size = 2 * np.pi / wavelength_mm * (1 + spread * rng.uniform(-1, 1, size=(count, 1)))
        return cls(direction * size, rng.uniform(0, 2 * np.pi, size=count))

    def at(self, points: Points) -> Distance:
        """Evaluate at points (mm)."""
        total = np.zeros(len(points))
        for vector, phase in zip(self.wave_vectors, self.phases, strict=True):
            total += np.cos(points @ vector + phase)
        return np.asarray(total * np.sqrt(2 / len(self.phases)))

    def with_gradient_at(self, points: Points) -> tuple[Distance, Points]:
        """Evaluate value and gradient (a mm) at points (mm)."""
        total, gradient = np.zeros(len(points)), np.zeros((len(points), 3))
        for vector, phase in zip(self.wave_vectors, self.phases, strict=True):
            angle = points @ vector + phase
            total += np.cos(angle)
            gradient -= np.sin(angle)[:, None] * vector
        scale = np.sqrt(2 / len(self.phases))
        return total * scale, gradient * scale
