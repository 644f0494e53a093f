"""Files and folders that are dropped on a widget."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent


class TakesFiles:
    """What a widget that takes dropped files has besides; it stands before Qt's class, and the widget calls ``setAcceptDrops(True)``."""

    def wants_files(self, files: list[Path]) -> bool:
        """Tell whether these may be dropped here."""
        return bool(files)

    def take_files(self, files: list[Path]) -> None:
        """Do something with what was dropped, one at least."""
        raise NotImplementedError

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept local files that are wanted here."""
        if self.wants_files(dropped_files(event)):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Take a copy: the files stay where they are."""
        files = dropped_files(event)
        if files:
            event.setDropAction(Qt.DropAction.CopyAction)
            event.accept()
            self.take_files(files)


def dropped_files(event: QDropEvent) -> list[Path]:
    """Return the local files of a drag or drop."""
    data = event.mimeData()
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()] if data is not None and data.hasUrls() else []
