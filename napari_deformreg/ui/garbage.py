"""Keeps Python's full garbage collections short while a dock of ours is open.

With napari loaded there are some 400 000 objects, and looking at all of them takes a quarter of a second in which the window does not
answer. So what exists is set aside again and again (a matter of microseconds); full collections then look only at what is new. What was set
aside and became garbage meanwhile, such as removed layers, is collected in one go when nobody will notice: some time after layers were
removed, with nothing under way and the mouse at rest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QCursor

REST_MS = 8000
"""How long nothing must have moved before the great tidying up."""

_holders: set[Hold] = set()


class Hold:
    """Keeps collections short from now on, until all holds are released. GUI thread only."""

    def __init__(self) -> None:
        _holders.add(self)
        set_aside()

    def release(self) -> None:
        """Let go, once; with the last hold all objects are collected as always again."""
        if self in _holders:
            _holders.remove(self)
            if not _holders:
                gc.unfreeze()


def set_aside() -> None:
    """Leave the present objects out of collections, if there is a hold."""
    if _holders:
        gc.freeze()


def tidy() -> None:
    """Collect everything, also what was set aside: a quarter of a second."""
    gc.unfreeze()
    gc.collect()
    set_aside()


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
        self._place = QCursor.pos()
        self._timer = QTimer(self)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._look)

    def ask(self) -> None:
        """Ask for it; asking again puts it off."""
        self._place = QCursor.pos()
        self._timer.start()

    def stop(self) -> None:
        """Withdraw what was asked."""
        self._timer.stop()

    def _look(self) -> None:
        place = QCursor.pos()
        if self._busy() or place != self._place:
            self._place = place
            return
        self._timer.stop()
        tidy()
