"""Models as ONNX, for programs without torch: two images in, the velocity out, on one lattice of fixed size."""

from __future__ import annotations

import json
import logging
import os
import uuid
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...errors import EngineError, InputError
from .weights import METADATA_KEY, TrainedModel

OPSET = 20
"""The first in which GridSample takes volumes; models that warp inside need it."""

INPUT_NAMES, OUTPUT_NAME = ("fixed", "moving"), "velocity_vox"

LARGEST_SIDE = 1024


def export_onnx(model: TrainedModel, path: str | os.PathLike[str], size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Write a model as ONNX, whole or not at all; returns the size of the images that it takes.

    The graph has the inputs `fixed` and `moving`, (1, 1, *size) each with intensities in [0, 1], and the output `velocity_vox`,
    (1, d, *coarse) in voxels of the model's lattice. Its metadata hold what the model file says (see `ModelHeader`).

    Parameters
    ----------
    model : TrainedModel
        From `load_model`, `bundled_model` or `open_model`.
    path : path
        File to write, or write over.
    size : sequence of int, optional
        Of the images, an entry an axis; sizes that the model cannot halve are an error. A cube as long as the images in training
        if left out.

    Raises
    ------
    InputError
        If the size does not fit the model, the place cannot be written to, or the packages of the extra "onnx" are missing.
    EngineError
        If torch cannot express the model.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(f"Writing ONNX needs {' and '.join(missing)}: pip install 'napari-deformreg[onnx]'.")
    shape = _checked_size(model, size)
    module = model.module.cpu().eval()
    channels = _channels(module)
    images = tuple(torch.zeros((1, count, *shape)) for count in channels)
    program = _program(module, images, model.name)
    program.model.metadata_props[METADATA_KEY] = json.dumps(model.header.model_dump(mode="json"), sort_keys=True)
    file = Path(path)
    partial = file.with_name(f".partial-{uuid.uuid4().hex[:8]}-{file.name}")
    try:
        program.save(str(partial))
        partial.replace(file)
    except OSError as error:
        raise InputError(f"Cannot write the model {file}: {error.strerror}. Choose a folder that you may write to.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return shape


def _checked_size(model: TrainedModel, size: Sequence[int] | None) -> tuple[int, ...]:
    described: Any = model.module  # torch types every attribute as a tensor or module
    multiple, offset, d = int(described.multiple), int(described.offset), model.header.dimensions
    if size is None:
        return (-(-(model.header.longest_vox - offset) // multiple) * multiple + offset,) * d
    fits = len(size) == d and all(n > offset and (n - offset) % multiple == 0 and n <= LARGEST_SIDE for n in size)
    if not fits:
        rule = f"multiples of {multiple}" + (f" plus {offset}" if offset else "")
        raise InputError(f"Expected {d} sizes that are {rule}, at most {LARGEST_SIDE}, for the model {model.name!r}; got {tuple(size)}.")
    return tuple(size)


def _channels(module: nn.Module) -> tuple[int, int]:
    described: dict[str, Any] = cast(Any, module).architecture
    return int(described.get("fixed_channels", 1)), int(described.get("moving_channels", 1))


def _program(module: nn.Module, images: tuple[torch.Tensor, ...], name: str) -> torch.onnx.ONNXProgram:
    """Trace the model; the exporter's own deprecations and its notes about packages that it does not find are not the user's concern."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.onnx.export(
                module, images, input_names=INPUT_NAMES, output_names=(OUTPUT_NAME,), opset_version=OPSET, dynamo=True, verbose=False
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise EngineError(f"The model {name!r} cannot be written as ONNX: {why}") from error
    finally:
        logger.setLevel(level)
    if program is None:
        raise EngineError(f"The model {name!r} cannot be written as ONNX: torch gave no program.")
    return program
