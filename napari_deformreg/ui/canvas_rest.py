"""Lets the canvas and the layer list rest while layers change, so that many changes cost one painting, in a turn of its own.

Painting is the slow part of nearly every change (40 ms and more where OpenGL is done in software, more where the graphics card needs new
programs; 20 ms and more for a list, whose every row draws its icons anew), and napari asks for it again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet, ref

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from .shown import topmost

_COUNT = "napari-deformreg: resting"
"""Property of a widget: how many let it rest."""

STEPS_END_MS = 200
"""So long after the last step through slices the list of layers shows its new thumbnails."""

_resting: WeakSet[PaintingRest] = WeakSet()


class PaintingRest:
    """What is slow to paint in the window that a widget is in, if there is any.

    Parameters
    ----------
    member : QObject or None
        A widget in the window; it may get there later. Anything else has no window.
    find : callable
        Finds, from a widget, what is to rest.
    """

    def __init__(self, member: QObject | None, find: Callable[[QWidget], list[Any]]) -> None:
        self._member = member
        self._find_in = find
        self._window: Any = None
        self._known: list[ref[Any]] = []
        self._held: list[Any] = []

    def begin(self) -> None:
        """Paint no more; again and again is once."""
        if not self._held and isinstance(self._member, QWidget):
            self._held = self._find(self._member)
            for painted in self._held:
                _hold(painted, 1)
            if self._held:
                _resting.add(self)

    def end(self) -> None:
        """Paint, unless somebody else lets it rest too."""
        held, self._held = self._held, []
        _resting.discard(self)
        for painted in held:
            try:
                _hold(painted, -1)
            except RuntimeError:
                continue  # The window is gone.

    def _find(self, member: QWidget) -> list[Any]:
        """Look for them, once for each window: there are thousands of widgets in one."""
        window = topmost(member)
        found = [painted for known in self._known if (painted := known()) is not None]
        if not found or self._window is None or self._window() is not window:
            found = self._find_in(window)
            self._window, self._known = ref(window), [ref(painted) for painted in found]
        return found

    @contextmanager
    def during(self) -> Iterator[None]:
        """Let it rest within a block."""
        self.begin()
        try:
            yield
        finally:
            self.end()


class CanvasRest(PaintingRest):
    """The canvas of the window that a widget is in, if there is one; `member` as above."""

    def __init__(self, member: QObject | None) -> None:
        super().__init__(member, canvases)


class ListRest(PaintingRest):
    """The list of layers of the window that a widget is in; `member` as above."""

    def __init__(self, member: QObject | None) -> None:
        super().__init__(member, layer_lists)


def at_rest() -> bool:
    """Tell whether anything rests: what counts on being painted had better wait."""
    return bool(_resting)


class ResizeRest(QObject):
    """Lets the canvas paint a turn after it got another size, not at once: napari resizes it twice when one turns to another plane.

    Parameters
    ----------
    member : QWidget
        Anything in its window.
    """

    def __init__(self, member: QWidget) -> None:
        super().__init__(member)
        self._rest = CanvasRest(member)
        self._member = member
        self._followed: list[ref[Any]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._rest.end)

    def start(self) -> None:
        """Begin, once the widget is in its window."""
        if not self._followed:
            found = canvases(self._member)
            self._followed = [ref(canvas) for canvas in found]
            for canvas in found:
                canvas.installEventFilter(self)

    def stop(self) -> None:
        """Paint at once again."""
        followed, self._followed = self._followed, []
        for canvas in [known() for known in followed]:
            try:
                if canvas is not None:
                    canvas.removeEventFilter(self)
            except RuntimeError:
                continue  # The window is gone.
        self._timer.stop()
        self._rest.end()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice another size before the canvas does."""
        if event.type() == QEvent.Type.Resize and not self._timer.isActive():
            self._rest.begin()
            self._timer.start()
        return False


class StepRest(QObject):
    """Lets thumbnails and list wait while one moves on through slices: all rows are painted for new thumbnails, data and extents.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose slices are watched.
    parent : QObject
        Whoever needs it.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._list_rest = ListRest(parent)
        self._held: WeakSet[Any] = WeakSet()
        self._following = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(STEPS_END_MS)
        self._timer.timeout.connect(self._end)

    def start(self) -> None:
        """Follow the slices."""
        if not self._following:
            self._following = True
            # napari's own callbacks always come first: the first step is told, those that follow it are not.
            self._viewer.dims.events.current_step.connect(self._on_step)

    def stop(self) -> None:
        """Follow no more."""
        if self._following:
            self._following = False
            self._viewer.dims.events.current_step.disconnect(self._on_step)
        self._timer.stop()
        self._end()

    def _on_step(self, event: Any = None) -> None:
        for layer in self._viewer.layers:
            if layer.visible and layer not in self._held:
                self._held.add(layer)
                layer.events.thumbnail.block()
        self._list_rest.begin()
        self._timer.start()

    def _end(self) -> None:
        held, self._held = list(self._held), WeakSet()
        for layer in held:
            layer.events.thumbnail.unblock()
            layer.events.thumbnail()
        self._list_rest.end()


def canvases(widget: QWidget) -> list[Any]:
    """Find the canvases of the window that a widget is in."""
    return [child for child in topmost(widget).findChildren(QWidget) if child.inherits("QOpenGLWidget")]


def layer_lists(widget: QWidget) -> list[Any]:
    """Find napari's list of layers in the window that a widget is in."""
    return [child for child in topmost(widget).findChildren(QWidget) if child.inherits("QtLayerList")]


def _hold(painted: Any, more: int) -> None:
    count = int(painted.property(_COUNT) or 0) + more
    painted.setProperty(_COUNT, count)
    painted.setUpdatesEnabled(count == 0)
