"""Networks that predict a deformation: one table of names, and what builds a model from a description of it.

A model is a `VelocityModel`: ``model(fixed, moving)`` gives a velocity in voxels of the model's own lattice. A new model is a class of that
kind and a row in `MODELS`; its constructor takes as keywords what its `architecture` holds beside the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import InputError
from .base import VelocityModel
from .matching_pyramid import MatchingPyramid
from .pairwise import PairwiseOutput, PairwiseRegistration, Transform
from .unet import UNetOptions, VelocityUNet
from .voxelmorph_names import load_voxelmorph

MODELS: dict[str, type[VelocityModel]] = {"matching_pyramid": MatchingPyramid, "unet": VelocityUNet}
"""What can be built, trained, saved and loaded."""


def build_model(architecture: Mapping[str, Any]) -> VelocityModel:
    """Make an untrained model from what a model's `architecture` says: its "name" and its options."""
    options = dict(architecture)
    name = options.pop("name", None)
    if name not in MODELS:
        raise InputError(f"Expected a model named one of {', '.join(MODELS)}; got {name!r}.")
    try:
        return MODELS[name](**options)
    except TypeError as error:  # an option that this model does not know
        raise InputError(f"The model {name!r} cannot be built from {options}: {error}.") from error


__all__ = [
    "MODELS", "MatchingPyramid", "PairwiseOutput", "PairwiseRegistration", "Transform", "UNetOptions", "VelocityModel", "VelocityUNet",
    "build_model", "load_voxelmorph",
]  # fmt: skip
