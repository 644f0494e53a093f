"""Several changes of one Vectors layer as one, and one drawing of it for a step through slices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from qtpy.QtCore import QObject, QTimer

STEPS_END_MS = 200
"""So long after the last step through slices a layer is drawn by napari again."""

_held: WeakSet[Any] = WeakSet()
"""Layers whose slices are drawn by `changed_at_once` alone."""


@contextmanager
def changed_at_once(layer: Any, extent: bool = True) -> Iterator[None]:
    """Let a layer take several changes, and draw it anew once; each alone would draw all of its vectors.

    Nobody else is told of them. The thumbnail stays as it is: it would take five times as long as all the rest.

    Parameters
    ----------
    layer : napari layer
        Which one.
    extent : bool
        Whether it may reach farther than other layers do: napari then asks all layers how far they reach, and compares.
    """
    layer.refresh = lambda *_, **__: None
    try:
        with layer.events.blocker_all():
            yield
    finally:
        del layer.refresh
    with _drawn_now(layer):
        layer.refresh(thumbnail=False, highlight=False, extent=extent)


@contextmanager
def _drawn_now(layer: Any) -> Iterator[None]:
    held = layer in _held
    if held:
        layer.events.set_data.unblock()
    try:
        yield
    finally:
        if held:
            layer.events.set_data.block()


class DrawnOnce(QObject):
    """Lets layers that are filled anew for each slice be drawn once for a step.

    napari draws each layer before anyone else hears of the step: of these nothing is left then, as what they hold lies in the slice before,
    yet that costs as much as another small layer.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers: WeakSet[Any] = WeakSet()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(STEPS_END_MS)
        self._timer.timeout.connect(self.release)

    def hold(self, layers: Iterable[Any]) -> None:
        """Draw these layers, which were filled for this slice just now, with what they get for the next slices only, while steps follow."""
        for layer in layers:
            if layer not in _held:
                _held.add(layer)
                self._layers.add(layer)
                layer.events.set_data.block()
        self._timer.start()

    def release(self) -> None:
        """Let napari draw them as always, and see that they are."""
        self._timer.stop()
        layers, self._layers = list(self._layers), WeakSet()
        for layer in layers:
            _held.discard(layer)
            layer.events.set_data.unblock()
            layer.events.set_data()
