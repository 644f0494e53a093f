"""What every tab of the Review dock can do, and the small widgets they are made of."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from ..buttons import button
from .desk import Desk


class ReviewTab(QWidget):
    """One tab of the dock; it shows the case on the desk.

    Parameters
    ----------
    desk : Desk
        What is under review.
    """

    title = ""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk

    def refresh(self) -> None:
        """Show the case, which may be another one."""

    def forget(self) -> None:
        """Let go of what belongs to the case before: another one comes."""

    def regrade(self) -> None:
        """Show the same case by other tolerances."""

    def step(self, direction: int) -> None:
        """Go to the next (1) or the previous (-1) row."""

    def go_to_worst(self) -> None:
        """Go to the worst row."""

    def release(self) -> None:
        """Stop everything: the dock goes away."""


def in_a_row(*widgets: QWidget) -> QHBoxLayout:
    """Put widgets side by side."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return row


def walk_buttons(tab: ReviewTab, what: str, step: str = "") -> tuple[QPushButton, QPushButton, QPushButton]:
    """Make the buttons for the worst, the previous and the next row of a tab; `step`: what the last two go to, if something else."""
    return (
        button("Worst", f"Go to the worst {what} (Home).", tab.go_to_worst),
        button("◂ Previous", f"Go to the {step or what} above (Page Up).", lambda: tab.step(-1)),
        button("Next ▸", f"Go to the {step or what} below (Page Down).", lambda: tab.step(1)),
    )


def note(text: str = "") -> QLabel:
    """Make a label for sentences."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
