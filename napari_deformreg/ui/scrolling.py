"""A page that scrolls up and down only."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QWidget


class _Scroll(QScrollArea):
    """Wide enough for its page, so that nothing is cut off at the side."""

    def minimumSizeHint(self):  # type: ignore[no-untyped-def] # Qt's size
        """Ask for the page's width and the bar's."""
        size = super().minimumSizeHint()
        page, bar = self.widget(), self.verticalScrollBar()
        if page is not None and bar is not None:
            size.setWidth(page.minimumSizeHint().width() + bar.sizeHint().width())
        return size


def scrolled(page: QWidget) -> QScrollArea:
    """Put a page into a scroll area."""
    scroll = _Scroll()
    scroll.setWidget(page)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return scroll
