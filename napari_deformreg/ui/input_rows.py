"""One row per input of a registration: a choice of layers, a button for a file, and a place to drop a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from .dropping import TakesFiles
from .layers import METADATA_KEY

NOTHING = "—"
BUTTON_WIDTH = 32

_last_folder = ""
"""Where a file was last chosen: the other files of a case mostly lie there too."""


class InputRow(TakesFiles, QWidget):
    """Chooses one layer.

    Parameters
    ----------
    title : str
        What is chosen.
    layer_class : type
        Kind of layer offered.
    file_filter : str
        Qt's filter of the file dialog.
    help_text : str
        One sentence about the input.
    """

    changed = Signal()
    file_given = Signal(object)

    def __init__(self, title: str, layer_class: type, file_filter: str, help_text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self.layer_class = layer_class
        self._file_filter = file_filter
        self._layers: list[Any] = []
        self.setAcceptDrops(True)
        self.setToolTip(f"<p>{help_text}</p><p>Choose a layer, or drop a file here.</p>")
        self.combo = QComboBox()
        self.combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.combo.setMinimumContentsLength(8)
        self.combo.addItem(NOTHING)
        self.combo.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.label = QLabel(title)
        button = QPushButton("…")
        button.setMaximumWidth(BUTTON_WIDTH)
        button.setToolTip(f"Open a file as {title.lower()}")
        button.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label)
        row.addWidget(self.combo, 1)
        row.addWidget(button)

    def value(self) -> Any | None:
        """Return the chosen layer, or None."""
        index = self.combo.currentIndex() - 1
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def setValue(self, layer: Any | None) -> None:
        """Choose a layer; one that is not offered, or None, chooses nothing."""
        self.combo.setCurrentIndex(next((n + 1 for n, known in enumerate(self._layers) if known == layer), 0))

    def offer(self, present: Sequence[Any]) -> None:
        """Offer these layers, as far as they are of the right kind and no results; the choice stays if it can."""
        chosen = self.value()
        offered: list[Any] = [layer for layer in present if isinstance(layer, self.layer_class) and not is_result(layer)]
        names = [NOTHING, *(layer.name for layer in offered)]
        if offered == self._layers and names == [self.combo.itemText(n) for n in range(self.combo.count())]:
            return  # As with every layer of a result: filling all rows anew would lengthen the pause that adding it makes.
        with QSignalBlocker(self.combo):
            self.combo.clear()
            self.combo.addItems(names)
            self._layers = offered
            self.setValue(chosen)
        if self.value() != chosen:
            self.changed.emit()

    def offered(self) -> tuple[Any, ...]:
        """Return the layers on offer."""
        return tuple(self._layers)

    def take_files(self, files: list[Path]) -> None:
        """Take the first file."""
        self.file_given.emit(files[0])

    def _browse(self) -> None:
        global _last_folder
        name, _ = QFileDialog.getOpenFileName(self, self.title, _last_folder, f"{self._file_filter};;All files (*)")
        if name:
            _last_folder = str(Path(name).parent)
            self.file_given.emit(Path(name))


def aligned(rows: Iterable[InputRow]) -> None:
    """Let the choices of several rows begin at one place; for rows that have their style sheet, i.e. are shown."""
    labels = [row.label for row in rows]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)


def is_result(layer: Any) -> bool:
    """Tell whether a layer was drawn by us as part of a result."""
    known = layer.metadata.get(METADATA_KEY) if isinstance(layer.metadata, dict) else None
    return isinstance(known, dict) and known.get("role") == "result"
