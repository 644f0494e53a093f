"""Fields for files: one path, or several in an order that matters. Typed, chosen, or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QListWidget, QVBoxLayout, QWidget

from ..buttons import button
from ..dropping import TakesFiles
from .tab import in_a_row


class FileRow(TakesFiles, QWidget):
    """One file; may stay empty.

    Parameters
    ----------
    title : str
        Of the dialog.
    file_filter : str
        Qt's filter; empty for a folder that is to be written.
    """

    changed = Signal()

    def __init__(self, title: str, file_filter: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._filter = title, file_filter
        self.setAcceptDrops(True)
        self.edit = QLineEdit()
        self.edit.setAcceptDrops(False)  # A drop on it is a drop on the row: a path, not a URL as text.
        self.edit.textChanged.connect(lambda text: self.changed.emit())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.edit, 1)
        row.addWidget(button("…", f"Choose: {title}.", self._browse))

    def value(self) -> str | None:
        """Return the path, or None."""
        return self.edit.text().strip() or None

    def setValue(self, path: str | Path | None) -> None:
        """Show a path."""
        self.edit.setText("" if path is None else str(path))

    def take_files(self, files: list[Path]) -> None:
        """Take the first file."""
        self.setValue(files[0])

    def _browse(self) -> None:
        start = self.edit.text()
        if self._filter:
            name, _ = QFileDialog.getOpenFileName(self, self._title, start, f"{self._filter};;All files (*)")
        else:
            name, _ = QFileDialog.getSaveFileName(self, self._title, start)
        if name:
            self.setValue(name)


class FileList(TakesFiles, QWidget):
    """Several files in an order.

    Parameters
    ----------
    title : str
        Of the dialog.
    file_filter : str
        Qt's filter.
    """

    changed = Signal()

    def __init__(self, title: str, file_filter: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._filter = title, file_filter
        self.setAcceptDrops(True)
        self.list = QListWidget()
        self.list.setFixedHeight(58)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.invert_button = button(
            "Invert", "Take the chosen affine the other way round, as ANTs does for its inverse: [FILE,1].", self._invert
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(
            in_a_row(
                button("Add…", f"Choose: {title}.", self._browse),
                button("▴", "Let points go through the chosen file earlier.", lambda: self._move(-1)),
                button("▾", "Let points go through the chosen file later.", lambda: self._move(1)),
                self.invert_button,
                button("Remove", "Take the chosen file off the list.", self._remove),
            )
        )

    def value(self) -> tuple[str, ...]:
        """Return the files from the first to the last."""
        items = (self.list.item(n) for n in range(self.list.count()))
        return tuple(item.text() for item in items if item is not None)

    def setValue(self, files: Sequence[str | Path]) -> None:
        """Show other files."""
        self.list.clear()
        self.list.addItems([str(file) for file in files])
        self.list.setCurrentRow(self.list.count() - 1)
        self.changed.emit()

    def add(self, files: Sequence[str | Path]) -> None:
        """Put files at the end."""
        self.setValue([*self.value(), *files])

    def take_files(self, files: list[Path]) -> None:
        """Put them at the end."""
        self.add(files)

    def _browse(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, self._title, "", f"{self._filter};;All files (*)")
        self.add(names)

    def _move(self, by: int) -> None:
        files, row = list(self.value()), self.list.currentRow()
        if row >= 0 and 0 <= row + by < len(files):
            files.insert(row + by, files.pop(row))
            self.setValue(files)
            self.list.setCurrentRow(row + by)

    def _invert(self) -> None:
        item = self.list.currentItem()
        if item is not None:
            text = item.text()
            item.setText(text[1:-3] if text.startswith("[") and text.endswith(",1]") else f"[{text},1]")
            self.changed.emit()

    def _remove(self) -> None:
        if self.list.currentRow() >= 0:
            self.list.takeItem(self.list.currentRow())
            self.changed.emit()
