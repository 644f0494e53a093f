"""Adds layers one small piece per turn of the event loop, so that the window stays responsive while a result appears."""

from __future__ import annotations

from collections.abc import Generator
from threading import Lock
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import QObject, Signal

from . import garbage
from .canvas_rest import CanvasRest, ListRest
from .layers import LayerTuple
from .turns import Turns

LATER = ("contour", "text", "visible")
"""What a layer is told in turns of their own, in this order. (No layer takes its contour when it is made.)"""


class LayerAdder(QObject):
    """Adds layers to a viewer, from the bottom to the top; `done` gives those that are still there."""

    done = Signal(object)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._turns = Turns(self)
        self._rest = CanvasRest(parent)
        self._list_rest = ListRest(parent)
        self._added: list[Any] = []

    @property
    def busy(self) -> bool:
        """Whether layers are still to come."""
        return self._turns.busy

    def add(self, entries: list[LayerTuple]) -> None:
        """Begin to add layers."""
        self._added = []
        self._turns.run(self._work(entries), self._finish)

    def stop(self) -> None:
        """Add no more; what is there stays."""
        self._turns.stop()
        self._end_rest()

    def _end_rest(self) -> None:
        self._list_rest.end()
        self._rest.end()

    def _make_room(self, layer: Any) -> Generator[None, None, None]:
        """Do by itself what adding a layer would do too: letting go of the selected one, and sliders for the first one."""
        self._viewer.layers.selection.clear()
        yield
        dims = self._viewer.dims
        if not self._viewer.layers and layer.ndim > dims.ndim:
            dims.ndim = layer.ndim
            yield
            extent = layer.extent
            dims.range = tuple(zip(*extent.world, extent.step, strict=True))
            yield

    def _finish(self) -> None:
        self._end_rest()
        added, self._added = self._added, []
        self.done.emit([layer for layer in added if layer in self._viewer.layers])

    def _work(self, entries: list[LayerTuple]) -> Generator[None, None, None]:
        for data, arguments, kind in entries:
            # Drawing is the slow part; a hidden layer is added without it, and shown in a turn of its own.
            later = {name: arguments[name] for name in LATER if name in arguments}
            now = {name: value for name, value in arguments.items() if name not in LATER}
            layer = Layer.create(data, {**now, "visible": False}, kind)
            self._rest.begin()
            yield from self._make_room(layer)
            self._added.append(layer)
            yield from insert_in_turns(self._viewer, layer, len(self._viewer.layers), layer, self._list_rest)
            for name, value in {**later, "visible": later.get("visible", True)}.items():
                if layer in self._viewer.layers and getattr(layer, name) is not value:
                    setattr(layer, name, value)
                    yield
            if layer in self._viewer.layers and layer.visible:
                self._rest.end()
                yield


def insert_in_turns(viewer: Any, layer: Any, index: int, active: Any | None, names: ListRest) -> Generator[None, None, None]:
    """Insert a hidden layer; which one is selected then is told, and the list painted, in turns of their own.

    Parameters
    ----------
    viewer : napari.Viewer
        Where nothing is selected.
    layer : napari.layers.Layer
        What comes.
    index : int
        Its place, from the bottom.
    active : napari.layers.Layer or None
        Which layer is selected afterwards, if it is still there.
    names : ListRest
        Of the viewer's window.
    """
    layers = viewer.layers
    names.begin()
    try:
        yield  # The first time the list is looked for among thousands of widgets.
        with garbage.put_off(), layers.selection.events.blocker_all():
            layers.insert(index, layer)
            layers.selection.clear()
        yield
        if active is not None and active in layers:
            layers.selection.active = active
            yield
    finally:
        names.end()
    yield


_warming = Lock()
_warm: list[bool] = []


def load_units() -> None:
    """Let napari load its table of units, a tenth of a second once: on the GUI thread, as two threads at once each find half of it."""
    from napari.utils.transforms import Affine

    Affine(ndim=2)


def warm_up() -> None:
    """Make one small layer of each kind, once: napari imports and compiles much on first use, best off the GUI thread, by one thread."""
    with _warming:
        if not _warm:
            _make_layers()
            _warm.append(True)


def _make_layers() -> None:
    import numpy as np
    from vispy.visuals import LineVisual

    cube = np.arange(8).reshape(2, 2, 2)
    for data, kind in (
        (cube.astype(np.float32), "image"),
        (cube.astype(np.uint8), "labels"),
        (cube.astype(np.uint16), "labels"),
        (np.zeros((1, 3)), "points"),
        (np.zeros((1, 2, 3)), "vectors"),
    ):
        Layer.create(data, {"contrast_limits": (0.0, 1.0)} if kind == "image" else {}, kind)
    # Every Labels layer has such a line (for its polygon tool), and the first one computes dash patterns for all.
    LineVisual(np.zeros((2, 2)), method="agg")
