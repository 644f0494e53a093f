"""A registration's outcome as layers: what is drawn, in which order and colors. Plain data, made off the GUI thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from napari.utils.colormaps import CyclicLabelColormap

from ..space import LabelMap, Landmarks, Volume
from . import layers, overlays
from .deformed_grid import grid_lines
from .drawn_arrays import Magnitude
from .layers import LayerTuple, Placement
from .pictures import MovedPoints, ResultPicture

FIXED, MOVED, MOVING_BEFORE = "fixed", "moved", "moving before"
JACOBIAN, FOLDS = "Jacobian determinant", "folds"
QUIVER, DEFORMED_GRID, MAGNITUDE = "displacement", "deformed grid", "displacement length"
FIXED_LABELS, MOVED_LABELS = "labels on fixed", "moved labels"
FIXED_LANDMARKS, MOVED_LANDMARKS = "landmarks on fixed", "moved landmarks"
CONTOURS, MOVED_CONTOURS = "contours", "contours of moved"

CHANGED_BY_TRANSFORM = (MOVED, JACOBIAN, MAGNITUDE, FOLDS, MOVED_LABELS, MOVED_LANDMARKS)
"""Layers whose data are others once the transform is another; arrows and grid follow by themselves."""

FIXED_COLOR, MOVED_COLOR = "#4fc3f7", "#ffb300"
"""Sky blue and amber: told apart by color-blind readers, and bright on gray images."""

GRID_COLOR = "#c5e1a5"

POINT_SIZE = 0.025
"""Diameter of a landmark as a part of the longest side."""

TEXT_ROOM = 0.07
"""Between two landmarks with a text, as a part of the longest side: about a text's width where the whole image is seen."""

TEXT_OFFSET = (-0.9, -0.9, 0.0)
"""Of a landmark's text from its point, in diameters along z, y, x: below it, on each plane."""


def result_layers(picture: ResultPicture) -> list[LayerTuple]:
    """List a result's layers from the bottom to the top."""
    placement = Placement(picture.displacement.grid)
    built: list[LayerTuple | None] = [
        _gray(picture.fixed, FIXED, picture.window, visible=True),
        _gray(picture.moving_before, MOVING_BEFORE, picture.moving_limits, visible=False),
        _gray(picture.moved, MOVED, picture.moving_limits, visible=True),
        _magnitude(picture),
        _jacobian(picture),
        _structures(picture.fixed_labels, FIXED_LABELS),
        _structures(picture.moved_labels, MOVED_LABELS),
        _folds(picture.folds),
        _deformed_grid(picture),
        _quiver(picture),
        _points(picture.fixed_landmarks, FIXED_LANDMARKS, placement, FIXED_COLOR, {}),
        _moved_points(picture.moved_points, placement),
    ]
    return [marked_as_result(entry) for entry in built if entry is not None]


def numbered(entries: Iterable[LayerTuple], taken: Iterable[str]) -> list[LayerTuple]:
    """Give all layers of one result the same free number, as napari does for single layers: ``moved``, ``moved [1]``, ..."""
    entries, used = list(entries), set(taken)
    number = 0
    while any(_with_number(data["name"], number) in used for _, data, _ in entries):
        number += 1
    return [(data, {**arguments, "name": _with_number(arguments["name"], number)}, kind) for data, arguments, kind in entries]


def marked_as_result(entry: LayerTuple) -> LayerTuple:
    """Note in a layer's metadata that it was drawn by us and which part it plays, whatever its name becomes."""
    data, arguments, kind = entry
    own = {**arguments["metadata"][layers.METADATA_KEY], "role": "result", "part": arguments["name"]}
    return data, {**arguments, "metadata": {layers.METADATA_KEY: own}}, kind


def part_of(layer: Any) -> str | None:
    """Tell which part of a result a layer is (one of this module's names), or None for any other layer."""
    known = layer.metadata.get(layers.METADATA_KEY) if isinstance(layer.metadata, dict) else None
    return known.get("part") if isinstance(known, dict) and known.get("role") == "result" else None


def quiver_arguments(arrows: overlays.Arrows, longest_mm: float) -> dict[str, Any]:
    """Give the arguments of a Vectors layer colored by the arrows' true length."""
    return {
        "features": pd.DataFrame({"length_mm": arrows.length_mm.astype(np.float64)}),
        "edge_color": "length_mm",
        "edge_colormap": overlays.MAGNITUDE_COLORMAP,
        "edge_contrast_limits": (0.0, longest_mm),
        "vector_style": "arrow",
        "opacity": 1.0,
    }


def _with_number(name: str, number: int) -> str:
    return name if number == 0 else f"{name} [{number}]"


def _gray(volume: Volume | None, name: str, window: tuple[float, float] | None, visible: bool) -> LayerTuple | None:
    if volume is None:
        return None
    limits = {} if window is None else {"contrast_limits": window}
    return layers.image_layer(volume, name=name, colormap="gray", blending="translucent_no_depth", visible=visible, **limits)


def _jacobian(picture: ResultPicture) -> LayerTuple:
    values = picture.jacobian.data
    in_fold = (picture.folds.data > 0) & (values > overlays.JACOBIAN_RANGE[0])
    if in_fold.any():
        # The digital test finds folds that the central determinant does not see; they must not look like tissue.
        values = np.where(in_fold, np.float32(overlays.JACOBIAN_RANGE[0]), values)
    data, arguments, kind = layers.image_layer(
        Volume(values, picture.jacobian.grid),
        name=JACOBIAN,
        contrast_limits=overlays.JACOBIAN_RANGE,
        colormap=jacobian_colormap(),
        blending="translucent_no_depth",
        interpolation2d="nearest",
        visible=False,
    )
    return data, arguments, kind


def _magnitude(picture: ResultPicture) -> LayerTuple:
    drawn = overlays.DrawnField.of(picture.displacement)
    arguments = {
        "name": MAGNITUDE,
        "contrast_limits": (0.0, drawn.longest_mm()),
        "colormap": {"colors": overlays.magnitude_colors(), "name": "displacement (mm)"},
        "blending": "translucent_no_depth",
        "opacity": 0.6,
        "visible": False,
    }
    return Magnitude(drawn.displacement_mm), {**drawn.placement.layer_arguments, **arguments}, "image"


def jacobian_colormap() -> dict[str, Any]:
    """Give the Jacobian's colormap in the form that napari layers take."""
    colors, controls = overlays.jacobian_colors()
    return {"colors": colors, "controls": controls, "low_color": overlays.FOLD_COLOR, "name": "Jacobian (log)"}


def _structures(labels: LabelMap | None, name: str) -> LayerTuple | None:
    if labels is None:
        return None
    opacity = 0.35 if name == FIXED_LABELS else 1.0
    return layers.labels_layer(labels, name=name, visible=False, blending="translucent_no_depth", opacity=opacity)


def _folds(folds: LabelMap) -> LayerTuple:
    # A cyclic map of one color: napari's direct maps compile for two seconds on first use, in the GUI thread.
    colors = CyclicLabelColormap(colors=np.array([(0.0, 0.0, 0.0, 0.0), overlays.FOLD_COLOR, overlays.FOLD_COLOR]), name="folds")
    return layers.labels_layer(
        folds, name=FOLDS, colormap=colors, opacity=0.9, visible=bool(folds.data.any()), blending="translucent_no_depth"
    )


def _quiver(picture: ResultPicture) -> LayerTuple:
    drawn = overlays.DrawnField.of(picture.displacement)
    view = overlays.View(axis=0, index=drawn.shape[0] // 2)
    found = overlays.arrows(drawn, view, drawn.typical_spacing())
    arguments = {
        "name": QUIVER,
        "visible": False,
        "edge_width": drawn.width(overlays.ARROW_WIDTH, found.spacing_mm),
        **quiver_arguments(found, drawn.longest_mm()),
    }
    return found.vectors, {**drawn.placement.layer_arguments, **arguments}, "vectors"


def _deformed_grid(picture: ResultPicture) -> LayerTuple:
    drawn = overlays.DrawnField.of(picture.displacement)
    view = overlays.View(axis=0, index=drawn.shape[0] // 2)
    lines = grid_lines(drawn, view, drawn.typical_spacing())
    width = drawn.width(overlays.LINE_WIDTH, lines.spacing_mm)
    look = {
        "features": pd.DataFrame({"length_mm": lines.length_mm}),
        "edge_width": width,
        "edge_color": GRID_COLOR,
        "edge_colormap": overlays.MAGNITUDE_COLORMAP,
        "edge_contrast_limits": (0.0, drawn.longest_mm()),
        "vector_style": "line",
        "opacity": 0.8,
    }
    arguments = {"name": DEFORMED_GRID, "visible": False, **look}
    return lines.segments, {**drawn.placement.layer_arguments, **arguments}, "vectors"


def _moved_points(moved: MovedPoints | None, placement: Placement) -> LayerTuple | None:
    if moved is None:
        return None
    entry = _points(moved.landmarks, MOVED_LANDMARKS, placement, MOVED_COLOR, dict(moved.features))
    if entry is not None and "tre_after_mm" in moved.features:
        extent = placement.spacing * np.array(placement.canonical.shape)
        errors = np.asarray(moved.features["tre_after_mm"], dtype=np.float64)
        entry[1]["features"]["shown_error"] = error_texts(moved.landmarks.points, errors, float(TEXT_ROOM * extent.max()))
        entry[1]["text"] = {
            "string": "{shown_error}",
            "size": 10,
            "color": MOVED_COLOR,
            "anchor": "center",
            "translation": TEXT_OFFSET,
        }
    return entry


def error_texts(points: Float[np.ndarray, "n 3"], errors_mm: Float[np.ndarray, "n"], room_mm: float) -> list[str]:
    """Write each point's error, but of several within `room_mm` the largest alone: texts on top of each other cannot be read."""
    texts = [""] * len(points)
    written: list[int] = []
    for n in np.argsort(-np.nan_to_num(errors_mm), kind="stable"):
        if np.isfinite(errors_mm[n]) and all(np.linalg.norm(points[n] - points[other]) > room_mm for other in written):
            written.append(int(n))
            texts[n] = f"{errors_mm[n]:.1f} mm"
    return texts


def _points(
    landmarks: Landmarks | None, name: str, placement: Placement, color: str, features: dict[str, Sequence[Any]]
) -> LayerTuple | None:
    if landmarks is None or not len(landmarks):
        return None
    extent = placement.spacing * np.array(placement.canonical.shape)
    return layers.points_layer(
        landmarks,
        placement,
        float(POINT_SIZE * extent.max()),
        features,
        name=name,
        face_color="transparent" if name == FIXED_LANDMARKS else color,
        border_color=color,
        border_width=0.12,
        symbol="disc" if name == FIXED_LANDMARKS else "cross",
        size=1.0 if name == FIXED_LANDMARKS else 0.55,
    )
