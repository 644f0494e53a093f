"""The life of a dock's widget: from when napari puts it into its dock until the dock or the window is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QWidget

from . import garbage


class DockLife(QObject):
    """Follows one widget; keeps garbage collections short as long as it lives.

    Parameters
    ----------
    widget : QWidget
        What napari docks.
    """

    docked = Signal()
    """The widget is in a dock now."""
    closed = Signal()
    """The dock was closed: napari took the widget out of it."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.alive = True
        self._in_dock = False
        self._garbage = garbage.Hold()
        widget.destroyed.connect(self._garbage.release)
        widget.installEventFilter(self)

    def end(self) -> bool:
        """End it; tells whether it had not ended before."""
        ended, self.alive = self.alive, False
        self._garbage.release()
        return ended

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice when the widget gets and loses its dock; napari tells nobody."""
        if event is not None and watched is not None and event.type() == QEvent.Type.ParentChange:
            was, self._in_dock = self._in_dock, watched.parent() is not None
            if self._in_dock:
                self.docked.emit()
            elif was:
                self.closed.emit()
        return False
