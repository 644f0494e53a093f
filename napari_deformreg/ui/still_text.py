"""A line of text that changes often, without laying out its window anew each time."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel, QWidget

LINES = 3
"""So many are always there; a longer text lays out the window, once."""

PROBLEM_STYLE = "color: #ff8a80;"


class StillText(QWidget):
    """Text in a place of its own.

    A label in a layout asks the whole window for another layout with every word, and a window with an OpenGL canvas composes itself anew
    for it: some ten milliseconds of processor time, ten times a second, just while a registration needs the processors.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # No layout here: what the label asks for ends here.
        self._label = QLabel(self)
        self._label.setWordWrap(True)
        self._label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._make_room(LINES * self.fontMetrics().lineSpacing())

    def text(self) -> str:
        """Return what is shown."""
        return str(self._label.text())

    def tell(self, text: str, problem: bool = False) -> None:
        """Show a text; does nothing where it is shown already."""
        style = PROBLEM_STYLE if problem else ""
        if self._label.styleSheet() != style:
            self._label.setStyleSheet(style)
        if self._label.text() != text:
            self._label.setText(text)
            self._grow()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give the label all the place."""
        super().resizeEvent(event)
        self._label.resize(self.size())
        self._grow()

    def _grow(self) -> None:
        self._make_room(self._label.heightForWidth(self.width()))

    def _make_room(self, height: int) -> None:
        if height > self.minimumHeight():
            self.setMinimumHeight(height)
