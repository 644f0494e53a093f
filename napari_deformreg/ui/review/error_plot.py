"""A plot of landmark errors: before hollow, after filled, the tolerance as a line; a click chooses a landmark."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from ...qa import Grade, LandmarkRow
from .tables import GRADE_COLORS

LEFT, RIGHT, TOP, BOTTOM = 38, 8, 10, 16
DOT = 4.0
INFO_COLOR = "#4fc3f7"


class ErrorPlot(QWidget):
    """One column a landmark, in the order given."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[LandmarkRow] = []
        self._limits: tuple[float, float | None] | None = None
        self._marked = ""
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip("<p>Error of each landmark in mm: hollow before, filled after. Lines: the tolerance. Click one to go there.</p>")

    def show_errors(self, rows: Sequence[LandmarkRow], limits: tuple[float, float | None] | None) -> None:
        """Show landmarks, with the green and the amber limit."""
        self._rows, self._limits = list(rows), limits
        self.update()

    def mark(self, name: str) -> None:
        """Mark the chosen landmark."""
        self._marked = name
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for a flat strip."""
        return QSize(300, 140)

    def place_of(self, name: str) -> QPointF:
        """Tell where a landmark's error after registration is drawn."""
        n = next(n for n, row in enumerate(self._rows) if row.name == name)
        return QPointF(self._x(n), self._y(self._rows[n].after_mm))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Choose the landmark whose column was clicked."""
        if self._rows:
            width = (self.width() - LEFT - RIGHT) / len(self._rows)
            n = int((event.position().x() - LEFT) / width)
            self.chosen.emit(self._rows[min(max(n, 0), len(self._rows) - 1)].name)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        self._draw_axis(painter, text)
        for n, row in enumerate(self._rows):
            self._draw_landmark(painter, n, row, text)
        painter.end()

    def _draw_axis(self, painter: QPainter, text: QColor) -> None:
        faint = QColor(text)
        faint.setAlpha(70)
        for level in (0.0, self._top()):
            painter.setPen(faint)
            painter.drawLine(QPointF(LEFT, self._y(level)), QPointF(self.width() - RIGHT, self._y(level)))
            painter.setPen(text)
            box = QRectF(0, self._y(level) - 8, LEFT - 4, 16)
            painter.drawText(box, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), f"{level:.3g}")
        for limit, grade in zip(self._limits or (), (Grade.GREEN, Grade.AMBER), strict=False):
            if limit is not None:
                painter.setPen(QPen(QColor(GRADE_COLORS[grade]), 1.5, Qt.PenStyle.DashLine))
                painter.drawLine(QPointF(LEFT, self._y(limit)), QPointF(self.width() - RIGHT, self._y(limit)))
        painter.setPen(text)
        title = "mm, before ○ and after ●, worst first"
        painter.drawText(QRectF(LEFT, self.height() - BOTTOM, self.width() - LEFT, BOTTOM), int(Qt.AlignmentFlag.AlignCenter), title)

    def _draw_landmark(self, painter: QPainter, n: int, row: LandmarkRow, text: QColor) -> None:
        before, after = QPointF(self._x(n), self._y(row.before_mm)), QPointF(self._x(n), self._y(row.after_mm))
        faint = QColor(text)
        faint.setAlpha(90)
        painter.setPen(faint)
        painter.drawLine(before, after)
        painter.setPen(text)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(before, DOT, DOT)
        painter.setPen(QPen(text, 2) if row.name == self._marked else Qt.PenStyle.NoPen)
        painter.setBrush(QColor(GRADE_COLORS.get(row.grade, INFO_COLOR)))
        size = DOT + 2 if row.name == self._marked else DOT
        painter.drawEllipse(after, size, size)

    def _top(self) -> float:
        limits = [limit for limit in self._limits or () if limit is not None]
        return max([1e-6, *limits, *(max(row.before_mm, row.after_mm) for row in self._rows)])

    def _x(self, n: int) -> float:
        return float(LEFT + (n + 0.5) * (self.width() - LEFT - RIGHT) / max(len(self._rows), 1))

    def _y(self, error_mm: float) -> float:
        height = self.height() - TOP - BOTTOM
        return float(TOP + height * (1 - error_mm / self._top()))
