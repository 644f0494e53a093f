"""Label maps of random shapes: channels of smooth noise compete for each voxel.

After Hoffmann et al. 2022 (SynthMorph, doi 10.1109/TMI.2021.3116879): label(x) = argmax over j of n_j(x). Bodies, shells and vessels are
added here, because organs in a field of view of air, thin layers and tubes are what acquired images have and blobs alone do not.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .draws import Draws, spline
from .fields import places
from .settings import ShapeSettings

LEAST_SPACING_VOX = 3.0
"""Closer control points would make shapes of a voxel."""

_BODY_BUMPS, _BODY_SPACING_SHARE = 0.12, 0.3
_VESSEL_SPACING_SHARE, _VESSEL_WIDTH = (0.15, 0.35), (0.06, 0.2)
_SHELL_DEPTH = (0.03, 0.1)


def draw_shapes(draws: Draws, shape: tuple[int, ...], settings: ShapeSettings) -> UInt8[Tensor, "*spatial"]:
    """Draw a label map; labels count from 1, 0 is what lies around a body."""
    count = draws.whole(*settings.label_count)
    spacing = max(draws.within(settings.blob_share) * max(shape), 2 * LEAST_SPACING_VOX)
    labels = _competition(draws, shape, count, spacing, draws.within(settings.irregularity))
    if draws.chance(settings.vessel_probability):
        count += 1
        labels[_vessels(draws, shape)] = count
    if draws.chance(settings.body_probability):
        depth = _body_depth(draws, shape, settings.body_radius_share)
        if draws.chance(settings.shell_probability):
            _add_shells(draws, labels, depth, count)
        labels[depth <= 0] = 0
    return labels


def _competition(draws: Draws, shape: tuple[int, ...], count: int, spacing: float, irregularity: float) -> UInt8[Tensor, "*spatial"]:
    """Give each voxel to the strongest of `count` channels; one channel at a time stays in the cache."""
    fine = spacing / 2
    coefficients = draws.coefficients(count, shape, (spacing, fine), (1.0, irregularity))
    best, labels = None, torch.ones(shape, dtype=torch.uint8, device=draws.device)
    for channel in range(count):
        strength = spline(coefficients[channel : channel + 1], shape, fine)[0]
        if best is None:
            best = strength
            continue
        labels.masked_fill_(strength > best, channel + 1)
        best = torch.maximum(best, strength)
    return labels


def _body_depth(draws: Draws, shape: tuple[int, ...], radius_share: tuple[float, float]) -> Float[Tensor, "*spatial"]:
    """Depth under the surface of a bumpy ellipsoid, 1 at its center, negative outside."""
    squares = torch.zeros(shape, device=draws.device)
    for axis, place in enumerate(places(shape, draws.device, (0,) * len(shape))):
        size = shape[axis]
        center = (0.5 + draws.uniform(-0.12, 0.12)) * (size - 1)
        squares += ((place - center) / (draws.within(radius_share) * size)) ** 2
    bumps = draws.smooth(1, shape, max(_BODY_SPACING_SHARE * max(shape), LEAST_SPACING_VOX))[0]
    return 1 - squares.sqrt() + _BODY_BUMPS * bumps


def _add_shells(draws: Draws, labels: UInt8[Tensor, "*spatial"], depth: Float[Tensor, "*spatial"], count: int) -> None:
    """Lay one to three layers under the surface of a body."""
    top = 0.0
    for layer in range(draws.whole(1, 3)):
        bottom = top + draws.within(_SHELL_DEPTH)
        labels[(depth > top) & (depth <= bottom)] = count + 1 + layer
        top = bottom


def _vessels(draws: Draws, shape: tuple[int, ...]) -> Tensor:
    """Mark tubes: where two smooth noises are both near zero (in 2-D: one, which makes curves)."""
    spacing = max(draws.within(_VESSEL_SPACING_SHARE) * max(shape), LEAST_SPACING_VOX)
    noise = draws.smooth(len(shape) - 1, shape, spacing)
    return noise.square().sum(0) < draws.within(_VESSEL_WIDTH) ** 2
