"""Chooses the network that may give a registration its start."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ..settings import BUNDLED_MODELS, PRESET_MODELS, Settings

OPEN = "open a checkpoint…"

FILTER = "Networks (*.safetensors);;All files (*)"

SENTENCES = {"none": "No network: the training-free search alone gives the start.", **BUNDLED_MODELS}


class ModelChoice(QWidget):
    """Offers auto, none, the bundled networks, files opened before, and opening another one; a sentence says what the choice means.

    Emits `file_given` for a file that the user picked. Whoever checks it then calls `take_file`.
    """

    file_given = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preset = Settings().preset
        self._described: dict[str, str] = {}
        self.combo = QComboBox()
        self.combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.combo.setToolTip(f"<p>{Settings.model_fields['model'].description}</p><p>It is used only where it beats the search.</p>")
        for name in ("auto", "none", *BUNDLED_MODELS):
            self.combo.addItem(name, name)
        self.combo.addItem(OPEN, OPEN)
        self.help = QLabel()
        self.help.setWordWrap(True)
        self.help.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.combo)
        column.addWidget(self.help)
        self._last = 0
        self.combo.currentIndexChanged.connect(self._on_choice)
        self._explain()

    def value(self) -> str:
        """Return what the setting `model` should be."""
        return str(self.combo.currentData())

    def setValue(self, model: str) -> None:
        """Show a setting; a file that is not offered yet is."""
        if self.combo.findData(model) < 0:
            with QSignalBlocker(self.combo):
                self.combo.insertItem(self.combo.count() - 1, Path(model).name, model)
        self.combo.setCurrentIndex(self.combo.findData(model))

    def set_preset(self, preset: str) -> None:
        """Follow the preset, which decides what auto means."""
        self._preset = preset  # type: ignore[assignment]
        self._explain()

    def take_file(self, path: Path, sentence: str) -> None:
        """Choose a file that was found to be good, with what it is."""
        self._described[str(path)] = sentence
        self.setValue(str(path))
        self._explain()

    def _on_choice(self, index: int) -> None:
        if self.combo.itemData(index) != OPEN:
            self._last = index
            self._explain()
            return
        with QSignalBlocker(self.combo):  # opening may be canceled or fail: until then the choice stays as it was
            self.combo.setCurrentIndex(self._last)
        name, _ = QFileDialog.getOpenFileName(self, "Open a network", "", FILTER)
        if name:
            self.file_given.emit(Path(name))

    def _explain(self) -> None:
        self.help.setText(self._sentence(self.value()))

    def _sentence(self, model: str) -> str:
        if model == "auto":
            named = PRESET_MODELS.get(self._preset)
            return f"The preset takes {named}: {SENTENCES[named]}" if named else f"The preset names no network. {SENTENCES['none']}"
        return SENTENCES.get(model) or self._described.get(model, model)
