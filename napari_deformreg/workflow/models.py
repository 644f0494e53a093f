"""What there is to say about a network's file before it is used."""

from __future__ import annotations

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
