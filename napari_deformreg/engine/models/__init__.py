"""The networks, and building one from its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ...errors import InputError

MODELS: dict[str, Callable[..., nn.Module]] = {}
"""Every network by the name that its `architecture` has."""


def build_model(architecture: Mapping[str, Any]) -> nn.Module:
    """Build a network from its description, such as another's `architecture`; the weights are new.

    Raises
    ------
    InputError
        If there is no such network.
    """
    name = architecture.get("name")
    if name not in MODELS:
        raise InputError(f"Expected a network among {', '.join(MODELS) or '(none)'}; got {name!r}.")
    return MODELS[name](**{key: value for key, value in architecture.items() if key != "name"})


__all__ = ["MODELS", "build_model"]
