"""What the tabs of the Review dock share: the case on the desk, and what every tab can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from ..shown import ShownResult
from .places import Places


class ReviewTab(QWidget):
    """One tab of the dock; it shows one case at a time.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    places : Places
        Moves it.
    """

    title = ""

    def __init__(self, viewer: Any, places: Places, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.places = places
        self.case: ShownResult | None = None

    def show_case(self, case: ShownResult | None) -> None:
        """Show a case, or none."""
        self.case = case
        self.refresh()

    def refresh(self) -> None:
        """Show what the case says."""

    def step(self, direction: int) -> None:
        """Go to the next (1) or the previous (-1) row."""

    def release(self) -> None:
        """Stop everything: the dock goes away."""
        self.case = None

    def layer(self, part: str) -> Any | None:
        """Return the case's layer of a part (a name of `result_layers`), if it is there."""
        found = None if self.case is None else self.case.layers.get(part)
        return found if found is not None and found in self.viewer.layers else None


def buttons(*made: QPushButton | QWidget) -> QHBoxLayout:
    """Put widgets in a row."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for widget in made:
        row.addWidget(widget)
    row.addStretch(1)
    return row


def button(title: str, tip: str, pressed: Callable[[], Any]) -> QPushButton:
    """Make a button with a tip."""
    made = QPushButton(title)
    made.setToolTip(f"<p>{tip}</p>")
    made.clicked.connect(lambda checked=False: pressed())
    return made


def note(text: str = "") -> QLabel:
    """Make a label for sentences."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
    return label
