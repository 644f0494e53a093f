"""Snapshots of the canvas with captions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import UInt8
from qtpy.QtCore import QBuffer, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from ...qa import SNAPSHOTS_AT_MOST, Snapshot
from ..buttons import button
from .tab import in_a_row, note

THUMBNAIL = QSize(96, 64)


class SnapshotList(QWidget):
    """Up to ten pictures; a double click edits a caption.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose canvas is taken.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.list = QListWidget()
        self.list.setIconSize(THUMBNAIL)
        self.list.setMinimumHeight(THUMBNAIL.height() + 12)
        self.list.setMaximumHeight(180)
        self.list.setToolTip("<p>Double-click a caption to change it.</p>")
        self.list.itemChanged.connect(lambda item: self.changed.emit())
        self.take_button = button("Snapshot", f"Take a picture of the canvas; at most {SNAPSHOTS_AT_MOST}.", self.take)
        self.remove_button = button("Remove", "Remove the chosen picture.", self.remove)
        self.message = note()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(in_a_row(self.take_button, self.remove_button))
        column.addWidget(self.message)
        self._count()

    def take(self) -> None:
        """Take a picture of the canvas as it is."""
        pixels = self._viewer.screenshot(canvas_only=True, flash=False)
        number = self.list.count() + 1
        taken = datetime.now(UTC).isoformat(timespec="seconds")
        self._add(Snapshot(caption=f"Snapshot {number}", taken=taken, png=png_bytes(np.asarray(pixels))))
        self.list.setCurrentRow(self.list.count() - 1)
        self.changed.emit()

    def remove(self) -> None:
        """Remove the chosen picture."""
        if self.list.currentRow() >= 0:
            self.list.takeItem(self.list.currentRow())
            self._count()
            self.changed.emit()

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the pictures with their captions."""
        items = [self.list.item(n) for n in range(self.list.count())]
        return tuple(_snapshot_of(item) for item in items if item is not None)

    def set_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Show these pictures."""
        with QSignalBlocker(self.list):
            self.list.clear()
        for snapshot in snapshots:
            self._add(snapshot)
        self._count()

    def _add(self, snapshot: Snapshot) -> None:
        picture = QPixmap()
        picture.loadFromData(snapshot.png)
        item = QListWidgetItem(QIcon(picture), snapshot.caption)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        item.setData(Qt.ItemDataRole.UserRole, snapshot)
        with QSignalBlocker(self.list):
            self.list.addItem(item)
        self._count()

    def _count(self) -> None:
        count = self.list.count()
        self.take_button.setEnabled(count < SNAPSHOTS_AT_MOST)
        self.remove_button.setEnabled(count > 0)
        self.message.setText(f"{count} of {SNAPSHOTS_AT_MOST}" if count else "")


def _snapshot_of(item: QListWidgetItem) -> Snapshot:
    kept: Snapshot = item.data(Qt.ItemDataRole.UserRole)
    return kept.model_copy(update={"caption": item.text()})


def png_bytes(pixels: UInt8[np.ndarray, "h w 4"]) -> bytes:
    """Write a picture as PNG."""
    opaque = np.ascontiguousarray(pixels[..., :3])
    height, width = opaque.shape[:2]
    image = QImage(opaque.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    buffer = QBuffer()
    buffer.open(QBuffer.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(buffer.data().data())
