"""napari's writers: layers -> files in world coordinates; writing them is io's work."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer

from ..io import write_image, write_labels, write_landmarks
from . import layers


def save_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an Image layer."""
    write_image(path, layers.snapshot(_layer(data, attributes, "image")).volume())
    return [path]


def save_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer."""
    write_labels(path, layers.snapshot(_layer(data, attributes, "labels")).label_map())
    return [path]


def save_points(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Points layer as landmarks in RAS+ mm, with its features as further columns."""
    layer = _layer(data, attributes, "points")
    columns = {str(title): list(layer.features[title]) for title in layer.features if title != "name"}
    write_landmarks(path, layers.landmarks_from_layer(layer), columns=columns)
    return [path]


def _layer(data: Any, attributes: dict[str, Any], kind: str) -> Any:
    """Make the layer again of what napari hands to writers, so that one function reads all layers."""
    kept = ("name", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "metadata", "features", "rgb", "multiscale")
    known = {key: attributes[key] for key in kept if attributes.get(key) is not None}
    if kind != "image":
        known = {key: value for key, value in known.items() if key != "rgb"}
    return Layer.create(data, known, kind)
