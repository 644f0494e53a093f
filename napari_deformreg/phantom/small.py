"""A quick little anatomy without names, for tests: an egg with a core and some organs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .head import Layer
from .shapes import Distance, Points, Waves, ellipsoid

ORGANS = {
    # tissue, center and radii as parts of the egg's radii
    "front": ("thalamus", (0.1, 0.45, 0.05), (0.35, 0.25, 0.4)),
    "back": ("csf", (-0.05, -0.45, -0.1), (0.3, 0.22, 0.35)),
    "right": ("striatum", (0.5, 0.0, 0.1), (0.2, 0.35, 0.3)),
    "left": ("marrow", (-0.5, 0.05, 0.0), (0.22, 0.3, 0.4)),
    "top": ("pallidum", (0.05, 0.0, 0.55), (0.3, 0.3, 0.2)),
}


@dataclass(frozen=True)
class Egg:
    """An egg of the given radii (mm) around the origin, with a wavering shell, a core and five organs, labeled 1 to 7."""

    radii_mm: tuple[float, float, float]
    texture: Waves
    waver: Waves

    @classmethod
    def random(cls, rng: np.random.Generator, radii_mm: tuple[float, float, float]) -> Egg:
        """Draw one."""
        size = min(radii_mm)
        return cls(radii_mm, Waves.random(rng, size / 2, 16, 0.5), Waves.random(rng, 1.2 * size, 12))

    def surface(self, points: Points) -> Distance:
        """Distance (mm) to the shell."""
        return ellipsoid(points, (0, 0, 0), self.radii_mm) + 0.05 * min(self.radii_mm) * self.waver.at(points)

    def layers(self, points: Points) -> Iterator[Layer]:
        """Describe what lies at the points, bottom layer first."""
        shell = self.surface(points)
        size = min(self.radii_mm)
        yield Layer("muscle", 1, shell)
        yield Layer("white", 2, shell + 0.18 * size + 0.06 * size * self.waver.at(points[:, [1, 2, 0]] * 1.7))
        for label, (tissue, center, radii) in enumerate(ORGANS.values(), start=3):
            yield Layer(tissue, label, ellipsoid(points, np.multiply(center, self.radii_mm), np.multiply(radii, self.radii_mm)))

    def landmarks(self) -> tuple[tuple[str, ...], Points]:
        """Names and places (mm): the middle of each organ and where its front meets it."""
        middle = {name: np.multiply(center, self.radii_mm) for name, (_, center, _) in ORGANS.items()}
        front = {f"{name} tip": middle[name] + np.multiply((0, radii[1], 0), self.radii_mm) for name, (_, _, radii) in ORGANS.items()}
        places = middle | front
        return tuple(places), np.array(list(places.values()))
