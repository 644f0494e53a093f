"""How a window looks, as plain values: what a saved review needs to open again as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from napari.layers import Layer, Points, Shapes
from napari.utils.colormaps import AVAILABLE_COLORMAPS

from .. import compat
from ..result_layers import part_of
from .desk import Desk

LOOKS = ("visible", "opacity", "blending", "gamma", "contour", "selected_label", "show_selected_label", "contrast_limits")
"""Settings of a layer that are kept as they are."""

OWN_ELEMENTS_AT_MOST = 5000
"""Points or shapes of one layer of the reviewer's own that are kept."""


def gather_session(desk: Desk) -> dict[str, Any]:
    """Read layers, settings and view of the window."""
    viewer = desk.viewer
    shown = {} if desk.shown is None else desk.shown.layers
    names = {layer.name: part for part, layer in shown.items() if layer in viewer.layers}
    dims, camera = viewer.dims, compat.camera(viewer)
    return {
        "layers": {part: _look(shown[part]) for part in names.values()},
        "order": [names[layer.name] for layer in viewer.layers if layer.name in names],
        "own": [made for layer in viewer.layers if (made := _own_layer(layer)) is not None],
        "dims": {"order": [int(n) for n in dims.order], "ndisplay": int(dims.ndisplay), "point": [float(n) for n in dims.point]},
        "camera": {
            "center": [float(n) for n in camera.center], "zoom": float(camera.zoom), "angles": [float(n) for n in camera.angles],
        },
    }  # fmt: skip


def restore_session(desk: Desk, session: Mapping[str, Any]) -> Iterator[None]:
    """Make the window look as it did, one setting a turn; what is no longer there is left out."""
    for part, look in session.get("layers", {}).items():
        yield from _restore_look(desk, part, look)
    _restore_order(desk, session.get("order", ()))
    yield
    for made in session.get("own", ()):
        if made["arguments"]["name"] not in desk.viewer.layers:
            desk.viewer.add_layer(Layer.create([np.array(one) for one in made["data"]], made["arguments"], made["kind"]))
            yield
    yield from _restore_view(desk.viewer, session)


def _restore_look(desk: Desk, part: str, look: Mapping[str, Any]) -> Iterator[None]:
    for name, value in look.items():
        layer = desk.layer(part)
        if layer is None:
            return
        if name == "colormap":
            value = value if value in AVAILABLE_COLORMAPS else layer.colormap.name
            same = layer.colormap.name == value
        else:
            value = tuple(value) if isinstance(value, list) else value
            same = _plain(getattr(layer, name, value)) == _plain(value)
        if not same:
            setattr(layer, name, value)
            yield


def _restore_order(desk: Desk, order: list[str] | tuple[str, ...]) -> None:
    layers = desk.viewer.layers
    wanted = [layer for part in order if (layer := desk.layer(part)) is not None]
    places = sorted(layers.index(layer) for layer in wanted)
    for place, layer in zip(places, wanted, strict=True):
        if layers.index(layer) != place:
            layers.move(layers.index(layer), place)


def _restore_view(viewer: Any, session: Mapping[str, Any]) -> Iterator[None]:
    dims, camera = session.get("dims"), session.get("camera")
    if dims is not None and len(dims["order"]) == viewer.dims.ndim:
        viewer.dims.order = tuple(dims["order"])
        yield
        viewer.dims.ndisplay = dims["ndisplay"]
        yield
        for axis, value in enumerate(dims["point"]):
            viewer.dims.set_point(axis, value)
        yield
    if camera is not None:
        seen = compat.camera(viewer)
        seen.center, seen.zoom, seen.angles = tuple(camera["center"]), camera["zoom"], tuple(camera["angles"])


def _look(layer: Any) -> dict[str, Any]:
    look = {name: _plain(getattr(layer, name)) for name in LOOKS if hasattr(layer, name)}
    if hasattr(layer, "contrast_limits"):
        look["colormap"] = str(layer.colormap.name)
    return look


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, (int, np.integer)) else float(value) if isinstance(value, (float, np.floating)) else str(value)


def _own_layer(layer: Any) -> dict[str, Any] | None:
    """Keep points and shapes that the reviewer drew: they are in no file."""
    if not isinstance(layer, (Points, Shapes)) or part_of(layer) is not None or layer.source.path or not len(layer.data):
        return None
    count = len(layer.data)
    if count > OWN_ELEMENTS_AT_MOST:
        return None
    arguments = {
        "name": layer.name, "scale": _plain(layer.scale), "translate": _plain(layer.translate), "units": [str(u) for u in layer.units],
        "axis_labels": list(layer.axis_labels), "opacity": float(layer.opacity), "visible": bool(layer.visible),
        "face_color": _plain(layer.face_color),
    }  # fmt: skip
    if isinstance(layer, Points):
        arguments.update(size=_plain(layer.size), border_color=_plain(layer.border_color))
    else:
        arguments.update(shape_type=list(layer.shape_type), edge_color=_plain(layer.edge_color), edge_width=_plain(layer.edge_width))
    return {
        "kind": "points" if isinstance(layer, Points) else "shapes",
        "data": [_plain(one) for one in layer.data],
        "arguments": arguments,
    }
