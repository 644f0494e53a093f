"""A coarse-to-fine network that is given the matching: two streams, local correlation, one velocity that grows level by level."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import InputError
from ..differentiable import integrate, resize, resize_field, warp
from ..losses.descriptors import neighbor_pairs
from .base import VelocityModel
from .layers import CONVOLUTIONS

SQUARINGS = 5
"""Halvings when a level's velocity is integrated: a level's velocities are a few of its voxels."""

AGGREGATIONS = 2
"""How often matches are averaged over 3 voxels an axis before the best is chosen. A place alone can seldom be told from its neighbors
(a smooth border slides along itself): measured with perfect features, the squared error of the best match fell from 0.84 of the
motion's to 0.37."""

FIRST_SHARPNESS = 20.0
"""Of the softmax over shifts before training: correlations lie within -1 and 1 and differ little between neighbors."""


class MatchingPyramid(VelocityModel):
    """Predicts a stationary velocity from two images, coarse to fine, by comparing learned features of near voxels.

    One encoder describes the voxels of each image alone, at several resolutions, from the intensities and their self-similarity, without
    knowing the contrast of the other. From the coarsest level on, the moving features are pulled through the velocity so far,
    correlated with the fixed ones at all shifts of one voxel, and the expected shift, corrected by a small network that sees the
    neighborhood's matches, is added to the velocity. What a concatenating U-Net has to discover, that the answer lies in comparing,
    is built in; what is learned is what to compare.

    Parameters
    ----------
    dimensions : 2 or 3
        Of the images.
    features : sequence of int
        Channels of the encoder from full resolution to the coarsest; each level halves the resolution.
    hidden : sequence of int
        Channels of the network that corrects the matches, for each level from `finest` to the coarsest.
    finest : int
        Level at which the velocity is returned: 1 is half resolution.
    repeats : sequence of int, optional
        How often each level of `hidden` is asked, each time from the velocity that it gave before; once when left out. Where the true
        velocity is taught each is asked once: asked twice there as well, a network learned no more in half as much time again.

    smoothing : int
        How often the velocity that is returned is averaged over three voxels an axis (each time with a standard deviation of 0.8 voxels);
        not where the true velocity is taught. Matches are rougher than a registration's loss approves of: real pairs are as similar
        after it, and the loss falls.

    References
    ----------
    Feature pyramid, warping and cost volume: Sun et al. 2018, doi 10.1109/CVPR.2018.00931. Displacement as an expectation over matches:
    Heinrich 2019, doi 10.1007/978-3-030-32226-7_6. Self-similarity: Heinrich et al. 2013, doi 10.1007/978-3-642-40811-3_24.
    Stationary velocity: Arsigny et al. 2006, doi 10.1007/11866565_113.
    """

    def __init__(
        self, dimensions: int = 3, features: Sequence[int] = (8, 16, 32, 32), hidden: Sequence[int] = (16, 24, 32), finest: int = 1,
        repeats: Sequence[int] | None = None, smoothing: int = 0,
    ) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.repeats = (1,) * len(hidden) if repeats is None else tuple(repeats)
        if dimensions not in CONVOLUTIONS or not 0 <= finest < len(features) or len(hidden) != len(features) - finest:
            raise InputError(
                "Expected 2 or 3 dimensions, a finest level that exists, and hidden channels for each level from the finest on; got "
                f"dimensions={dimensions}, features={list(features)}, hidden={list(hidden)}, finest={finest}."
            )
        if len(self.repeats) != len(hidden) or min(self.repeats) < 1:
            raise InputError(f"Expected repeats of 1 or more for each of {len(hidden)} levels; got {list(self.repeats)}.")
        self.dimensions, self.features, self.hidden, self.finest = dimensions, tuple(features), tuple(hidden), finest
        self.encoder = _Encoder(dimensions, self.features)
        self.matchers = nn.ModuleList(
            Matcher(dimensions, self.features[finest + index], channels) for index, channels in enumerate(self.hidden)
        )

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build_model` needs to make an equal, untrained model."""
        return {
            "name": "matching_pyramid", "dimensions": self.dimensions, "features": list(self.features), "hidden": list(self.hidden),
            "finest": self.finest, "repeats": list(self.repeats), "smoothing": self.smoothing,
        }  # fmt: skip

    @property
    def multiple(self) -> int:
        """So often a size is halved."""
        return int(2 ** (len(self.features) - 1))

    @property
    def offset(self) -> int:
        """One: the corner voxel centers of all levels then coincide."""
        return 1

    def velocities(self, fixed: Float[Tensor, "n 1 *spatial"], moving: Float[Tensor, "n 1 *spatial"]) -> list[Tensor]:
        """Return the velocity after each level, coarse to fine, each on its own lattice and in its voxels."""
        found = self._predict(self._levels(fixed, moving), self.repeats)
        for _ in range(self.smoothing):
            found[-1] = mean_of_three(found[-1])
        return found

    def supervised(
        self, fixed: Tensor, moving: Tensor, velocity_vox: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], Float[Tensor, ""] | None]:
        """Return the velocities and how badly the features alone tell near voxels apart (cross entropy, mean over levels, nat).

        Each level is shown the moving features pulled through the true velocity and then shifted off it by a random smooth part of a
        voxel; it shall find that shift. Every level so learns from the first step on, also while the coarser ones still err.

        Parameters
        ----------
        fixed, moving : (n, 1, *spatial) tensors
            As for `velocities`.
        velocity_vox : (n, d, *spatial) tensor
            The true velocity on the images' lattice.
        weight : (n, 1, *spatial) tensor
            How much each voxel counts in the cross entropy.
        generator : torch.Generator
            For the shifts; on the CPU.
        """
        levels, losses = self._levels(fixed, moving), []
        for matcher, first, second in levels:
            shape = tuple(first.shape[2:])
            shifts = 2 * torch.rand((len(first), self.dimensions, *[3] * self.dimensions), generator=generator) - 1
            error = matcher.cross_entropy(first, second, resize_field(velocity_vox, shape), resize(shifts.to(first), shape))
            level_weight = resize(weight, shape)
            losses.append((error * level_weight).sum() / level_weight.sum().clamp_min(1e-6))
        return self._predict(levels, (1,) * len(levels)), torch.stack(losses).mean()

    def _predict(self, levels: list[tuple[Matcher, Tensor, Tensor]], repeats: tuple[int, ...]) -> list[Tensor]:
        found: list[Tensor] = []
        for (matcher, first, second), times in zip(levels, reversed(repeats), strict=True):
            shape = tuple(first.shape[2:])
            velocity = resize_field(found[-1], shape) if found else first.new_zeros((len(first), self.dimensions, *shape))
            for _ in range(times):
                velocity = matcher(first, second, velocity)
            found.append(velocity)
        return found

    def _levels(self, fixed: Tensor, moving: Tensor) -> list[tuple[Matcher, Tensor, Tensor]]:
        """Matcher, fixed features and moving features of each level, coarse to fine."""
        self.check(fixed, moving)
        described = self.encoder(torch.cat([fixed, moving]), self.finest)
        halves = [features.chunk(2) for features in described]
        levels = [(matcher, first, second) for matcher, (first, second) in zip(self.typed_matchers(), halves, strict=True)]
        return levels[::-1]

    def typed_matchers(self) -> list[Matcher]:
        """Return the levels' matchers, fine to coarse."""
        return [matcher for matcher in self.matchers if isinstance(matcher, Matcher)]

    def check(self, fixed: Tensor, moving: Tensor) -> None:
        """Refuse images that the network cannot take."""
        sizes = tuple(fixed.shape[2:])
        fits = all(size % self.multiple == self.offset and size > self.multiple for size in sizes)
        if fixed.shape != moving.shape or fixed.dim() != self.dimensions + 2 or fixed.shape[1] != 1 or not fits:
            raise InputError(
                f"Expected two images (n, 1, {', '.join('ijk'[: self.dimensions])}) of one shape, every size a multiple of {self.multiple} "
                f"plus {self.offset}; got {tuple(fixed.shape)} and {tuple(moving.shape)}. Resample and pad them, as `predict` does."
            )


def _shifts(dimensions: int) -> list[tuple[int, ...]]:
    return list(itertools.product((-1, 0, 1), repeat=dimensions))


def _shifted(padded: Tensor, shift: Sequence[int], margin: int) -> Tensor:
    """Cut a view out of a tensor that was padded by `margin`, displaced by a shift."""
    window = [slice(margin + s, n - margin + s) for s, n in zip(shift, padded.shape[2:], strict=True)]
    return padded[(slice(None), slice(None), *window)]


def _padded(data: Tensor, margin: int) -> Tensor:
    return F.pad(data, [margin] * (2 * (data.dim() - 2)), mode="replicate")


def mean_of_three(data: Tensor) -> Tensor:
    """Average over three voxels an axis, over fewer at the rim."""
    if torch.is_grad_enabled():  # one step for autograd, and the very sums that the bundled weights were trained with
        pool = F.avg_pool3d if data.dim() == 5 else F.avg_pool2d
        pooled: Tensor = pool(data, 3, stride=1, padding=1, count_include_pad=False)
        return pooled
    for axis in range(2, data.dim()):  # axis by axis takes a quarter of the time
        inner = torch.add(data.narrow(axis, 0, data.shape[axis] - 2), data.narrow(axis, 1, data.shape[axis] - 2))
        inner.add_(data.narrow(axis, 2, data.shape[axis] - 2)).div_(3)
        ends = [(data.narrow(axis, first, 1) + data.narrow(axis, first + 1, 1)) / 2 for first in (0, data.shape[axis] - 2)]
        data = torch.cat([ends[0], inner, ends[1]], dim=axis)
    return data


def self_similarity(image: Float[Tensor, "n 1 *spatial"]) -> Float[Tensor, "n c *spatial"]:
    """Describe voxels by how alike their neighbors are among themselves (MIND-SSC): 12 channels in 3-D, 4 in 2-D, values in [0, 1].

    The same descriptor as `features.mind_ssc`, in batches and for both numbers of dimensions, with neighbors at distance one.
    """
    dimensions = image.dim() - 2
    pairs = neighbor_pairs((2,) * dimensions + (1,) * (3 - dimensions), dilation=1)[:, :, :dimensions]
    padded = _padded(image, 1)
    distances = torch.cat([(_shifted(padded, a, 1) - _shifted(padded, b, 1)).square() for a, b in pairs.tolist()], dim=1)
    distances = mean_of_three(distances)
    distances = distances - distances.amin(dim=1, keepdim=True)
    spread = distances.mean(dim=1, keepdim=True)
    typical = spread.mean(dim=tuple(range(1, image.dim())), keepdim=True)
    return torch.exp(-distances / (torch.maximum(torch.minimum(spread, 1e3 * typical), 1e-3 * typical) + 1e-8))


class _Encoder(nn.Module):
    """Features of one image at all levels, fine to coarse; what coarse levels know flows down to the finer ones."""

    def __init__(self, dimensions: int, features: tuple[int, ...]) -> None:
        super().__init__()
        inputs = 1 + (12 if dimensions == 3 else 4)
        self.down, self.context = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(features):
            blocks = _block(dimensions, inputs, channels, stride=1 if level == 0 else 2)
            self.down.append(nn.Sequential(*blocks, *(_block(dimensions, channels, channels) if level else [])))
            if level:
                self.context.append(CONVOLUTIONS[dimensions](channels, features[level - 1], 1))
            inputs = channels

    def forward(self, image: Tensor, finest: int) -> list[Tensor]:
        """Return the features from a level on; what flows down stops there, so that no time is spent on finer ones."""
        with torch.set_grad_enabled(self.training):  # nothing here has a gradient; see mean_of_three
            described = torch.cat([image, self_similarity(image)], dim=1)
        levels = []
        for block in self.down:
            described = block(described)
            levels.append(described)
        for level in range(len(levels) - 2, finest - 1, -1):
            levels[level] = levels[level] + resize(self.context[level](levels[level + 1]), tuple(levels[level].shape[2:]))
        return levels[finest:]


def _block(dimensions: int, inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    normalization = nn.InstanceNorm3d if dimensions == 3 else nn.InstanceNorm2d
    convolution = CONVOLUTIONS[dimensions](inputs, outputs, 3, stride=stride, padding=1)
    return [convolution, normalization(outputs, affine=True), nn.LeakyReLU(0.2)]


class Matcher(nn.Module):
    """One level: pull the moving features, correlate, take the expected shift, correct it, add it to the velocity."""

    def __init__(self, dimensions: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.shifts = _shifts(dimensions)
        convolution = CONVOLUTIONS[dimensions]
        self.project = convolution(channels, channels, 1)
        # The logarithm is Python's: of a tensor under construction on the meta device it would load torch's whole compiler.
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))
        self.gain = nn.Parameter(torch.tensor(0.5))
        last = convolution(hidden, dimensions, 3, padding=1)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.correct = nn.Sequential(
            convolution(len(self.shifts) + 2 * dimensions, hidden, 3, padding=1), nn.LeakyReLU(0.2),
            convolution(hidden, hidden, 3, padding=1), nn.LeakyReLU(0.2), last,
        )  # fmt: skip

    def forward(self, fixed: Tensor, moving: Tensor, velocity: Tensor) -> Tensor:
        """Return the velocity with what the features' matches add to it."""
        matches = self._matches(fixed, moving, integrate(velocity, SQUARINGS))
        expected = self._expected(matches)
        corrected: Tensor = velocity + self.gain * expected + self.correct(torch.cat([matches, expected, velocity], dim=1))
        return corrected

    def cross_entropy(self, fixed: Tensor, moving: Tensor, velocity: Tensor, shift: Tensor) -> Tensor:
        """Distance (n, 1, *spatial) between the matches and the shift off the truth, spread linearly over the nearest whole shifts."""
        matches = self._matches(fixed, moving, integrate(velocity, SQUARINGS) - shift)
        distances = (shift[:, None] - self._offsets(shift)[None]).abs()
        wanted = (1 - distances).clamp_min(0).prod(dim=2)
        return -(wanted * F.log_softmax(matches, dim=1)).sum(dim=1, keepdim=True)

    def _matches(self, fixed: Tensor, moving: Tensor, displacement: Tensor) -> Tensor:
        """Correlation of the features at all shifts, averaged over the neighborhood and sharpened."""
        first = F.normalize(self.project(fixed), dim=1)
        second = _padded(warp(F.normalize(self.project(moving), dim=1), displacement), 1)
        matches = torch.cat([(first * _shifted(second, shift, 1)).sum(dim=1, keepdim=True) for shift in self.shifts], dim=1)
        for _ in range(AGGREGATIONS):
            matches = mean_of_three(matches)
        return matches * self.log_sharpness.exp()

    def _expected(self, matches: Tensor) -> Tensor:
        return torch.einsum("ns...,sd->nd...", torch.softmax(matches, dim=1), self._offsets(matches).flatten(1))

    def _offsets(self, like: Tensor) -> Tensor:
        """All shifts (s, d, 1, …)."""
        offsets = torch.tensor(self.shifts, dtype=like.dtype, device=like.device)
        return offsets.view(*offsets.shape, *[1] * (like.dim() - 2))
