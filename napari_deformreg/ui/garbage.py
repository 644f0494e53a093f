"""Keeps Python's full garbage collections short while a dock of ours is open.

With napari loaded there are some 350 000 objects, and looking at all of them takes a quarter of a second in which the window does not
answer. So what exists when the first dock opens is set aside; collections then look only at what came later, a fifth of it with a result
shown. Garbage among what was set aside, such as layers that were there before the dock and are removed, is collected in one go when nobody
will notice: some time after they were removed, with nothing under way, and mouse and keys at rest.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QWidget

REST_MS = 8000
"""How long nothing must have moved before tidying up."""

_HANDS = (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress, QEvent.Type.Wheel)
"""Beside the mouse's place: what tells that somebody is working."""

_holders: set[Hold] = set()

_spared: list[weakref.ref[Any]] = []
"""Layers that `remove` set aside before they went: still to be freed."""


class Hold:
    """Keeps collections short from now on, until all holds are released. GUI thread only."""

    def __init__(self) -> None:
        if not _holders:
            gc.freeze()
        _holders.add(self)

    def release(self) -> None:
        """Let go, once; with the last hold all objects are collected as always again."""
        if self in _holders:
            _holders.remove(self)
            if not _holders:
                gc.unfreeze()
                _spared.clear()


@contextmanager
def put_off() -> Iterator[None]:
    """Let no automatic collection come within a block that is slow enough by itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def set_aside() -> None:
    """Let collections pass by all that is there now, as what a dock needs was just loaded and stays."""
    if _holders:
        gc.freeze()


def remove(layers: Any, layer: Any) -> None:
    """Remove one of our own small layers from a viewer's list without a pause.

    napari collects at once whenever a layer goes, a quarter of a second with a result shown. What is there now is set aside before, so that
    this collection has little to look at. The layer is freed by the next `tidy`, at rest, or with the last hold.
    """
    if _holders:
        gc.freeze()
        _spared.append(weakref.ref(layer))
    layers.remove(layer)


def tidy(removed: list[weakref.ref[Any]]) -> None:
    """Collect what came after the first hold; if something removed or spared is still there then, all: a quarter of a second."""
    gc.collect()
    spared = _spared.copy()
    _spared.clear()
    if any(thing() is not None for thing in (*removed, *spared)):
        gc.unfreeze()
        gc.collect()
        if _holders:
            gc.freeze()


class Tidier(QObject):
    """Tidies up once when asked to, as soon as the window is at rest.

    Parameters
    ----------
    busy : callable
        Tells whether anything is under way.
    """

    def __init__(self, busy: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._busy = busy
        self._removed: list[weakref.ref[Any]] = []
        self._place = QCursor.pos()
        self._touched = False
        self._timer = QTimer(self)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._look)

    def ask(self, earlier: Any | None) -> None:
        """Ask for it after something was removed; asking again puts it off. `earlier`: what was there before the first hold."""
        if earlier is not None:
            self._removed.append(weakref.ref(earlier))
        self._place = QCursor.pos()
        parent = self.parent()
        window = parent.window().windowHandle() if isinstance(parent, QWidget) else None
        if window is not None:
            window.installEventFilter(self)  # The first that hears of keys and clicks; again and again is once.
        self._timer.start()

    def stop(self) -> None:
        """Withdraw what was asked."""
        self._timer.stop()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice that somebody is working."""
        self._touched = self._touched or event.type() in _HANDS
        return False

    def _look(self) -> None:
        place, touched = QCursor.pos(), self._touched
        self._touched = False
        if self._busy() or touched or place != self._place:
            self._place = place
            return
        self._timer.stop()
        removed, self._removed = self._removed, []
        tidy(removed)
