"""The mouse on the canvas, in any 2-D slice: clicks, and points that are dragged. It says what happened, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication

from .pair_layers import End

Place = tuple[float, float, float]

REACH_PX = 7.0
"""A point is hit this near to its middle, or within its drawn size where that is more."""


class PairMouse(QObject):
    """Follows the mouse on one viewer's canvas while `active`.

    Places are mm along z, y, x of the viewer's world, on the displayed slice.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    ends : callable
        Tells what is drawn where.
    size_mm : callable
        Tells the points' diameter.
    """

    clicked = Signal(object)
    chosen = Signal(object)
    dragged = Signal(object, object)
    dropped = Signal(object, object)

    def __init__(
        self, viewer: Any, ends: Callable[[], Iterable[End]], size_mm: Callable[[], float], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._ends, self._size_mm = viewer, ends, size_mm
        self.active = False
        self._held: tuple[End, Place, bool] | None = None
        self.movable: Callable[[End], bool] = lambda end: True
        self.preferred: Callable[[], str | None] = lambda: None
        """Tells which side is meant where both ends of a pair lie: after a correction they coincide."""
        viewer.mouse_drag_callbacks.append(self._on_press)

    def release(self) -> None:
        """Follow the mouse no more."""
        self.active = False
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def hit(self, place: Place, displayed: Iterable[int], zoom: float) -> End | None:
        """Return the end under a place of the displayed slice: within reach, its sphere meets it; of the preferred side, the nearest."""
        shown = sorted(displayed)
        across = [axis for axis in range(3) if axis not in shown]
        reach = max(REACH_PX / zoom, self._size_mm() / 2)
        found: list[tuple[bool, float, End]] = []
        for end in self._ends():
            apart = np.abs(np.subtract(end.drawn, place))
            distance = float(np.linalg.norm(apart[shown]))
            if distance <= reach and all(apart[axis] <= self._size_mm() / 2 for axis in across):
                found.append((end.side != self.preferred(), distance, end))
        return min(found, key=lambda one: one[:2])[2] if found else None

    def take(self, place: Place, displayed: tuple[int, int], pixels_per_mm: float) -> bool:
        """Take a point in another view of the same world; see `slice_view.Hand`."""
        end = self.hit(place, displayed, pixels_per_mm) if self.active else None
        self._held = None if end is None else (end, place, False)
        if end is not None:
            self.chosen.emit(end)
        return end is not None

    def move(self, place: Place) -> None:
        """Drag what was taken."""
        if self._held is not None and self.movable(self._held[0]):
            end, start, _ = self._held
            self._held = end, start, True
            self.dragged.emit(end, _shifted(end.drawn, start, place))

    def drop(self, place: Place) -> None:
        """Let it go."""
        held, self._held = self._held, None
        if held is not None and held[2]:
            self.dropped.emit(held[0], _shifted(held[0].drawn, held[1], place))

    def _on_press(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        if not self._wanted(event):
            return
        end = self.hit(_place(event), [axis - (viewer.dims.ndim - 3) for axis in event.dims_displayed], float(event.camera_zoom))
        yield from self._click(event) if end is None else self._hold(event, end)

    def _click(self, event: Any) -> Generator[None, None, None]:
        """Wait for the mouse to come up where it went down; else the canvas was moved."""
        first, start, moved = tuple(event.pos), _place(event), False
        yield
        while event.type == "mouse_move":
            moved = moved or _far(first, event.pos)
            yield
        if not moved and not _far(first, event.pos):
            self.clicked.emit(start)

    def _hold(self, event: Any, end: End) -> Generator[None, None, None]:
        """Follow a point that the mouse holds; the canvas must not follow the mouse."""
        first, start, moved = tuple(event.pos), _place(event), False
        event.handled = True
        self.chosen.emit(end)
        yield
        while event.type == "mouse_move":
            event.handled = True
            moved = moved or _far(first, event.pos)
            if moved and self.movable(end):
                self.dragged.emit(end, _shifted(end.drawn, start, _place(event)))
            yield
        event.handled = True
        # A quick hand may come to the end without a move that was told.
        if (moved or _far(first, event.pos)) and self.movable(end):
            self.dropped.emit(end, _shifted(end.drawn, start, _place(event)))

    def _wanted(self, event: Any) -> bool:
        """Leave alone what is meant for a tool of a layer, the camera, or 3-D."""
        layer = self._viewer.layers.selection.active
        looking = layer is None or str(layer.mode) == "pan_zoom"
        dims = self._viewer.dims
        return bool(self.active and looking and dims.ndisplay == 2 and dims.ndim >= 3 and event.button == 1 and not event.modifiers)


def _place(event: Any) -> Place:
    z, y, x = (float(n) for n in tuple(event.position)[-3:])
    return z, y, x


def _shifted(drawn: Place, start: Place, now: Place) -> Place:
    """Move a point as far as the mouse has come: it must not jump to the mouse's tip, nor to the slice that is displayed."""
    z, y, x = (float(n) for n in np.add(drawn, np.subtract(now, start)))
    return z, y, x


def _far(first: tuple[float, ...], now: Any) -> bool:
    return bool(np.abs(np.subtract(now, first)).max() >= QApplication.startDragDistance())
