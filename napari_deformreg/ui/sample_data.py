"""napari's sample data: the pairs that the project's own phantom made, with landmarks and labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..workflow import sample_pair
from .layers import LayerTuple
from .readers import read_layer

_ROLES = {
    "fixed": "image", "moving": "image", "fixed_labels": "labels", "moving_labels": "labels",
    "fixed_landmarks": "points", "moving_landmarks": "points",
}  # fmt: skip


def head_sample() -> list[LayerTuple]:
    """Give the 3-D head pair of one contrast."""
    return list(_layers("head"))


def head_t2_sample() -> list[LayerTuple]:
    """Give the 3-D head pair of two contrasts."""
    return list(_layers("head_t2"))


def slice_sample() -> list[LayerTuple]:
    """Give the 2-D pair."""
    return list(_layers("slice"))


def _layers(name: str) -> Iterator[LayerTuple]:
    pair = sample_pair(name)  # type: ignore[arg-type]
    for role, kind in _ROLES.items():
        data, arguments, layer_kind = read_layer(Path(getattr(pair.paths, role)), kind)
        yield data, {**arguments, "name": role.replace("_", " "), "visible": role == "fixed"}, layer_kind
