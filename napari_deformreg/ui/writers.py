"""napari's writers: layers -> files in world coordinates; writing them is io's work."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer

from ..errors import InputError
from ..io import write_image, write_labels, write_landmarks
from ..space import Landmarks
from . import layers
from .landmarks.outlines import PROJECTED, Outline, corners_of


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


def save_shapes(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Shapes layer as the vertices of its lines in RAS+ mm, in their order.

    Of a carried outline that leaves its slice the pieces are written, which lie where they are, and not what was pushed into one slice.
    """
    if not len(data):
        raise InputError(f"Shapes layer {attributes.get('name', '')!r} is empty; draw in it first.")
    layer = _layer(data, attributes, "shapes")
    features = layer.features
    kinds = enumerate(zip(layer.shape_type, layer.data, strict=True))
    lines = [Outline(n, str(kind), corners_of(str(kind), rows)) for n, (kind, rows) in kinds]
    if "drawn" in features:
        lines = [line for line in lines if features["drawn"].iloc[line.number] != PROJECTED]
    numbers = np.concatenate([[line.number] * len(line.vertices) for line in lines])
    shapes = np.array(features["shape"] if "shape" in features else np.arange(len(layer.data)), dtype=int)
    columns = {
        "shape": list(shapes[numbers] + 1), "line": list(numbers + 1),
        "closed": [int(line.closed) for line in lines for _ in line.vertices],
    }  # fmt: skip
    points = np.concatenate([layers.rows_in_world(layer, line.vertices) for line in lines])
    names = tuple(f"{line.number + 1}.{n + 1}" for line in lines for n in range(len(line.vertices)))
    write_landmarks(path, Landmarks(points, names), columns=columns)
    return [path]


def _layer(data: Any, attributes: dict[str, Any], kind: str) -> Any:
    """Make the layer again of what napari hands to writers, so that one function reads all layers."""
    kept = (
        "name", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "metadata", "features", "rgb", "multiscale",
        "shape_type",
    )  # fmt: skip
    known = {key: attributes[key] for key in kept if attributes.get(key) is not None}
    if kind != "image":
        known = {key: value for key, value in known.items() if key != "rgb"}
    return Layer.create(data, known, kind)
