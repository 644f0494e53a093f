"""VoxelMorph's network: a U-Net over the two concatenated images that ends in a velocity.

Balakrishnan et al. 2019 (doi 10.1109/TMI.2019.2897538) and Dalca et al. 2019 (doi 10.1016/j.media.2019.07.006), after Ronneberger et al.
2015 (doi 10.1007/978-3-319-24574-4_28). One class holds both generations of VoxelMorph's PyTorch code: `VxmDense`, whose decoder ends in
convolutions at full resolution, and `VxmPairwise`, whose decoder ends in a projection on d channels before the flow layer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from ...errors import InputError
from ..differentiable import resize_field
from .base import VelocityModel
from .layers import CONVOLUTIONS, Activation, ConvBlock, Normalization, Padding, Upsampling, activator, pooling, upsampler

Features = Annotated[int, Field(ge=0, le=1024)]
Level = Features | Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=4)]
Levels = Annotated[tuple[Level, ...], Field(min_length=1, max_length=16)]

_FLOW_SPREAD = 1e-5
"""Standard deviation of the untrained flow layer: training begins at the identity."""


class UNetOptions(BaseModel):
    """What a `VelocityUNet` is made of. Features of a level: how many, or a tuple for several convolutions; 0 is a level without any."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dimensions: Literal[2, 3] = 3
    """Of the images."""
    moving_channels: Annotated[int, Field(ge=1, le=64)] = 1
    """Of the moving image."""
    fixed_channels: Annotated[int, Field(ge=1, le=64)] = 1
    """Of the fixed image."""
    encoder: Levels = (16, 32, 32, 32)
    """Features of each level from fine to coarse; between two levels every size is halved."""
    decoder: Levels = (32, 32, 32, 32, 32, 16, 16)
    """Features at the coarsest lattice, then one entry a level from coarse to fine; what is left comes last, at the output's resolution."""
    order: Annotated[str, Field(pattern="^[cna]*c[cna]*$", max_length=16)] = "ca"
    """Of convolution (c), normalization (n) and activation (a) in a block."""
    activation: Activation = "leaky_relu"
    """Behind convolutions."""
    negative_slope: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of the leaky ReLU."""
    normalization: Normalization = "none"
    """Where `order` has an n."""
    upsampling: Upsampling = "nearest"
    """How the decoder doubles its lattice."""
    skips: bool = True
    """Whether the decoder sees the encoder's features of its level."""
    padding: Padding = "zeros"
    """What convolutions see beyond the rim."""
    projection: bool = False
    """Whether the decoder's features are mixed down to one a dimension before the flow layer."""
    projection_activation: Activation = "none"
    """Behind the projection."""
    output: Literal["full", "half", "resized"] = "full"
    """Velocity on the images' lattice; at half of it, as the decoder stops one level early; or predicted in full and resized to half."""

    doubling: Literal["corners", "twice"] = "corners"
    """Of an output at half the lattice: its vectors grow by (N - 1)/(N/2 - 1) on the full one, or twice, as VxmDense was trained to."""

    @model_validator(mode="after")
    def _decoder_reaches_the_top(self) -> UNetOptions:
        if len(self.decoder) < len(self.encoder):
            raise ValueError(f"the decoder needs at least as many entries as the encoder ({len(self.encoder)}), got {len(self.decoder)}")
        if self.decoder[0] == 0:
            raise ValueError("the decoder's first entry, the features at the coarsest lattice, must not be 0")
        return self


class VelocityUNet(VelocityModel):
    """VoxelMorph's U-Net; options as keywords, see `UNetOptions`.

    The moving image's channels come first, as in VoxelMorph, whose models are called as (source, target) = (moving, fixed).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = _checked(options)
        o = self.options
        self.encoder, skip_channels = self._encoder()
        self.decoder, features = self._decoder(skip_channels)
        self.projection = nn.Sequential()
        if o.projection:
            self.projection.add_module("convolution", CONVOLUTIONS[o.dimensions](features, o.dimensions, 1))
            last = activator(o.projection_activation, o.negative_slope)
            if last is not None:
                self.projection.add_module("activation", last)
            features = o.dimensions
        self.flow = CONVOLUTIONS[o.dimensions](features, o.dimensions, 3, padding=1)
        nn.init.normal_(self.flow.weight, std=_FLOW_SPREAD)
        if self.flow.bias is not None:
            nn.init.zeros_(self.flow.bias)
        self.pool = pooling(o.dimensions)

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build_model` needs to make an equal, untrained model."""
        return {"name": "unet", **self.options.model_dump(mode="json")}

    @property
    def multiple(self) -> int:
        """Two to the number of levels: so often a size is halved."""
        return int(2 ** len(self.options.encoder))

    @property
    def offset(self) -> int:
        """Nothing is left: sizes are whole multiples."""
        return 0

    def velocities(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """Return the one velocity, on the images' lattice or on half of it."""
        self._check(fixed, moving)
        features = torch.cat([moving, fixed], dim=1)
        skips = []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
            features = self.pool(features)
        for block in self.decoder:
            features = block(features, skips)
        velocity: Tensor = self.flow(self.projection(features))
        if self.options.output == "resized":
            velocity = resize_field(velocity, tuple(size // 2 for size in velocity.shape[2:]))
        if self.options.output == "half" and self.options.doubling == "twice":
            ratio = [2 * (half - 1) / (2 * half - 1) for half in velocity.shape[2:]]
            velocity = velocity * torch.tensor(ratio, dtype=velocity.dtype, device=velocity.device).view(1, -1, *[1] * len(ratio))
        return [velocity]

    def supervised(
        self, fixed: Tensor, moving: Tensor, velocity_vox: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return the velocity; a U-Net has no parts that could be judged by themselves."""
        return self.velocities(fixed, moving), None

    def _block(self, inputs: int, level: Level) -> tuple[nn.Module, int]:
        """Return a block and its channels; a level without features hands on what it gets."""
        if level == 0:
            return nn.Identity(), inputs
        o, features = self.options, (level,) if isinstance(level, int) else level
        block = ConvBlock(
            o.dimensions, inputs, features, order=o.order, normalization=o.normalization, activation=o.activation,
            negative_slope=o.negative_slope, padding=o.padding,
        )  # fmt: skip
        return block, features[-1]

    def _encoder(self) -> tuple[nn.ModuleList, list[int]]:
        blocks, channels = nn.ModuleList(), [self.options.moving_channels + self.options.fixed_channels]
        for level in self.options.encoder:
            block, outputs = self._block(channels[-1], level)
            blocks.append(block)
            channels.append(outputs)
        return blocks, channels[1:]

    def _decoder(self, skip_channels: list[int]) -> tuple[nn.ModuleList, int]:
        """Return the blocks and the channels behind them; between the coarsest and the output's lattice each begins with an upsampling."""
        o, count, channels = self.options, len(skip_channels), skip_channels[-1]
        blocks = nn.ModuleList()
        levels = list(o.decoder)
        if len(levels) == count and o.output != "half":
            levels.append(0)  # the finest upsampling must happen even if no convolution follows it
        for index, level in enumerate(levels):
            up: nn.Module | None = None
            if 1 <= index <= count - (o.output == "half"):
                up = upsampler(o.dimensions, channels, o.upsampling)
                channels += skip_channels[-index] if o.skips else 0
            block, channels = self._block(channels, level)
            blocks.append(_DecoderBlock(up, block, skip=count - index if up is not None and o.skips else None))
        return blocks, channels

    def _check(self, fixed: Tensor, moving: Tensor) -> None:
        o = self.options
        for side, image, channels in (("fixed", fixed, o.fixed_channels), ("moving", moving, o.moving_channels)):
            if image.dim() != o.dimensions + 2 or image.shape[1] != channels:
                raise InputError(
                    f"The {side} image must be (n, {channels}, {', '.join('ijk'[: o.dimensions])}), got shape {tuple(image.shape)}."
                )
        sizes = tuple(fixed.shape[2:])
        if sizes != tuple(moving.shape[2:]) or any(size % self.multiple for size in sizes):
            raise InputError(
                f"Both images must have one lattice with sizes that are multiples of {self.multiple}; got {sizes} and "
                f"{tuple(moving.shape[2:])}. "
                "Resample the moving image on the fixed grid and pad both."
            )


class _DecoderBlock(nn.Module):
    """Upsample, append the encoder's features of this level, convolve."""

    def __init__(self, up: nn.Module | None, block: nn.Module, skip: int | None) -> None:
        super().__init__()
        self.up, self.block, self.skip = up, block, skip

    def forward(self, features: Tensor, skips: list[Tensor]) -> Tensor:
        if self.up is not None:
            features = self.up(features)
        if self.skip is not None:
            features = torch.cat([features, skips[self.skip]], dim=1)
        out: Tensor = self.block(features)
        return out


def _checked(options: dict[str, Any]) -> UNetOptions:
    try:
        return UNetOptions.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "architecture"
        raise InputError(f"U-Net, {where}: {first['msg'].removeprefix('Value error, ')}; got {first.get('input')!r}.") from error
