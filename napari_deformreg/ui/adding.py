"""Adds layers one small piece per turn of the event loop, so that the window stays responsive while a result appears."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import QObject, QTimer, Signal

from . import garbage
from .layers import LayerTuple

PAUSE_MS = 5
"""Between two pieces: long enough for waiting input and painting to come in between."""


class LayerAdder(QObject):
    """Adds layers to a viewer, from the bottom to the top; `done` gives those that are still there."""

    done = Signal(object)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._pieces: Generator[None, None, list[Any]] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        """Whether layers are still to come."""
        return self._pieces is not None

    def add(self, entries: list[LayerTuple]) -> None:
        """Begin to add layers."""
        self.stop()
        garbage.set_aside()
        self._pieces = self._work(entries)
        self._timer.start()

    def stop(self) -> None:
        """Add no more; what is there stays."""
        self._timer.stop()
        if self._pieces is not None:
            self._pieces = None
            garbage.bring_back()

    def _next(self) -> None:
        if self._pieces is None:
            return
        added: list[Any] = []
        try:
            next(self._pieces)
            return
        except StopIteration as end:
            added = end.value
        except Exception:
            self.stop()
            self.done.emit([])
            raise
        self.stop()
        self.done.emit([layer for layer in added if layer in self._viewer.layers])

    def _work(self, entries: list[LayerTuple]) -> Generator[None, None, list[Any]]:
        added: list[Any] = []
        for data, arguments, kind in entries:
            # Drawing is the slow part; a hidden layer is added without it, and shown in a turn of its own.
            later = {name: arguments[name] for name in ("text", "visible") if name in arguments}
            layer = Layer.create(data, {**arguments, "visible": False, **({"text": None} if "text" in later else {})}, kind)
            yield
            self._viewer.add_layer(layer)
            added.append(layer)
            yield
            for name, value in {"visible": True, **later}.items():
                if layer in self._viewer.layers:
                    setattr(layer, name, value)
                    yield
        return added


def warm_up() -> None:
    """Make one small layer of each kind, attached to nothing: napari imports and compiles much on first use, best off the GUI thread."""
    import numpy as np

    cube = np.arange(8).reshape(2, 2, 2)
    for data, kind in (
        (cube.astype(np.float32), "image"),
        (cube, "labels"),
        (np.zeros((1, 3)), "points"),
        (np.zeros((1, 2, 3)), "vectors"),
    ):
        Layer.create(data, {"contrast_limits": (0.0, 1.0)} if kind == "image" else {}, kind)
