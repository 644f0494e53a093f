"""Blocks of the U-Net, in two and three dimensions: convolutions with normalization and activation, and upsampling."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["relu", "leaky_relu", "elu", "none"]
Normalization = Literal["batch", "instance", "none"]
Upsampling = Literal["linear", "nearest", "transposed"]
Padding = Literal["zeros", "replicate", "reflect"]

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOLS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: dict[int, type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}
_WORDS = {"c": "convolution", "n": "normalization", "a": "activation"}


class ConvBlock(nn.Sequential):
    """Convolutions of 3 voxels a side with their normalizations and activations.

    Parameters
    ----------
    dimensions : 2 or 3
    inputs : int
        Channels that come in.
    features : tuple of int
        Channels that go out; several of them repeat the whole `order` with these features one after the other.
    order : str of c, n, a
        Convolution, normalization, activation, as VoxelMorph's users write it: "ca" is one convolution and its activation.
    normalization, activation : str
        "none" skips the letter.
    negative_slope : float
        Of the leaky ReLU.
    padding : "zeros", "replicate" or "reflect"
        What convolutions see beyond the rim.
    """

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        features: tuple[int, ...],
        *,
        order: str,
        normalization: Normalization,
        activation: Activation,
        negative_slope: float,
        padding: Padding,
    ) -> None:
        super().__init__()
        channels, counts = inputs, dict.fromkeys("cna", 0)
        for outputs in features:
            for letter in order:
                layer: nn.Module | None
                if letter == "c":
                    layer = CONVOLUTIONS[dimensions](channels, outputs, 3, padding=1, padding_mode=padding)
                    channels = outputs
                elif letter == "n":
                    layer = normalizer(dimensions, channels, normalization)
                else:
                    layer = activator(activation, negative_slope)
                if layer is not None:
                    self.add_module(f"{_WORDS[letter]}{counts[letter]}", layer)
                    counts[letter] += 1


def activator(name: Activation, negative_slope: float) -> nn.Module | None:
    """Return the activation of that name, or nothing; the slope is that of the leaky ReLU."""
    if name == "relu":
        return nn.ReLU()
    if name == "leaky_relu":
        return nn.LeakyReLU(negative_slope)
    return nn.ELU() if name == "elu" else None


def normalizer(dimensions: int, channels: int, name: Normalization) -> nn.Module | None:
    """Return the normalization of that name with a learned scale and shift a channel, or nothing."""
    if name == "batch":
        return _BATCH[dimensions](channels)
    return _INSTANCE[dimensions](channels, affine=True) if name == "instance" else None


def upsampler(dimensions: int, channels: int, kind: Upsampling) -> nn.Module:
    """Return what doubles every spatial size: interpolation (linear keeps the corners in place) or a learned transposed convolution."""
    if kind == "transposed":
        return _TRANSPOSED[dimensions](channels, channels, kernel_size=2, stride=2)
    if kind == "nearest":
        return nn.Upsample(scale_factor=2, mode="nearest")
    return nn.Upsample(scale_factor=2, mode=_LINEAR[dimensions], align_corners=True)


def pooling(dimensions: int) -> nn.Module:
    """Return the maximum over two voxels along each axis."""
    return _POOLS[dimensions](2)
