"""What the window tests share: quick settings and a stand-in for the engine."""

import time

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_deformreg.result import Step
from napari_deformreg.settings import Settings
from napari_deformreg.ui import compat
from napari_deformreg.ui.shown import topmost

QUICK = Settings.from_mapping(
    {"affine": {"mode": "rigid", "start": "header"}, "search": {"mode": "off"}, "refine": {"shrink_factors": (2.0,), "steps": (5,)}}
)


class SlowEngine:
    """Stands in for the engine: steps of known length, then a given outcome; remembers how it ended."""

    def __init__(self, outcome, picture, steps=40, step_seconds=0.02):
        self.value = (outcome, picture)
        self.steps, self.step_seconds = steps, step_seconds
        self.started = self.ended = False
        self.given = None

    def __call__(self, inputs, settings):
        self.given = (inputs, settings)
        self.started = True
        try:
            for n in range(self.steps):
                time.sleep(self.step_seconds)
                yield Step("refine", level=1, levels=3, index=n + 1, count=self.steps, loss=-0.5, fraction=n / self.steps, seconds_left=5.0)
            return self.value
        finally:
            self.ended = True


def canvas_of(dock):
    """The widget that the pictures of a dock's window are painted on."""
    return next(widget for widget in topmost(dock).findChildren(QWidget) if type(widget).__name__.startswith("CanvasBackend"))


def pixel_of(viewer, drawn):
    """Where a place of the displayed slice (mm along z, y, x) is on the canvas, right and down."""
    camera = compat.camera(viewer)
    vertical, horizontal = viewer.dims.order[-2:]
    height, width = compat.canvas_size(viewer)
    # Results are shown with the right on the left and the front on top.
    x = width / 2 + (camera.center[-1] - drawn[horizontal]) * camera.zoom
    y = height / 2 + (camera.center[-2] - drawn[vertical]) * camera.zoom
    return x, y


class CanvasMouse:
    """A hand on the mouse: real Qt events to the canvas, at places of the viewer's world."""

    def __init__(self, viewer, dock):
        self.viewer, self.canvas = viewer, canvas_of(dock)

    def _send(self, kind, place, buttons):
        point = QPointF(*(float(round(n)) for n in pixel_of(self.viewer, place)))
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
        event = QMouseEvent(kind, point, self.canvas.mapToGlobal(point), button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(self.canvas, event)

    def click(self, place, before_release=lambda: None):
        """Press and release at a place."""
        self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)
        self._send(QEvent.Type.MouseButtonPress, place, Qt.MouseButton.LeftButton)
        before_release()
        self._send(QEvent.Type.MouseButtonRelease, place, Qt.MouseButton.NoButton)

    def drag(self, start, end, pieces=6, before_release=lambda: None):
        """Press at one place, move in pieces, release at the other."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        self._send(QEvent.Type.MouseMove, start, Qt.MouseButton.NoButton)
        self._send(QEvent.Type.MouseButtonPress, start, Qt.MouseButton.LeftButton)
        for part in np.linspace(0, 1, pieces + 1)[1:]:
            time.sleep(0.012)  # vispy leaves out what follows faster.
            self._send(QEvent.Type.MouseMove, start + part * (end - start), Qt.MouseButton.LeftButton)
            QApplication.processEvents()  # napari tells its layers of a move in a later turn.
        before_release()
        self._send(QEvent.Type.MouseButtonRelease, end, Qt.MouseButton.NoButton)

    def show_slice(self, place):
        """Display the slice through a place, with the place in the middle."""
        for axis in range(3):
            self.viewer.dims.set_point(axis, float(place[axis]))
        compat.look_at(self.viewer, tuple(place))
        QApplication.processEvents()
