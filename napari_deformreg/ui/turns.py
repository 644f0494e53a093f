"""Does a longer piece of work on the GUI thread in small pieces, one per turn of the event loop, so that the window stays responsive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QObject, QTimer

PAUSE_MS = 5
"""Between two pieces: long enough for waiting input and painting to come in between."""


class Turns(QObject):
    """Runs one generator, a piece per turn: each ``yield`` ends a piece."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pieces: Iterator[Any] | None = None
        self._ended: Callable[[], Any] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._next)

    @property
    def busy(self) -> bool:
        """Whether pieces are still to come."""
        return self._pieces is not None

    def run(self, pieces: Iterator[Any], ended: Callable[[], Any] | None = None) -> None:
        """Run these pieces, in place of any that are left of earlier work; `ended` is called after the last, even if one failed."""
        self._pieces, self._ended = pieces, ended
        self._timer.start()

    def stop(self) -> None:
        """Do no more, and call nothing."""
        self._timer.stop()
        self._pieces = self._ended = None

    def _next(self) -> None:
        if self._pieces is None:
            return
        pieces = self._pieces
        try:
            next(pieces)
            return
        except StopIteration:
            pass
        except Exception:
            self._end(pieces)
            raise
        self._end(pieces)

    def _end(self, pieces: Iterator[Any]) -> None:
        if self._pieces is not pieces:
            return  # The last piece began other work.
        ended = self._ended
        self.stop()
        if ended is not None:
            ended()
