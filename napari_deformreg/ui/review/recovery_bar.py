"""Offers a review that an earlier window left unsaved."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from ..buttons import button
from .autosave import Kept, discard
from .tab import in_a_row, note


class RecoveryBar(QFrame):
    """One line and two buttons; hidden while there is nothing to offer."""

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left: list[Kept] = []
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = note()
        self.open_button = button("Open it", "Open the result and the unsaved review of it.", self._open)
        self.discard_button = button("Discard", "Throw the unsaved review away.", self._discard)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addLayout(in_a_row(self.open_button, self.discard_button))
        self.hide()

    def offer(self, left: Sequence[Kept]) -> None:
        """Offer these, the first one first."""
        self._left = list(left)
        self.setVisible(bool(self._left))
        if self._left:
            first = self._left[0]
            which = "a result that was not saved either" if first.temporary else str(first.folder)
            more = f" {len(self._left) - 1} more are behind it." if len(self._left) > 1 else ""
            self.text.setText(f"An unsaved review of {which} was recovered (kept {first.saved[:16].replace('T', ' ')} UTC).{more}")

    def _open(self) -> None:
        first = self._left[0]
        self.offer([])
        self.chosen.emit(first)

    def _discard(self) -> None:
        discard(self._left[0])
        self.offer(self._left[1:])
