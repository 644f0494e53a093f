"""Buttons and keys of the ways to compare, and what is under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from .buttons import switch
from .comparing import Comparison
from .comparison import Mode
from .probe import Probe, Reading, reading_lines
from .shown import ShownResult

MODES: dict[Mode, tuple[str, str, str]] = {
    Mode.FUSION: ("Fusion", "U", "Fixed in green, the other image in magenta: what coincides turns gray."),
    Mode.CHECKERBOARD: ("Checker", "K", "Fields of fixed and of the other image in turn: edges must go on across the borders."),
    Mode.WIPE: ("Wipe", "W", "Fixed left of the line, the other image right of it. Move the line here, or on the image with Shift held."),
    Mode.FLICKER: ("Flicker", "R", "Fixed and the other image in turn: what moves does not fit."),
    Mode.DIFFERENCE: ("Difference", "D", "How far the two differ, as a part of the contrast shown; for two images of one contrast."),
    Mode.SIDE_BY_SIDE: ("Side by side", "T", "Fixed on the left, the other image on the right; they move together."),
}  # fmt: skip
"""Title, key and meaning of each; free letters of napari's viewer, image, labels and points layers."""

CANVAS_TEXTS = {
    Mode.BLEND: "", Mode.FUSION: "fixed green, {other} magenta", Mode.CHECKERBOARD: "checkerboard: fixed, {other}",
    Mode.WIPE: "fixed | {other}", Mode.FLICKER: "{seen}", Mode.DIFFERENCE: "|fixed - {other}|",
    Mode.SIDE_BY_SIDE: "left fixed, right {other}",
}  # fmt: skip
"""What is written on the canvas in each mode."""

CANVAS_CHARACTERS = "".join(sorted({*"".join(CANVAS_TEXTS.values()), *"moving before"}))

DIFFERENCE_HINT = "brightest: by half of the contrast or more"

BEFORE_KEY = "H"
READING_MS = 30
"""Between two readings under the cursor: quick for the eye, and nothing is piled up."""


class CompareBar(QWidget):
    """Steers one comparison, and reads the result under the cursor; `seen` says in words what the canvas shows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Keys work on its canvas.
    """

    seen = Signal(str)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._probe: Probe | None = None
        self.comparison = Comparison(viewer, self)
        self.buttons = {mode: switch(f"{title}  {key}", tip) for mode, (title, key, tip) in MODES.items()}
        self.before = switch(f"Before  {BEFORE_KEY}", "Moving as the headers alone place it, instead of moved, in every mode.")
        self.link = QCheckBox("link contrast")
        self.link.setToolTip("<p>A change of one image's contrast changes the other's alike.</p>")
        self.link.setChecked(True)
        self._make_controls()
        self.values = {title: _value() for title, _ in reading_lines(None)}
        self._lay_out()
        self._reading = QTimer(self)
        self._reading.setSingleShot(True)
        self._reading.setInterval(READING_MS)
        self._reading.timeout.connect(self.read_cursor)
        self._connect()
        self.setEnabled(False)

    def bind(self, shown: ShownResult) -> None:
        """Compare the images of a result."""
        self.release()
        self._probe = Probe(shown.picture)
        self.comparison.bind(shown.layers)
        for key, action in self._keys().items():
            self._viewer.bind_key(key, action, overwrite=True)
        self._viewer.cursor.events.position.connect(self._on_cursor)
        self.setEnabled(True)

    def release(self) -> None:
        """Give the layers back as they were."""
        self.comparison.release()
        if self._probe is None:
            return
        self._probe = None
        self._reading.stop()
        self._viewer.cursor.events.position.disconnect(self._on_cursor)
        for key in self._keys():
            self._viewer.bind_key(key, None)
        self.show_reading(None)
        self.setEnabled(False)
        self._refresh()

    def state(self) -> dict[str, Any]:
        """Tell how the images are compared, in plain values."""
        comparison = self.comparison
        return {
            "mode": str(comparison.mode.value), "before": comparison.before, "linked": comparison.linked, "tile_mm": comparison.tile_mm,
            "wipe": comparison.wipe_part, "interval_ms": self.interval.value(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Compare the images as they were compared."""
        self.link.setChecked(bool(state["linked"]))
        self.tile.setValue(float(state["tile_mm"]))
        self.wipe.setValue(round(1000 * float(state["wipe"])))
        self.interval.setValue(int(state["interval_ms"]))
        self.comparison.set_before(bool(state["before"]))
        if self.comparison.mode != Mode(state["mode"]):
            self.comparison.set_mode(Mode(state["mode"]))

    def read_cursor(self) -> None:
        """Read at the place under the cursor."""
        if self._probe is not None:
            place = tuple(self._viewer.cursor.position)
            self.show_reading(self._probe.at_drawn(place) if len(place) >= 3 else None)

    def read_at(self, place: tuple[float, ...]) -> None:
        """Read at a place of the viewer's world (mm along z, y, x)."""
        if self._probe is not None:
            self.show_reading(self._probe.at_drawn(place))

    def show_reading(self, reading: Reading | None) -> None:
        """Show what was read."""
        for title, text in reading_lines(reading):
            self.values[title].setText(text)

    # --- Qt ---------------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self.tile = QDoubleSpinBox()
        self.tile.setRange(1.0, 500.0)
        self.tile.setDecimals(0)
        self.tile.setSuffix(" mm fields")
        self.tile.setValue(self.comparison.tile_mm)
        self.wipe = QSlider(Qt.Orientation.Horizontal)
        self.wipe.setRange(0, 1000)
        self.wipe.setValue(500)
        self.interval = QSpinBox()
        self.interval.setRange(100, 3000)
        self.interval.setSingleStep(100)
        self.interval.setSuffix(" ms each")
        self.interval.setValue(500)
        self.flickering = QLabel("")
        self.hint = QLabel("One key switches a mode on and off.")
        # Of one size whatever it shows: a new layout would draw the canvas anew.
        self.controls = QStackedWidget()
        self.controls.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for page in (self.hint, self.tile, self.wipe, _row(self.interval, self.flickering)):
            self.controls.addWidget(page)

    def _lay_out(self) -> None:
        switches = QGridLayout()
        switches.setSpacing(4)
        for n, button in enumerate([*self.buttons.values(), self.before, self.link]):
            switches.addWidget(button, n // 4, n % 4)
        values = QGridLayout()
        values.setSpacing(2)
        values.setColumnStretch(1, 1)
        values.setColumnStretch(3, 1)
        short = ("fixed", "moved", "before", "volume")
        for n, title in enumerate(short):
            values.addWidget(QLabel(title), n // 2, 2 * (n % 2))
            values.addWidget(self.values[title], n // 2, 2 * (n % 2) + 1)
        for n, title in enumerate(name for name in self.values if name not in short):
            values.addWidget(QLabel(title), 2 + n, 0)
            values.addWidget(self.values[title], 2 + n, 1, 1, 3)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addLayout(switches)
        outer.addWidget(self.controls)
        outer.addLayout(values)

    def _connect(self) -> None:
        for mode, button in self.buttons.items():
            button.clicked.connect(partial(self._choose, mode))
        self.before.toggled.connect(self.comparison.set_before)
        self.link.toggled.connect(lambda linked: setattr(self.comparison, "linked", linked))
        self.tile.valueChanged.connect(self.comparison.set_tile)
        self.wipe.valueChanged.connect(lambda place: self.comparison.set_wipe(place / 1000))
        self.interval.valueChanged.connect(self.comparison.set_interval)
        self.comparison.changed.connect(self._refresh)
        self.comparison.flickered.connect(self._on_flicker)

    def _keys(self) -> dict[str, Callable[[Any], None]]:
        # Functions of their own, as napari asks what they are called.
        keys: dict[str, Callable[[Any], None]] = {
            key: lambda viewer, mode=mode: self._choose(mode)  # type: ignore[misc] # mypy sees no type of a lambda's default
            for mode, (_, key, _) in MODES.items()
        }
        return {**keys, BEFORE_KEY: lambda viewer: self.before.toggle()}

    def _choose(self, mode: Mode, checked: bool = False) -> None:
        self.comparison.set_mode(mode)

    def _refresh(self) -> None:
        mode, possible = self.comparison.mode, self.comparison.possible
        for known, button in self.buttons.items():
            button.setEnabled(possible)
            with QSignalBlocker(button):
                button.setChecked(known == mode)
        self.before.setEnabled(self.comparison.has_before)
        with QSignalBlocker(self.before):
            self.before.setChecked(self.comparison.before)
        page = {Mode.CHECKERBOARD: 1, Mode.WIPE: 2, Mode.FLICKER: 3}.get(mode, 0)
        self.controls.setCurrentIndex(page)
        self.hint.setText(f"<i>{DIFFERENCE_HINT}</i>" if mode == Mode.DIFFERENCE else "One key switches a mode on and off.")
        self._say(self._other())

    def _other(self) -> str:
        return "moving before" if self.comparison.before else "moved"

    def _say(self, seen: str) -> None:
        self.seen.emit(CANVAS_TEXTS[self.comparison.mode].format(other=self._other(), seen=seen))

    def _on_flicker(self, seen: str) -> None:
        self.flickering.setText(seen)
        self._say(seen)

    def _on_cursor(self, event: Any = None) -> None:
        if self.comparison.mode == Mode.WIPE and QApplication.keyboardModifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.comparison.set_wipe_at(tuple(self._viewer.cursor.position))
            with QSignalBlocker(self.wipe):
                self.wipe.setValue(round(1000 * self.comparison.wipe_part))
        if not self._reading.isActive():
            self._reading.start()


def _value() -> QLabel:
    label = QLabel()
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget, 1)
    return holder
