"""How a window looks, as plain values: what a saved review needs to open again as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import AVAILABLE_COLORMAPS

from .. import compat
from ..layers import file_of
from ..result_layers import part_of
from ..result_panel import ResultPanel
from .desk import Desk

LOOKS = ("visible", "opacity", "blending", "gamma", "contour", "selected_label", "show_selected_label", "contrast_limits")
"""Settings of a layer that are kept as they are."""

FILE_KINDS = {"image": Image, "labels": Labels, "points": Points}
"""What a file may be opened as again (kinds of `readers.read_layer`)."""

OWN_ELEMENTS_AT_MOST = 5000
"""Points or shapes of one layer of the reviewer's own that are kept."""


def gather_session(desk: Desk) -> dict[str, Any]:
    """Read layers, settings and view of the window."""
    viewer = desk.viewer
    shown = {} if desk.shown is None else {part: layer for part, layer in desk.shown.layers.items() if layer in viewer.layers}
    parts, others = {layer: part for part, layer in shown.items()}, [layer for layer in viewer.layers if layer not in shown.values()]
    dims, camera = viewer.dims, compat.camera(viewer)
    panel = desk.panel
    # A way to compare changes looks and order for as long as it lasts; it is kept by its own name.
    looks = {layer: {} if panel is None else panel.compare.comparison.look_without(layer) for layer in viewer.layers}
    order = list(viewer.layers) if panel is None else panel.compare.comparison.order_without()
    return {
        "layers": {part: _look(layer, looks[layer]) for part, layer in shown.items()},
        "order": [parts[layer] for layer in order if layer in parts],
        "own": [made for layer in others if (made := _own_layer(layer)) is not None],
        "files": [made for layer in others if (made := _file_layer(layer, looks[layer])) is not None],
        **({} if panel is None else _panel_state(panel)),
        "dims": {"order": [int(n) for n in dims.order], "ndisplay": int(dims.ndisplay), "point": [float(n) for n in dims.point]},
        "camera": {
            "center": [float(n) for n in camera.center], "zoom": float(camera.zoom), "angles": [float(n) for n in camera.angles],
        },
    }  # fmt: skip


def _panel_state(panel: ResultPanel) -> dict[str, Any]:
    controls = panel.controls
    return {"comparison": panel.compare.state(), "field": controls.field.state(), "blend": controls.blend.value()}


def restore_session(desk: Desk, session: Mapping[str, Any]) -> Iterator[None]:
    """Make the window look as it did, one setting a turn; what is no longer there is left out."""
    panel = desk.panel
    if panel is not None and "comparison" in session:
        panel.controls.field.restore(session["field"])
        panel.controls.blend.setValue(int(session["blend"]))
        yield
    for part, look in session.get("layers", {}).items():
        yield from restore_look(desk, desk.layer(part), look)
    _restore_order(desk, session.get("order", ()))
    yield
    for made in session.get("own", ()):
        if made["arguments"]["name"] not in desk.viewer.layers:
            desk.viewer.add_layer(Layer.create([np.array(one) for one in made["data"]], made["arguments"], made["kind"]))
            yield
    if panel is not None and "comparison" in session:
        panel.compare.restore(session["comparison"])
        while panel.compare.comparison.busy:
            yield
    yield from _restore_view(desk.viewer, session)


def restore_look(desk: Desk, layer: Any | None, look: Mapping[str, Any]) -> Iterator[None]:
    """Make one layer look as it did, one setting a turn."""
    for name, value in look.items():
        if layer is None or layer not in desk.viewer.layers:
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


def _look(layer: Any, instead: Mapping[str, Any]) -> dict[str, Any]:
    """Read a layer's settings; some are replaced by what they are without a way to compare."""
    look = {name: _plain(instead.get(name, getattr(layer, name))) for name in LOOKS if hasattr(layer, name)}
    if hasattr(layer, "contrast_limits"):
        look["colormap"] = str(instead.get("colormap", layer.colormap).name)
    return look


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, (int, np.integer)) else float(value) if isinstance(value, (float, np.floating)) else str(value)


def _file_layer(layer: Any, instead: Mapping[str, Any]) -> dict[str, Any] | None:
    """Keep where another image, label map or table that the reviewer opened lies, and how it looks."""
    path = file_of(layer)
    kind = next((kind for kind, known in FILE_KINDS.items() if isinstance(layer, known)), None)
    if path is None or kind is None or part_of(layer) is not None:
        return None
    return {"file": path, "kind": kind, "name": layer.name, "look": _look(layer, instead)}


def _own_layer(layer: Any) -> dict[str, Any] | None:
    """Keep points and shapes that the reviewer drew: they are in no file."""
    if not isinstance(layer, (Points, Shapes)) or part_of(layer) is not None or file_of(layer) or not len(layer.data):
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
