"""A switch for one side's contours, which also is their legend: the color it bears is theirs, and is chosen there."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QColorDialog, QMenu, QToolButton, QWidget

SWATCH = 12
"""Side of the square of color, in pixels."""


class SideSwitch(QToolButton):
    """Shows or hides the contours of one side; `colored` gives another color chosen for them, by name.

    Parameters
    ----------
    title : str
        Which side.
    color : str
        Theirs at first.
    """

    colored = Signal(str)

    def __init__(self, title: str, color: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setText(title)
        self.setCheckable(True)
        self.setChecked(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self.setToolTip(f"<p>Show or hide the contours of the {title} labels; the arrow chooses their color.</p>")
        menu = QMenu(self)
        menu.addAction("Color…", self._ask)
        self.setMenu(menu)
        self._color = ""
        self.set_color(color)

    @property
    def color(self) -> str:
        """Name of the color (#rrggbb)."""
        return self._color

    def set_color(self, color: str) -> None:
        """Bear another color, and tell of it."""
        if color == self._color:
            return
        self._color = color
        square = QPixmap(SWATCH, SWATCH)
        square.fill(QColor(color))
        self.setIcon(QIcon(square))
        self.colored.emit(color)

    def _ask(self) -> None:
        dialog = QColorDialog(QColor(self._color), self)
        dialog.colorSelected.connect(lambda chosen: self.set_color(chosen.name()))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
