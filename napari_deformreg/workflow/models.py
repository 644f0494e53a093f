"""A network's file before it is used, and as another kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .inputs import AnyPath


def describe_model(path: AnyPath) -> str:
    """Open a model file and say in one sentence what it is.

    Raises
    ------
    InputError
        If it cannot be used; no code in it is run.
    """
    from ..engine.models.weights import load_model

    model = load_model(path)
    kind = {2: "slices", 3: "volumes"}[model.header.dimensions]
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    return (
        f"{model.name}: a network of kind {model.header.architecture['name']} for {kind}, {weights:,} weights, "
        f"trained at {model.header.spacing_mm:g} mm."
    )


def export_model_file(choice: str, out: AnyPath, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Write a bundled model, or a model file, as ONNX; returns the size of the images that it takes.

    Raises
    ------
    InputError
        If there is no such model, `out` is no `.onnx` file, or the size does not fit.
    """
    if Path(out).suffix != ".onnx":
        raise InputError(f"Expected a file that ends in .onnx to write to, got {Path(out).name!r}.")
    from ..engine.models.onnx_export import export_onnx
    from ..engine.models.weights import open_model

    return export_onnx(open_model(choice), out, size)
