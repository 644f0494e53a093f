"""VoxelMorph's checkpoints: what its layers are called there and here, and the architecture that their shapes tell.

Two generations are read: `VxmPairwise` (VoxelMorph 0.3; a state_dict, alone or within a training checkpoint) and `VxmDense` (0.2; its own
save format with the constructor's arguments beside the weights). Only tensors and plain Python values are read; a file that holds
anything else is refused, and nothing in it is run.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import FileFormatError, InputError
from .pairwise import PairwiseRegistration
from .unet import VelocityUNet

State = dict[str, Tensor]
Rules = list[tuple[str, str | Callable[[re.Match[str]], str]]]

WHAT_TO_DO = "Save the VoxelMorph model again with torch.save(model.state_dict(), path)."

_WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")
"""Under which name checkpoints keep the weights; the first is VxmDense's own."""

_MOST_LEVELS = 16

_PAIRWISE_STEPS, _DENSE_STEPS = 5, 7
"""Squarings that VoxelMorph's two classes take when they are told nothing."""


def load_voxelmorph(path: str | os.PathLike[str], *, squarings: int | None = None, **options: Any) -> PairwiseRegistration:
    """Read a VoxelMorph checkpoint; it then registers as it does there (with zeros beyond the rim), called as (fixed, moving).

    Parameters
    ----------
    path : path
        What `torch.save` wrote: the state_dict of a `VxmPairwise` (alone, or as "state_dict", "model_state_dict" or "model" of a training
        checkpoint), or what `VxmDense.save` writes.
    squarings : int, optional
        Integration steps, where the file does not say; 5 for `VxmPairwise` and 7 for `VxmDense`, as in VoxelMorph.
    **options
        Fields of `UNetOptions` that no shape of a weight tells and that differ from VoxelMorph's defaults, such as `activation`,
        `upsampling` ("linear" or "nearest"), `moving_channels`, or `order` of a network with normalizations.

    Raises
    ------
    InputError
        If there is no such file, or an option is unknown.
    FileFormatError
        If it is no VoxelMorph checkpoint, is damaged, or its weights do not fit together.
    """
    file = Path(path)
    content = _read(file)
    config = content.get("config")
    state = _weights(content, file)
    if "flow.weight" in state:
        told = config if isinstance(config, Mapping) else {}
        found, rules, steps = _dense(state, told, options, file), _DENSE_NAMES, _whole(told, "int_steps", _DENSE_STEPS)
    elif "flow_layer.conv0.weight" in state:
        found, rules, steps = _pairwise(state, options, file), _PAIRWISE_NAMES, _PAIRWISE_STEPS
    else:
        raise FileFormatError(f"{file} holds weights, but not VoxelMorph's: it has no flow layer. {WHAT_TO_DO}")
    model = _filled({**found, **options}, {_renamed(name, rules, len(found["encoder"])): state[name] for name in state}, file)
    return PairwiseRegistration(model, steps if squarings is None else squarings, padding="zeros").eval()


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise InputError(f"There is no file {file}. Expected a VoxelMorph checkpoint (.pt).")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of protocols that it then refuses
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileFormatError(
            f"{file} is no checkpoint of plain tensors, or is damaged ({why[:200]}). Nothing in it was run. {WHAT_TO_DO}"
        ) from error
    if not isinstance(content, Mapping):
        raise FileFormatError(f"{file} holds a {type(content).__name__}; expected a state_dict. {WHAT_TO_DO}")
    return content


def _weights(content: Mapping[str, Any], file: Path) -> State:
    """Return the tensors, without the wrappers' prefix and without the lattices that old versions stored."""
    held = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), content)
    state = {str(name).removeprefix("module."): tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items() if not name.endswith(".grid")}
    if not state:
        raise FileFormatError(f"{file} holds no weights. {WHAT_TO_DO}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise FileFormatError(f"{file} is damaged: some of its weights are not finite numbers.")
    return state


def _filled(options: dict[str, Any], state: State, file: Path) -> VelocityUNet:
    """Build the network and fill it, once it is known that the two fit."""
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in VelocityUNet(**options).state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in sorted(set(wanted) | set(given)):
        if wanted.get(name) != given.get(name):
            raise FileFormatError(
                f"The weights in {file} do not fit the U-Net that they seem to be ({options}): {name!r} should be "
                f"{wanted.get(name, 'absent')} and is {given.get(name, 'absent')}. Give what no weight tells as an option: encoder=…, …"
            )
    model = VelocityUNet(**options)
    model.load_state_dict(state)
    return model


def _layer(state: State, name: str, file: Path) -> Tensor:
    if name not in state or state[name].dim() not in (4, 5):
        raise FileFormatError(f"{file} lacks the convolution {name!r} of a VoxelMorph network in two or three dimensions. {WHAT_TO_DO}")
    return state[name]


def _convolutions(state: State, block: str) -> list[int]:
    """Return the channels that leave each convolution of a level, in order; none for a level without any."""
    names = [name for name in state if name.startswith(block) and name.endswith("weight") and state[name].dim() in (4, 5)]
    return [len(state[name]) for name in sorted(names)]


def _count(state: State, prefix: str) -> int:
    """Return how many numbered parts there are, with those that have no weights in between."""
    numbers = [int(name.removeprefix(prefix).split(".")[0]) for name in state if re.match(re.escape(prefix) + r"\d+\.", name)]
    count = max(numbers, default=-1) + 1
    if count > _MOST_LEVELS:
        raise FileFormatError(f"A weight says that the network has {count} levels; expected {_MOST_LEVELS} at most. {WHAT_TO_DO}")
    return count


def _whole(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int):
        raise FileFormatError(f"Expected a whole number for {name!r} in the checkpoint's config, got {value!r}. {WHAT_TO_DO}")
    return int(value)


def _channels(total: int, options: Mapping[str, Any], file: Path) -> dict[str, int]:
    """Share the input channels between the two images."""
    moving = options.get("moving_channels")
    if moving is None and total % 2:
        raise InputError(f"The network in {file} takes {total} channels in all; say how many are the moving image's: moving_channels=….")
    moving = total // 2 if moving is None else int(moving)
    return {"moving_channels": moving, "fixed_channels": total - moving}


def _first_inputs(state: State, blocks: list[str]) -> int:
    """Return the channels of both images: what the first convolution takes."""
    for block in blocks:
        names = sorted(name for name in state if name.startswith(block) and name.endswith("weight") and state[name].dim() in (4, 5))
        if names:
            return int(state[names[0]].shape[1])
    return 0


# VxmPairwise (0.3): neurite's BasicUNet, whose decoder ends in a projection, and a flow layer.

_DOWN, _BOTTOM, _UP = "model.downsampling_conv_blocks.", "model.lowest_resolution_conv_block.", "model.upsampling_conv_blocks."

_PAIRWISE_NAMES: Rules = [
    (r"^model\.downsampling_conv_blocks\.(\d+)\.conv_block\.", r"encoder.\1."),
    (r"^model\.lowest_resolution_conv_block\.", "decoder.0.block."),
    (r"^model\.upsampling_conv_blocks\.(\d+)\.conv_block\.", lambda match: f"decoder.{int(match[1]) + 1}.block."),
    (r"^model\.upsampling_conv_blocks\.(\d+)\.upsample\.conv\.", lambda match: f"decoder.{int(match[1]) + 1}.up."),
    (r"^model\.out_layer\.conv0\.", "projection.convolution."),
    (r"^flow_layer\.conv0\.", "flow."),
    (r"\.conv(\d+)\.", r".convolution\1."),
]


def _pairwise(state: State, options: Mapping[str, Any], file: Path) -> dict[str, Any]:
    flow, bottom = _layer(state, "flow_layer.conv0.weight", file), _layer(state, f"{_BOTTOM}conv0.weight", file)
    levels = max(_count(state, _DOWN), _count(state, _UP))
    blocks = [[f"{prefix}{index}.conv_block." for index in range(levels)] for prefix in (_DOWN, _UP)]
    features = [[(_convolutions(state, block) or [0])[-1] for block in side] for side in blocks]
    first_up = state.get(f"{_UP}0.conv_block.conv0.weight")
    return {
        "dimensions": flow.dim() - 2,
        **_channels(_first_inputs(state, [*blocks[0], _BOTTOM]), options, file),
        "encoder": options.get("encoder", features[0]),
        "decoder": options.get("decoder", [len(bottom), *features[1]]),
        **_order(state, options, file),
        "activation": "relu",
        "upsampling": "transposed" if any(".upsample.conv." in name for name in state) else "linear",
        "skips": first_up is None or first_up.shape[1] != len(bottom),
        "projection": True,
    }


def _order(state: State, options: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Return the order of a block, as far as names of weights tell it."""
    normalizations = [name for name in state if ".normalization0." in name]
    if not normalizations:
        return {"order": "ca" * len(_convolutions(state, _BOTTOM))}
    if "order" not in options:
        raise InputError(f"The network in {file} normalizes; say where, as VoxelMorph was told: order='cna', for example.")
    return {"normalization": "batch" if any(name.endswith("running_mean") for name in normalizations) else "instance"}


# VxmDense (0.2): a U-Net with leaky ReLUs that ends in convolutions at full resolution, and a flow layer.

_DENSE_NAMES: Rules = [
    (r"^unet_model\.encoder\.(\d+)\.(\d+)\.main\.", r"encoder.\1.convolution\2."),
    (r"^unet_model\.decoder\.(\d+)\.(\d+)\.main\.", r"decoder.\1.block.convolution\2."),
    (r"^unet_model\.remaining\.(\d+)\.main\.", r"decoder.+\1.block.convolution0."),
]


def _dense(state: State, config: Mapping[str, Any], options: Mapping[str, Any], file: Path) -> dict[str, Any]:
    flow = _layer(state, "flow.weight", file)
    _layer(state, "unet_model.encoder.0.0.main.weight", file)
    levels, extra = _count(state, "unet_model.encoder."), _count(state, "unet_model.remaining.")
    encoder, decoder = ([_convolutions(state, f"unet_model.{arm}.{index}.") for index in range(levels)] for arm in ("encoder", "decoder"))
    last = [_convolutions(state, f"unet_model.remaining.{index}.") for index in range(extra)]
    behind = state["unet_model.remaining.0.main.weight"] if extra else flow
    told = {"moving_channels": _whole(config, "src_feats", 1)} if "src_feats" in config else options
    return {
        "dimensions": flow.dim() - 2,
        **_channels(_first_inputs(state, ["unet_model.encoder.0."]), told, file),
        "encoder": encoder,
        "decoder": [*decoder, *last],
        "activation": "leaky_relu",
        "negative_slope": 0.2,
        "upsampling": "nearest",
        **_dense_output(config, half=behind.shape[1] == (decoder[-1] or [0])[-1], file=file),
    }


def _dense_output(config: Mapping[str, Any], half: bool, file: Path) -> dict[str, str]:
    """Return on which lattice the velocity lies; its integration on half the lattice is VxmDense's default."""
    if half:
        return {"output": "half", "doubling": "twice"}
    factor = _whole(config, "int_downsize", 2) if _whole(config, "int_steps", _DENSE_STEPS) else 1
    if factor not in (1, 2):
        raise FileFormatError(f"{file} integrates on 1/{factor} of the lattice; expected the whole or half (int_downsize 1 or 2).")
    return {"output": "resized" if factor == 2 else "full"}


def _renamed(name: str, rules: Rules, levels: int) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^decoder\.\+(\d+)\.", lambda match: f"decoder.{levels + int(match[1])}.", name)
