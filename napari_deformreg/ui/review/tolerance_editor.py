"""Edits what a review judges by: the limits of one figure, or a whole set from a file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ...errors import DeformregError
from ...qa import Tolerance, Tolerances
from ...qa.tolerances import LimitUnit
from ..buttons import button
from .tab import note

OWN_SOURCE = "set by the reviewer"


class ToleranceEditor(QWidget):
    """The green and the amber limit of the chosen figure."""

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tolerances: Tolerances | None = None
        self._figure = ""
        self.name = QLabel("tolerance: choose a figure above")
        self.limit, self.amber = _limit_box("Green up to here (or down to here)."), _limit_box("Amber up to here, red beyond.")
        self.unit = QComboBox()
        self.unit.addItems(list(get_args(LimitUnit)))
        self.apply_button = button("Apply", "Judge by these limits.", self._apply)
        self.message = note()
        first, second = QHBoxLayout(), QHBoxLayout()
        for widget in (self.limit, self.amber, self.unit, self.apply_button):
            first.addWidget(widget)
        for made in self._set_buttons():
            second.addWidget(made)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.name)
        outer.addLayout(first)
        outer.addLayout(second)
        outer.addWidget(self.message)
        self._enable(False)

    def show_tolerances(self, tolerances: Tolerances | None) -> None:
        """Edit this set."""
        self._tolerances = tolerances
        self.edit(self._figure, self.unit.currentText())

    def edit(self, figure: str, unit: str) -> None:
        """Edit the limits of a figure; one without a tolerance may be given one, in its unit."""
        self._figure = figure
        known = None if self._tolerances is None else self._tolerances.of(figure)
        self._enable(bool(figure) and self._tolerances is not None)
        if not figure:
            return
        self.name.setText(f"tolerance of {figure}" + ("" if known is not None else ": none yet"))
        self.message.setText("" if known is None else known.source)
        blockers = [QSignalBlocker(self.unit)]
        self.unit.setCurrentText(unit if known is None else known.unit)
        del blockers
        if known is not None:
            self.limit.setValue(known.limit)
            self.amber.setValue(known.limit if known.amber is None else known.amber)

    def load(self, path: Path) -> None:
        """Judge by the set in a file."""
        try:
            self.changed.emit(Tolerances.from_json(path.read_text(encoding="utf-8")))
        except (DeformregError, OSError, UnicodeDecodeError) as error:
            self.message.setText(str(error))

    def save(self, path: Path) -> None:
        """Write the set to a file."""
        if self._tolerances is None:
            return
        try:
            path.write_text(self._tolerances.to_json() + "\n", encoding="utf-8")
            self.message.setText(f"Saved in {path}.")
        except OSError as error:
            self.message.setText(f"Cannot write {path}: {error.strerror}. Choose another place.")

    def _apply(self) -> None:
        if self._tolerances is None or not self._figure:
            return
        known = self._tolerances.of(self._figure)
        given = {"limit": self.limit.value(), "amber": self.amber.value(), "unit": self.unit.currentText(), "source": OWN_SOURCE}
        given["amber"] = None if given["amber"] == given["limit"] else given["amber"]
        kept = {"figure": self._figure} if known is None else known.model_dump()
        try:
            judged = self._tolerances.with_tolerance(Tolerance.model_validate({**kept, **given}))
        except (DeformregError, ValueError) as error:
            self.message.setText(str(error))
            return
        self.changed.emit(judged)

    def _enable(self, enabled: bool) -> None:
        for widget in (self.limit, self.amber, self.unit, self.apply_button):
            widget.setEnabled(enabled)

    def _set_buttons(self) -> tuple[QPushButton, ...]:
        return (
            button("TG-132", "Judge by AAPM TG-132's Table III again.", lambda: self.changed.emit(Tolerances.tg132())),
            button("Stereotactic", "The same for stereotactic use: 1 mm at landmarks.", lambda: self.changed.emit(Tolerances.tg132(True))),
            button("Load…", "Judge by a set of your own.", self._ask_file),
            button("Save…", "Write this set to a file.", self._ask_target),
        )

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load tolerances", "", "Tolerances (*.json);;All files (*)")
        if name:
            self.load(Path(name))

    def _ask_target(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save tolerances", "tolerances.json", "Tolerances (*.json)")
        if name:
            self.save(Path(name))


def _limit_box(tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-1000.0, 1000.0)
    box.setDecimals(3)
    box.setSingleStep(0.1)
    box.setToolTip(f"<p>{tip}</p>")
    return box
