"""From labels to images: a random look for every label, then what scanners do to it.

After Billot et al. 2023 (SynthSeg, doi 10.1016/j.media.2023.102789) and Hoffmann et al. 2022 (SynthMorph, doi
10.1109/TMI.2021.3116879); shared textures, tubes, speckle, lesions and ends of the field of view are added here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...engine import differentiable
from .draws import Draws
from .fields import places, smoothed
from .settings import ImageSettings

ROBUST_SHARES = (0.005, 0.995)
"""Intensities outside are clipped, as the engine does with acquired images."""

_QUANTILE_SAMPLES = 16384
_LESION_RADIUS_SHARE = (0.04, 0.16)
_CUT_SHARE = 0.2
_WITHIN_TISSUE_SD = 0.04
_BACKGROUND_TEXTURE = 0.25
"""Of the texture of the other labels: it is the largest label and would make up most of what the image shows."""


@dataclass(frozen=True, eq=False)
class Look:
    """What each label looks like.

    Attributes
    ----------
    mean, grain, texture : (K,) tensor
        Mean, standard deviation of uncorrelated noise, amplitude of the smooth texture (of either sign).
    seen : (K,) bool tensor
        False where a label looks like background.
    """

    mean: Float[Tensor, "K"]
    grain: Float[Tensor, "K"]
    texture: Float[Tensor, "K"]
    seen: Bool[Tensor, "K"]

    def taken(self, like: Int[Tensor, "K"]) -> Look:
        """Let every label look like another one."""
        return Look(self.mean[like], self.grain[like], self.texture[like], like != 0)

    def emptied(self) -> Look:
        """Make background, and what looks like it, air."""
        return replace(self, mean=self.mean * self.seen, grain=self.grain * self.seen, texture=self.texture * self.seen)


@dataclass(frozen=True)
class Cast:
    """Which labels there are, and what is known about them.

    Attributes
    ----------
    count : int
        Labels, background (0) included.
    present : tuple of int
        Those in view, background left out.
    hidden : tuple of int
        Labels that look like background in both images.
    mirrored : tuple of (int, int)
        Labels that share one look: left and right.
    tissues : tuple of tuple of int
        Labels that look nearly alike.
    """

    count: int
    present: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    mirrored: tuple[tuple[int, int], ...] = ()
    tissues: tuple[tuple[int, ...], ...] = ()


def draw_looks(draws: Draws, cast: Cast, settings: ImageSettings) -> tuple[Look, Look]:
    """Draw how every label looks in the fixed and in the moving image."""
    first = _draw_look(draws, cast, settings)
    if draws.chance(settings.one_contrast_probability):
        change = draws.within(settings.one_contrast_change) * draws.normal(cast.count)
        second = replace(first, mean=first.mean + change)
    else:
        second = _draw_look(draws, cast, settings)
        second = replace(second, texture=second.texture * torch.sign(draws.normal(cast.count)))
    like = _likeness(draws, cast, settings)
    background_empty = draws.chance(settings.background_zero_probability)
    looks = []
    for look in (first, second):
        own = like.clone()
        if draws.chance(settings.missing_probability) and cast.present:
            lacking, seen_instead = (cast.present[draws.whole(0, len(cast.present) - 1)] for _ in range(2))
            own[lacking] = like[seen_instead]
        taken = look.taken(own.to(draws.device))
        looks.append(taken.emptied() if background_empty else taken)
    return looks[0], looks[1]


def _draw_look(draws: Draws, cast: Cast, settings: ImageSettings) -> Look:
    grain, texture = draws.uniforms(cast.count, settings.grain_sd), draws.uniforms(cast.count, settings.texture_sd)
    texture[0] *= _BACKGROUND_TEXTURE
    mean = draws.uniforms(cast.count, settings.mean)
    for tissue in cast.tissues:
        mean[list(tissue)] = mean[tissue[0]] + _WITHIN_TISSUE_SD * draws.normal(len(tissue))
    return Look(mean, grain, texture, torch.ones(cast.count, dtype=torch.bool, device=draws.device))


def _likeness(draws: Draws, cast: Cast, settings: ImageSettings) -> Int[Tensor, "K"]:
    """Choose for each label the label that it looks like; at least three of those in view stay apart from the background."""
    like = torch.arange(cast.count)
    for left, right in cast.mirrored:
        like[right] = left
    like[list(cast.hidden)] = 0
    if draws.chance(settings.hidden_probability):
        apart = sorted({int(like[label]) for label in cast.present} - {0})
        number = min(int(draws.within(settings.hidden_share) * len(apart)), len(apart) - 3)
        for place in draws.order(len(apart))[: max(number, 0)]:
            like[like == apart[place]] = 0
    return like


def render(
    draws: Draws, labels: Int[Tensor, "*spatial"], look: Look, texture: Float[Tensor, "*spatial"], beside: Int[Tensor, "*spatial"] | None
) -> Float[Tensor, "1 1 *spatial"]:
    """Give every voxel its label's mean, texture and grain; with a second label of the voxel, the mean of both means (partial volume)."""
    grain = draws.normal(*labels.shape)
    flat = labels.reshape(-1)
    mean, amplitude, deviation = (row.index_select(0, flat).reshape(labels.shape) for row in (look.mean, look.texture, look.grain))
    if beside is not None:
        mean = (mean + look.mean.index_select(0, beside.reshape(-1)).reshape(labels.shape)) / 2
    image: Tensor = mean.addcmul_(amplitude, texture).addcmul_(deviation, grain).clamp_min_(0)
    return image[None, None]


def acquired(draws: Draws, image: Float[Tensor, "1 1 *spatial"], settings: ImageSettings) -> Float[Tensor, "1 1 *spatial"]:
    """Do to a rendered image what a scanner does: gain, blur, noise, thick slices, the end of the field of view; then scale to [0, 1]."""
    shape = tuple(image.shape[2:])
    if draws.chance(settings.speckle_probability):
        image = image * _speckle(draws, shape)
    deviation, spacing = draws.within(settings.bias_sd), draws.within(settings.bias_spacing_share) * max(shape)
    image = image * torch.exp(deviation * draws.smooth(1, shape, max(spacing, 2.0)))[None]
    image = smoothed(image, [draws.within(settings.blur_sd_vox) for _ in shape])
    image = _sliced(draws, image, settings) if draws.chance(settings.thick_slice_probability) else _noisy(draws, image, settings)
    if draws.chance(settings.cut_probability):
        image = image * _field_of_view(draws, shape)
    scaled = robustly_scaled(image)
    return scaled ** math.exp(draws.gaussian(settings.gamma_log_sd))


def robustly_scaled(image: Float[Tensor, "1 1 *spatial"]) -> Float[Tensor, "1 1 *spatial"]:
    """Scale robust extremes to 0 and 1 and clip there; a constant image becomes 0."""
    flat = image.reshape(-1)
    some = flat[:: max(flat.numel() // _QUANTILE_SAMPLES, 1)].sort().values
    low, high = (some[min(round(share * (len(some) - 1)), len(some) - 1)] for share in ROBUST_SHARES)
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp_(0, 1)


def _noisy(draws: Draws, image: Float[Tensor, "1 1 *spatial"], settings: ImageSettings) -> Float[Tensor, "1 1 *spatial"]:
    """Add noise; magnitude images have no negative intensities."""
    return torch.abs(image + draws.within(settings.noise_sd) * draws.normal(*image.shape))


def _sliced(draws: Draws, image: Float[Tensor, "1 1 *spatial"], settings: ImageSettings) -> Float[Tensor, "1 1 *spatial"]:
    """Average to thick slices along one axis, add the noise there, and interpolate back."""
    shape = list(image.shape[2:])
    axis, thickness = draws.whole(0, len(shape) - 1), draws.within(settings.thickness_vox)
    # The standard deviation of a box as wide as the slice.
    blurred = smoothed(image, [thickness / math.sqrt(12) if a == axis else 0.0 for a in range(len(shape))])
    few = list(shape)
    few[axis] = max(round(shape[axis] / max(thickness, 1.0)), 4)
    slices = _noisy(draws, differentiable.resize(blurred, tuple(few)), settings)
    return differentiable.resize(slices, tuple(shape))


def with_lesion(draws: Draws, image: Float[Tensor, "1 1 *spatial"], tissue: Bool[Tensor, "*spatial"]) -> Float[Tensor, "1 1 *spatial"]:
    """Put a ragged blob of one intensity somewhere into the tissue."""
    shape = tuple(image.shape[2:])
    radius = max(draws.within(_LESION_RADIUS_SHARE) * max(shape), 1.5)
    distance = torch.zeros(shape, device=image.device)
    for axis, place in enumerate(places(shape, image.device, (0,) * len(shape))):
        distance += ((place - draws.uniform(0.2, 0.8) * (shape[axis] - 1)) / (radius * draws.uniform(0.6, 1.4))) ** 2
    ragged = distance.sqrt() + 0.25 * draws.smooth(1, shape, max(radius, 2.0))[0]
    return torch.where((ragged < 1) & tissue, torch.full_like(image, draws.uniform()), image)


def _speckle(draws: Draws, shape: tuple[int, ...]) -> Float[Tensor, "1 1 *spatial"]:
    """Draw the magnitude of smoothed complex noise (Rayleigh), mean about 1, mixed with 1 by a random share."""
    sigma, share = draws.uniform(0.4, 0.9), draws.uniform(0.3, 1.0)
    parts = [smoothed(draws.normal(1, 1, *shape), [sigma] * len(shape)) for _ in range(2)]
    magnitude = torch.sqrt(parts[0] ** 2 + parts[1] ** 2)
    return 1 - share + share * magnitude / magnitude.mean()


def _field_of_view(draws: Draws, shape: tuple[int, ...]) -> Float[Tensor, "*spatial"]:
    """Mark one side of a plane that cuts off a part near the rim."""
    normal = draws.normal(len(shape)).cpu()
    normal /= normal.norm()
    x = places(shape, draws.device, (0,) * len(shape))
    along = sum(float(normal[axis]) * (x[axis] / (shape[axis] - 1) - 0.5) for axis in range(len(shape)))
    reach = float(normal.abs().sum()) / 2
    return (torch.as_tensor(along) < reach * (1 - 2 * _CUT_SHARE * draws.uniform())).float()
