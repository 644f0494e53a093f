"""The matching pyramid's prediction on a CPU: what `MatchingPyramid.velocities` computes, by compiled kernels, in a third of the time.

Convolutions are torch's, with the channels last, which its CPU library likes best; everything between them is a few passes over memory.
What depends on the images alone, and not on the velocity so far, is computed once a level instead of once a repeat.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..kernels import correlation_cpu, encoder_cpu
from ..losses.descriptors import neighbor_pairs
from ..sampling import integrate, resize_field
from .matching_pyramid import SQUARINGS, Matcher, MatchingPyramid, mean_of_three

_LAST = torch.channels_last_3d


def has_kernels(module: nn.Module, image: Tensor) -> TypeGuard[MatchingPyramid]:
    """Tell whether `compiled_velocity` can take the place of the module's own computation on an image."""
    return isinstance(module, MatchingPyramid) and module.dimensions == 3 and image.device.type == "cpu" and image.dtype == torch.float32


def compiled_velocity(
    model: MatchingPyramid, fixed: Float[Tensor, "1 1 i j k"], moving: Float[Tensor, "1 1 i j k"]
) -> Float[Tensor, "1 3 a b c"]:
    """Return the finest velocity of a three-dimensional model, as `model(fixed, moving)` does, up to rounding."""
    model.check(fixed, moving)
    with torch.inference_mode():
        levels = list(zip(model.typed_matchers(), _encoded(model, fixed), _encoded(model, moving), model.repeats, strict=True))
        velocity: Tensor | None = None
        for matcher, first, second, times in reversed(levels):
            shape = (first.shape[2], first.shape[3], first.shape[4])
            velocity = torch.zeros((1, 3, *shape)) if velocity is None else resize_field(velocity, shape)
            velocity = _matched(matcher, first, second, velocity, times)
        assert velocity is not None  # a model has at least one level
        for _ in range(model.smoothing):
            velocity = mean_of_three(velocity)
    return velocity.clone()  # outside of inference mode: an ordinary tensor


def _encoded(model: MatchingPyramid, image: Tensor) -> list[Tensor]:
    """Return the features of an image from the finest level on."""
    pairs = neighbor_pairs((2, 2, 2), dilation=1)
    described = _channels_last(torch.from_numpy(encoder_cpu.described(image[0, 0].numpy(), pairs)))
    levels: list[Tensor] = []
    for block in model.encoder.down:
        described = _through(block, described)
        levels.append(described)
    for level in range(len(levels) - 2, model.finest - 1, -1):
        context = _pointwise(model.encoder.context[level], levels[level + 1])
        shape = levels[level].shape[2:]
        levels[level] = levels[level] + F.interpolate(_channels_last(context), size=shape, mode="trilinear", align_corners=True)
    return levels[model.finest :]


def _channels_last(voxels: Float[Tensor, "i j k c"]) -> Float[Tensor, "1 c i j k"]:
    return voxels.permute(3, 0, 1, 2)[None]


def _voxels(features: Float[Tensor, "1 c i j k"]) -> Float[Tensor, "i j k c"]:
    return features.contiguous(memory_format=_LAST)[0].permute(1, 2, 3, 0)


def _through(block: nn.Module, features: Tensor) -> Tensor:
    """Send features through convolutions, each followed by a normalization and a leaky ReLU."""
    layers = list(block.children())
    for convolution, normalization, activation in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
        assert isinstance(convolution, nn.Conv3d)
        assert isinstance(normalization, nn.InstanceNorm3d)
        assert isinstance(activation, nn.LeakyReLU)
        features = _convolved(convolution, features)
        encoder_cpu.normalize_and_activate(
            _voxels(features).flatten(0, 2).numpy(), normalization.weight.double().numpy(), normalization.bias.double().numpy(),
            normalization.eps, activation.negative_slope,
        )  # fmt: skip
    return features


def _convolved(layer: nn.Conv3d, features: Tensor) -> Tensor:
    """Convolve with everything's channels last: twice as fast as with the weight as it is stored."""
    weight = layer.weight.contiguous(memory_format=_LAST)
    return F.conv3d(features, weight, layer.bias, layer.stride, layer.padding).contiguous(memory_format=_LAST)


def _corrected(matcher: Matcher, known: Tensor) -> Tensor:
    for layer in matcher.correct:
        known = _convolved(layer, known) if isinstance(layer, nn.Conv3d) else layer(known)
    return known


def _pointwise(convolution: nn.Module, features: Tensor) -> Float[Tensor, "i j k c"]:
    """Apply a convolution of one voxel: a matrix on each voxel's channels."""
    assert isinstance(convolution, nn.Conv3d)
    return F.linear(_voxels(features), convolution.weight.flatten(1), convolution.bias)


def _matched(matcher: Matcher, first: Tensor, second: Tensor, velocity: Tensor, times: int) -> Tensor:
    """Add what the matches of a level tell to the velocity, as often as asked."""
    rows = correlation_cpu.unit_rows(_pointwise(matcher.project, first).numpy())
    pulled = _pointwise(matcher.project, second).numpy()
    correlation_cpu.to_unit(pulled)
    sharpness, gain = float(matcher.log_sharpness.exp()), float(matcher.gain)
    for _ in range(times):
        displacement = integrate(velocity, squarings=SQUARINGS)
        known = torch.from_numpy(correlation_cpu.matches(rows, pulled, displacement[0].numpy(), velocity[0].numpy(), sharpness))
        expected = known[..., correlation_cpu.SHIFTS : correlation_cpu.SHIFTS + 3]
        velocity = torch.add(velocity, _channels_last(expected), alpha=gain)
        velocity = velocity.add_(_corrected(matcher, _channels_last(known))).contiguous()
    return velocity
