"""One slice of the viewer's layers in a plane of its own, painted by Qt: quick, and no second canvas of napari's is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from .slices import SIDES, Mark, Place, Plane, SlicePicture

CROSSHAIR_COLOR = "#ffee58"
LARGEST_ZOOM = 20.0
SMALLEST = (160, 220)
"""Width and height below which nothing can be judged."""

_GAP_PX = 12
"""Of the crosshair around its place, which must stay visible."""


class Hand(Protocol):
    """Takes things from under the mouse, holds them while they are dragged, and lets them go."""

    def take(self, place: Place, displayed: tuple[int, int], pixels_per_mm: float) -> bool:
        """Take what lies at a place (mm along z, y, x); False where there is nothing, so that the view goes there."""
        ...

    def move(self, place: Place) -> None:
        """Follow the mouse."""
        ...

    def drop(self, place: Place) -> None:
        """Let go."""
        ...


class SliceView(QWidget):
    """Paints the pictures of one plane, with a crosshair.

    `pointed` tells which place (mm along z, y, x) is pressed or dragged to, `hovered` which is under the mouse, `stepped` along which axis
    and by how many slices to go, `zoomed` by which factor to zoom.
    """

    pointed = Signal(object)
    hovered = Signal(object)
    stepped = Signal(int, int)
    zoomed = Signal(float)

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane = plane
        self.place: Place = (0.0, 0.0, 0.0)
        self.zoom = 1.0
        self.anatomical = False
        self.hand: Hand | None = None
        self._held = False
        self._extent: tuple[np.ndarray, np.ndarray] | None = None
        self._pictures: list[tuple[SlicePicture, QImage]] = []
        self._marks: list[Mark] = []
        self.setMouseTracking(True)
        self.setMinimumSize(*SMALLEST)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def show_slices(
        self,
        place: Place,
        pictures: Sequence[tuple[SlicePicture, QImage]],
        marks: Sequence[Mark],
        extent: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Show other pictures, from the bottom to the top, and the place of the crosshair."""
        self.place, self._pictures, self._marks, self._extent = place, list(pictures), list(marks), extent
        self.update()

    def to_screen(self, vertical_mm: float, horizontal_mm: float) -> QPointF:
        """Carry a place of the plane to pixels of the widget."""
        scale, (middle_v, middle_h) = self._scale(), self._middle()
        return QPointF(self.width() / 2 + (middle_h - horizontal_mm) * scale, self.height() / 2 + (middle_v - vertical_mm) * scale)

    def to_place(self, x: float, y: float) -> Place:
        """Carry a pixel of the widget to the viewer's world, on the displayed slice."""
        scale, (middle_v, middle_h) = self._scale(), self._middle()
        place = list(self.place)
        place[self.plane.vertical] = middle_v - (y - self.height() / 2) / scale
        place[self.plane.horizontal] = middle_h - (x - self.width() / 2) / scale
        return place[0], place[1], place[2]

    # --- Qt ---------------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint pictures, points, crosshair and sides."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        if self._extent is not None:
            self._paint_pictures(painter)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_marks(painter)
            self._paint_crosshair(painter)
        self._paint_words(painter)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take what lies there, else go to the place."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        place, shown = self._under(event), (self.plane.vertical, self.plane.horizontal)
        self._held = self.hand is not None and self.hand.take(place, shown, self._scale())
        if not self._held:
            self.pointed.emit(place)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Tell the place; with the button held, move what was taken, or go there."""
        if self._held and self.hand is not None:
            self.hand.move(self._under(event))
            return
        (self.pointed if event.buttons() & Qt.MouseButton.LeftButton else self.hovered).emit(self._under(event))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go of what was taken."""
        if self._held and self.hand is not None and event.button() == Qt.MouseButton.LeftButton:
            self._held = False
            self.hand.drop(self._under(event))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Step through the slices; zoom with Control held."""
        turns = event.angleDelta().y() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomed.emit(1.2**turns)
        elif turns:
            self.stepped.emit(self.plane.across, 1 if turns > 0 else -1)
        event.accept()

    # --- painting ---------------------------------------------------------------------------------------------------

    def _under(self, event: QMouseEvent) -> Place:
        return self.to_place(event.position().x(), event.position().y())

    def _box(self) -> tuple[float, float, float, float]:
        """Lowest and highest coordinate of what is drawn: vertical, then horizontal."""
        low, high = self._extent if self._extent is not None else (np.zeros(3), np.ones(3))
        v, h = self.plane.vertical, self.plane.horizontal
        return float(low[v]), float(high[v]), float(low[h]), float(high[h])

    def _scale(self) -> float:
        bottom, top, right, left = self._box()
        return float(self.zoom * min(self.height() / max(top - bottom, 1e-6), self.width() / max(left - right, 1e-6)))

    def _middle(self) -> tuple[float, float]:
        """Vertical and horizontal coordinate in the middle of the widget: the image's own, towards the crosshair where it is zoomed."""
        bottom, top, right, left = self._box()
        scale = self._scale()
        vertical = _kept(self.place[self.plane.vertical], bottom, top, self.height() / scale)
        return vertical, _kept(self.place[self.plane.horizontal], right, left, self.width() / scale)

    def _paint_pictures(self, painter: QPainter) -> None:
        for picture, image in self._pictures:
            modes = QPainter.CompositionMode
            painter.setCompositionMode(modes.CompositionMode_Plus if picture.additive else modes.CompositionMode_SourceOver)
            corner = self.to_screen(picture.top_mm, picture.left_mm)
            scale = self._scale()
            painter.drawImage(QRectF(corner.x(), corner.y(), picture.width_mm * scale, picture.height_mm * scale), image)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)

    def _paint_marks(self, painter: QPainter) -> None:
        for mark in self._marks:
            painter.setPen(QPen(QColor.fromRgbF(*(float(part) for part in mark.color)), 1.5))
            radius = max(mark.diameter_mm * self._scale() / 2, 2.0)
            painter.drawEllipse(self.to_screen(mark.vertical_mm, mark.horizontal_mm), radius, radius)

    def _paint_crosshair(self, painter: QPainter) -> None:
        center = self.to_screen(self.place[self.plane.vertical], self.place[self.plane.horizontal])
        painter.setPen(QPen(QColor(CROSSHAIR_COLOR), 1))
        x, y = center.x(), center.y()
        for start, end in (
            (QPointF(0, y), QPointF(x - _GAP_PX, y)), (QPointF(x + _GAP_PX, y), QPointF(self.width(), y)),
            (QPointF(x, 0), QPointF(x, y - _GAP_PX)), (QPointF(x, y + _GAP_PX), QPointF(x, self.height())),
        ):  # fmt: skip
            painter.drawLine(start, end)

    def _paint_words(self, painter: QPainter) -> None:
        painter.setPen(QColor("white"))
        room = QRectF(self.rect()).adjusted(4, 2, -4, -2)
        flags = Qt.AlignmentFlag
        painter.drawText(room, flags.AlignTop | flags.AlignLeft, self.plane.name)
        if not self.anatomical:
            return
        (top, bottom), (left, right) = SIDES[self.plane.vertical], SIDES[self.plane.horizontal]
        for flag, letter in (
            (flags.AlignTop | flags.AlignHCenter, top), (flags.AlignBottom | flags.AlignHCenter, bottom),
            (flags.AlignLeft | flags.AlignVCenter, left), (flags.AlignRight | flags.AlignVCenter, right),
        ):  # fmt: skip
            painter.drawText(room, flag, letter)


def as_image(picture: SlicePicture) -> QImage:
    """Make Qt's image of a picture, with bytes of its own."""
    rows, columns = picture.rgba.shape[:2]
    return QImage(picture.rgba.tobytes(), columns, rows, 4 * columns, QImage.Format.Format_RGBA8888).copy()


def _kept(wanted: float, low: float, high: float, room: float) -> float:
    """Give the middle of a window of this length near what is wanted, within an image from low to high."""
    if room >= high - low:
        return (low + high) / 2
    return float(np.clip(wanted, low + room / 2, high - room / 2))


def as_place(values: Any) -> Place:
    """Take the last three coordinates of a napari point."""
    z, y, x = (float(n) for n in tuple(values)[-3:])
    return z, y, x
