"""Models as files: weights in safetensors, everything else about a model as JSON in the file's metadata; nothing in a file is ever run.

A file holds one metadata entry, `deformreg`, which `ModelHeader` describes, and the tensors of the module's state. One entry, because
safetensors orders several at random and the same model would then have another checksum each time it is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ...errors import DeformregError, FileFormatError, InputError
from ...settings import BUNDLED_MODELS
from . import VelocityModel, build_model

METADATA_KEY = "deformreg"

WEIGHTS_FOLDER = Path(__file__).parents[2] / "weights"
"""Where the models that ship with the package lie, each with its model card."""

WHAT_TO_DO = "Choose a model that `deformreg train` wrote, a bundled one, or none."


class ModelHeader(BaseModel):
    """What a model file says about its model beside the weights."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    format: Literal["deformreg-model/1"] = "deformreg-model/1"
    """Of the file."""
    architecture: dict[str, Any]
    """What `build_model` needs."""
    dimensions: Literal[2, 3]
    """Of the images."""
    spacing_mm: Annotated[float, Field(gt=0, le=50)] = 2.0
    """Voxel size that a human image had in training, the same along each axis."""
    longest_vox: Annotated[int, Field(ge=16, le=1024)] = 96
    """Voxels along the longest axis of the images seen in training."""
    notes: dict[str, str | int | float | None] = {}
    """How the model was made: steps, seed, losses, whatever helps to trace it."""


@dataclass(frozen=True)
class BundledFile:
    """A model that ships with the package; its model card is the `.md` beside the file."""

    file: str
    sha256: str
    license: str


BUNDLED_FILES: dict[str, BundledFile] = {
    "general-3d": BundledFile("general-3d.safetensors", "0bd5250ff9f8fc5b832af1cfc53da64010499b23f9e3f495d854c41bb1c31c70", "BSD-3-Clause"),
    "general-2d": BundledFile("general-2d.safetensors", "bdd315e264db1b3d3df51dc69b1286229516ecc2ce591fa714a6ac615760fc48", "BSD-3-Clause"),
}
"""Files of the bundled models; their names and what they are good for are in `settings.BUNDLED_MODELS`."""

if set(BUNDLED_FILES) != set(BUNDLED_MODELS):  # a table and its descriptions must not drift apart
    raise AssertionError("BUNDLED_FILES and settings.BUNDLED_MODELS must name the same models.")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model ready to predict.

    Attributes
    ----------
    name : str
        For people: the bundled name, or the file's.
    module : VelocityModel
        The network with its weights.
    header : ModelHeader
        What its file says.
    sha256 : str
        Of its file.
    """

    name: str
    module: VelocityModel
    header: ModelHeader
    sha256: str = ""


def save_model(
    model: VelocityModel, path: str | os.PathLike[str], *, spacing_mm: float = 2.0, longest_vox: int = 96,
    notes: Mapping[str, str | int | float | None] | None = None, half: bool = False,
) -> str:
    """Write a model, whole or not at all; returns the file's sha256.

    Parameters
    ----------
    model : VelocityModel
        Any of `MODELS`.
    path : path
        A `.safetensors` file.
    spacing_mm, longest_vox, notes
        See `ModelHeader`.
    half : bool
        Whether to store 16-bit numbers, half the size.

    Raises
    ------
    InputError
        If the place cannot be written to.
    """
    header = ModelHeader(
        architecture=model.architecture, dimensions=_dimensions(model), spacing_mm=spacing_mm, longest_vox=longest_vox,
        notes=dict(notes or {}),
    )
    state = {name: _stored(tensor, half) for name, tensor in model.state_dict().items()}
    content = save(state, {METADATA_KEY: json.dumps(header.model_dump(mode="json"), sort_keys=True)})
    _write(Path(path), content)
    return hashlib.sha256(content).hexdigest()


def _stored(tensor: Tensor, half: bool) -> Tensor:
    plain = tensor.detach().cpu().contiguous()
    return plain.half() if half and plain.is_floating_point() else plain.clone()


def _dimensions(model: nn.Module) -> Literal[2, 3]:
    # A convolution's weight has two axes more than the image.
    axes = max((parameter.dim() for parameter in model.parameters()), default=0) - 2
    if axes not in (2, 3):
        raise InputError(f"Expected a model with convolutions in two or three dimensions; the largest weight has {axes + 2} axes.")
    return 2 if axes == 2 else 3


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write the model {path}: {error.strerror}. Choose a folder that you may write to.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def load_model(path: str | os.PathLike[str]) -> TrainedModel:
    """Read a model file, a user's own or any; nothing in it is executed.

    Raises
    ------
    InputError
        If there is no such file.
    FileFormatError
        If it is not a model of this package, is damaged, or its weights do not fit its architecture.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"There is no model file {file}. {WHAT_TO_DO}")
    header, state = _read(file)
    module = _module_for(header, state, file)
    return TrainedModel(file.stem, module.eval().requires_grad_(False), header, _sha256(file))


def bundled_model(name: str) -> TrainedModel:
    """Load a model that ships with the package.

    Raises
    ------
    FileFormatError
        If its file is not the one that was shipped.
    """
    known = BUNDLED_FILES[name]
    path = WEIGHTS_FOLDER / known.file
    found = _sha256(path) if path.is_file() else "no file"
    if found != known.sha256:
        raise FileFormatError(
            f"The bundled model {name!r} ({path}) is not the one that was shipped: expected sha256 {known.sha256}, got {found}. "
            "Install the package again."
        )
    return replace(load_model(path), name=name)


def open_model(choice: str) -> TrainedModel:
    """Open what the setting `model` names: a bundled model, or a file.

    Raises
    ------
    InputError
        If it is neither, or cannot be used.
    """
    if choice in BUNDLED_FILES:
        return bundled_model(choice)
    if not Path(choice).is_file():
        known = ", ".join(["auto", "none", *BUNDLED_FILES])
        raise InputError(f"There is no model {choice!r}: expected one of {known}, or the path of a model file. {WHAT_TO_DO}")
    return load_model(choice)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path) -> tuple[ModelHeader, dict[str, Tensor]]:
    """Read the header and the tensors; 16-bit numbers come back as 32-bit ones."""
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise FileFormatError(f"{path} is not a model file: {_what_it_is(path, error)}. {WHAT_TO_DO}") from error
    if METADATA_KEY not in metadata:
        raise FileFormatError(f"{path} is a safetensors file, but not of this package: it does not name its network. {WHAT_TO_DO}")
    try:
        header = ModelHeader.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its description"
        raise FileFormatError(f"The model {path} cannot be used: {where}: {first['msg']}. {WHAT_TO_DO}") from error
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise FileFormatError(f"The model {path} is damaged: some of its weights are not finite numbers. {WHAT_TO_DO}")
    return header, state


def _what_it_is(path: Path, error: Exception) -> str:
    """Say what a file that safetensors cannot read looks like."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "expected safetensors, got a pickled checkpoint (.pt, .pth); these can run code when opened, so they are never opened"
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return "expected safetensors, got HDF5 (perhaps TensorFlow weights)"
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"expected safetensors, got something else or a damaged file ({why})"


def _module_for(header: ModelHeader, state: Mapping[str, Tensor], path: Path) -> VelocityModel:
    """Build the network and fill it, after making sure that the two fit: a header must not make us allocate what the file does not hold."""
    with torch.device("meta"):
        plan = _built(header, path)
    wanted = {name: tuple(tensor.shape) for name, tensor in plan.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in sorted(set(wanted) | set(given)):
        if wanted.get(name) != given.get(name):
            raise FileFormatError(
                f"The weights in {path} do not fit its architecture {header.architecture.get('name')!r}: "
                f"{name!r} should be {_shape_text(wanted.get(name))} and is {_shape_text(given.get(name))}. {WHAT_TO_DO}"
            )
    if (found := _dimensions(plan)) != header.dimensions:
        raise FileFormatError(f"The model {path} says that it is {header.dimensions}-D, its weights are {found}-D. {WHAT_TO_DO}")
    module = _built(header, path)
    module.load_state_dict(dict(state))
    return module


def _built(header: ModelHeader, path: Path) -> VelocityModel:
    try:
        return build_model(header.architecture)
    except (DeformregError, TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise FileFormatError(f"The model {path} describes a network that this version cannot build: {error}. {WHAT_TO_DO}") from error


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a single number"
