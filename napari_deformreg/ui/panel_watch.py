"""Finds the pages in a window that show results, now and as docks come."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from .dock_life import DockLife
from .result_panel import ResultPanel
from .shown import topmost

LOOK_MS = 50
"""So long after something changed in its window a dock looks for the other docks there."""


class PanelWatch(QObject):
    """Tells of each page once, from when its dock is in a window.

    Parameters
    ----------
    viewer : napari viewer
        Layers that come tell that another dock may have come, too.
    life : DockLife
        Of the dock that wants to know.
    dock : QWidget
        The dock's widget.
    """

    looking = Signal()
    """It looks around, and tells what it finds next."""
    found = Signal(object)
    """A `ResultPanel` that was not there before."""

    def __init__(self, viewer: Any, life: DockLife, dock: QWidget) -> None:
        super().__init__(dock)
        self._viewer, self._dock = viewer, dock
        self._panels: list[ResultPanel] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        life.docked.connect(self._timer.start)  # A turn later the dock is in its window.
        viewer.layers.events.inserted.connect(self._on_inserted)

    def tell_of(self, panel: ResultPanel) -> None:
        """Tell of a page, unless it was told of before."""
        if panel not in self._panels:
            self._panels.append(panel)
            self.found.emit(panel)

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._panels.clear()

    def _on_inserted(self, event: Any) -> None:
        """Look once while layers are being added, not within each: there are thousands of widgets to look through."""
        if not self._timer.isActive():
            self._timer.start()

    def _look(self) -> None:
        self.looking.emit()
        for panel in topmost(self._dock).findChildren(ResultPanel):
            self.tell_of(panel)
