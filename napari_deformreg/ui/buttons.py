"""Buttons with a tip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QPushButton


def button(title: str, tip: str, pressed: Callable[[], Any]) -> QPushButton:
    """Make a button with a tip."""
    made = QPushButton(title)
    made.setToolTip(f"<p>{tip}</p>")
    made.clicked.connect(lambda checked=False: pressed())
    return made


def switch(title: str, tip: str, toggled: Callable[[bool], Any] | None = None) -> QPushButton:
    """Make a button that stays down, with a tip."""
    made = QPushButton(title)
    made.setCheckable(True)
    made.setToolTip(f"<p>{tip}</p>")
    if toggled is not None:
        made.toggled.connect(toggled)
    return made
