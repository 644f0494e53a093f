"""From anatomy to images: painting layers, then what a scanner adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Integer

from .head import TISSUES, Layer
from .shapes import Distance, Points, Waves

BRIGHTNESS = np.array(list(TISSUES.values()))

TEXTURE = 0.03
"""Relative standard deviation of brightness within a tissue; it belongs to the anatomy, so both images share it."""

SHADING = 0.10
"""Relative standard deviation of the smooth shading that a receive coil leaves; each scan has its own."""

NOISE = 3.0
"""Standard deviation of the noise in each of a scanner's two channels, of a brightness of 255."""

_ROW = {name: row for row, name in enumerate(TISSUES)}
_CHUNK = 100_000


class Anatomy(Protocol):
    """Something that can be painted."""

    @property
    def texture(self) -> Waves:
        """How brightness varies within a tissue."""
        ...

    def surface(self, points: Points) -> Distance:
        """Distance (mm) to the skin."""
        ...

    def layers(self, points: Points) -> Iterator[Layer]:
        """Describe what lies at the points, bottom layer first."""
        ...

    def landmarks(self) -> tuple[tuple[str, ...], Points]:
        """Names and places (mm) of landmarks."""
        ...


class Rendering(NamedTuple):
    """Noise-free brightness under each contrast, and the label, at points."""

    brightness: Float[np.ndarray, "n contrasts"]
    labels: Integer[np.ndarray, "n"]


def render(anatomy: Anatomy, points: Points, edge_mm: float) -> Rendering:
    """Evaluate the anatomy at points (mm, in its own space); edges are soft over `edge_mm`, as voxels of that size see them."""
    brightness = np.zeros((len(points), BRIGHTNESS.shape[1]))
    labels = np.zeros(len(points), dtype=np.int32)
    for first in range(0, len(points), _CHUNK):
        chunk = points[first : first + _CHUNK]
        inside = np.flatnonzero(anatomy.surface(chunk) < edge_mm)
        if len(inside):
            part = _paint(anatomy, chunk[inside], edge_mm)
            brightness[first + inside], labels[first + inside] = part.brightness, part.labels
    return Rendering(brightness, labels)


def _paint(anatomy: Anatomy, points: Points, edge_mm: float) -> Rendering:
    brightness = np.zeros((len(points), BRIGHTNESS.shape[1]))
    labels = np.zeros(len(points), dtype=np.int32)
    for layer in anatomy.layers(points):
        cover = np.clip(0.5 - layer.distance_mm / edge_mm, 0, 1)[:, None]
        brightness += cover * (BRIGHTNESS[_ROW[layer.tissue]] - brightness)
        if np.any(layer.label != 0):
            labels = np.where(layer.distance_mm < 0, np.maximum(layer.label, 0), labels)
    return Rendering(brightness * (1 + TEXTURE * anatomy.texture.at(points))[:, None], labels)


def scanned(
    rng: np.random.Generator, brightness: Float[np.ndarray, "n"], world: Points, shape: tuple[int, int, int], shading_mm: float
) -> Float[np.ndarray, "i j k"]:
    """Add what a scanner adds: shading of the given wavelength, noise in two channels, magnitude, whole numbers, an empty background."""
    shading = Waves.random(rng, shading_mm, 6)
    shaded = brightness * np.exp(SHADING * shading.at(world))
    noisy = np.hypot(shaded + rng.normal(scale=NOISE, size=len(world)), rng.normal(scale=NOISE, size=len(world)))
    return np.asarray(np.round(np.where(brightness > 0, noisy, 0)).reshape(shape), dtype=np.float32)
