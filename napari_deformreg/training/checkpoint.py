"""The state of a training in one file, written whole or not at all: tensors as safetensors, the rest as JSON in its header. No pickle.

Random numbers are drawn from generators seeded by (seed, number of the pair), so the step is all the state they have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import FileFormatError, InputError
from ..io import atomic_file

FORMAT = "napari-deformreg training state 1"


@dataclass(frozen=True)
class TrainingState:
    """What a training knows beside its tensors.

    Attributes
    ----------
    step : int
        Steps done.
    best : float or None
        Best figure of the validations so far.
    best_step : int
        When that was.
    seconds : float
        Time spent computing, over all sessions.
    config : str
        The configuration as JSON.
    architecture : dict
        What the network was built from.
    """

    step: int
    best: float | None
    best_step: int
    seconds: float
    config: str
    architecture: dict[str, Any]


def write_checkpoint(
    path: Path, state: TrainingState, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write weights, their average, the optimizer's moments and the state; an older file stays until the new one is whole.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for parameter, moments in optimizer.state.items():
        tensors |= {f"optimizer.{names[parameter]}.{kind}": torch.as_tensor(value) for kind, value in moments.items()}
    content = save(_detached(tensors), {"format": FORMAT, "state": json.dumps(asdict(state))})
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Copies: safetensors refuses tensors that share memory (as tied weights do).
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def read_state(path: Path) -> TrainingState:
    """Read what a checkpoint says beside its tensors.

    Raises
    ------
    FileFormatError
        If it is no checkpoint of a training.
    InputError
        If there is no such file.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path} to go on from. Leave out --resume, or name the folder of a training.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise FileFormatError(f"{path} is not a training checkpoint: its format is {header.get('format')!r}, expected {FORMAT!r}.")
        return TrainingState(**json.loads(header["state"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} is damaged or no training checkpoint: {error}. Take a copy of it, or begin anew.") from error


def read_checkpoint(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Bring a training back to where a checkpoint left it, bit by bit.

    Raises
    ------
    FileFormatError
        If it is no checkpoint, or one of another network.
    """
    state = read_state(path)
    device = next(model.parameters()).device
    with safe_open(path, framework="pt", device=str(device)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    _load(model, _part(tensors, "model."), path)
    _load(average, _part(tensors, "average."), path)
    moments = _part(tensors, "optimizer.")
    order = [name for name, _ in model.named_parameters()]
    restored: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, kind = key.rsplit(".", 1)
        # Adam's step counts live on the CPU, whatever the device.
        restored.setdefault(order.index(name), {})[kind] = value.cpu() if kind == "step" else value
    optimizer.load_state_dict({"state": restored, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if own != given:
        wrong = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
        raise FileFormatError(
            f"{path} holds the weights of another network: {', '.join(wrong[:3])} differ. Use the architecture that it was written with."
        )
    model.load_state_dict(dict(tensors))
