"""What the Register page shows: rows for the inputs, settings, buttons, progress. It knows no viewer and starts nothing."""

from __future__ import annotations

from napari.layers import Image, Labels, Points
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..result import Step
from ..settings import EFFORT_HELP, PRESET_HELP, PRESETS, Settings
from .input_rows import InputRow, aligned
from .model_choice import ModelChoice
from .readers import LANDMARK_FILTER, VOLUME_FILTER
from .scrolling import scrolled
from .settings_form import SettingsForm
from .still_text import StillText

STAGES = {
    "read": "Reading", "prepare": "Preparing", "affine": "Aligning (affine)", "search": "Searching large motion",
    "predict": "Asking the network", "refine": "Refining", "folds": "Repairing folds", "inverse": "Inverting", "evaluate": "Judging",
    "write": "Writing",
}  # fmt: skip

ROWS: dict[str, tuple[str, type, str, str, str]] = {
    "fixed": ("Fixed image", Image, VOLUME_FILTER, "image", "The image that stays."),
    "moving": ("Moving image", Image, VOLUME_FILTER, "image", "The image that is warped onto the fixed one."),
    "fixed_landmarks": (
        "Fixed landmarks",
        Points,
        LANDMARK_FILTER,
        "points",
        "Points on the fixed image; pairs are tied by name and judge the result.",
    ),
    "moving_landmarks": (
        "Moving landmarks",
        Points,
        LANDMARK_FILTER,
        "points",
        "Points on the moving image; they are carried into fixed space.",
    ),
    "fixed_labels": (
        "Fixed labels",
        Labels,
        VOLUME_FILTER,
        "labels",
        "Structures in the fixed image; with moving labels, overlap is measured.",
    ),
    "moving_labels": (
        "Moving labels",
        Labels,
        VOLUME_FILTER,
        "labels",
        "Structures in the moving image; they are carried into fixed space.",
    ),
    "fixed_mask": ("Fixed mask", Labels, VOLUME_FILTER, "labels", "Where the fixed image counts; zero voxels are not compared."),
    "moving_mask": ("Moving mask", Labels, VOLUME_FILTER, "labels", "Where the moving image counts."),
}


class RegisterPage(QWidget):
    """Everything a registration is told, and how far it is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = {role: InputRow(title, kind, files, text) for role, (title, kind, files, _, text) in ROWS.items()}
        self.form = SettingsForm(Settings, hidden=("preset", "effort", "model", "device", "seed"))
        self._make_choices()
        self._make_buttons()
        self._lay_out()
        self.preset.currentTextChanged.connect(self._on_preset)
        self.advanced.toggled.connect(self._on_advanced)
        self.set_settings(Settings())
        self.idle()

    def settings(self) -> Settings:
        """Return the settings as they are shown."""
        shown: Settings = self.form.value()
        return shown.changed(
            preset=self.preset.currentText(), effort=self.effort.currentText(), model=self.model.value(),
            device=self.device.currentText(), seed=self.seed.value(),
        )

    def set_settings(self, settings: Settings) -> None:
        """Show settings, e.g. those of a past run."""
        with QSignalBlocker(self.preset):
            self.preset.setCurrentText(settings.preset)
        self.preset_help.setText(PRESET_HELP[settings.preset])
        self.effort.setCurrentText(settings.effort)
        self.model.set_preset(settings.preset)
        self.model.setValue(settings.model)
        self.device.setCurrentText(settings.device)
        self.seed.setValue(settings.seed)
        self.form.setValue(settings)

    def busy(self) -> None:
        """Show that a run is under way."""
        self.register_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.finish_button.setEnabled(True)
        self.progress.setValue(0)

    def idle(self) -> None:
        """Show that none is."""
        self.register_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        self.finish_button.setEnabled(False)
        self.progress.setValue(0)

    def show_step(self, step: Step) -> None:
        """Show how far the run is."""
        self.progress.setValue(int(1000 * step.fraction))
        self.tell(step_text(step))

    def tell(self, text: str, problem: bool = False) -> None:
        """Show one line of text."""
        self.message.tell(text, problem)

    def showEvent(self, event: QShowEvent) -> None:
        """Align the rows, now that the window's style sheet decides their font."""
        super().showEvent(event)
        aligned(self.rows.values())

    def _make_choices(self) -> None:
        self.preset = QComboBox()
        self.preset.addItems(list(PRESETS))
        self.preset_help = _small("")
        self.effort = QComboBox()
        self.effort.addItems(list(EFFORT_HELP))
        self.effort.setToolTip("How much time to take. " + "; ".join(f"{name}: {text}" for name, text in EFFORT_HELP.items()) + ".")
        self.model = ModelChoice()
        self.device = QComboBox()
        self.device.addItems(["auto", "cpu", "cuda"])
        self.device.setToolTip(Settings.model_fields["device"].description or "")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip(Settings.model_fields["seed"].description or "")
        self.advanced = QToolButton()
        self.advanced.setText("Advanced settings")
        self.advanced.setCheckable(True)
        self.advanced.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.advanced.setArrowType(Qt.ArrowType.RightArrow)

    def _make_buttons(self) -> None:
        self.load_settings = QPushButton("Load settings…")
        self.load_settings.setToolTip("Load the settings.json of an earlier run.")
        self.open_folder = QPushButton("Open result…")
        self.open_folder.setToolTip("Open the result folder of an earlier run.")
        self.register_button = QPushButton("Register")
        self.finish_button = QPushButton("Finish now")
        self.finish_button.setToolTip("Stop refining and go on with the best so far.")
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.message = StillText()

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(4)
        for row in self.rows.values():
            column.addWidget(row)
        choices = QFormLayout()
        choices.addRow("Preset", self.preset)
        choices.addRow("", self.preset_help)
        choices.addRow("Effort", self.effort)
        choices.addRow("Network", self.model)
        choices.addRow("Device", self.device)
        choices.addRow("Seed", self.seed)
        column.addLayout(choices)
        column.addWidget(self.advanced)
        column.addWidget(self.form)
        self.form.hide()
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(2, 2, 2, 2)
        outer.addWidget(scrolled(inside), 1)
        for group in ((self.load_settings, self.open_folder), (self.register_button, self.finish_button, self.cancel_button)):
            line = QHBoxLayout()
            for button in group:
                line.addWidget(button)
            outer.addLayout(line)
        outer.addWidget(self.progress)
        outer.addWidget(self.message)

    def _on_preset(self, name: str) -> None:
        kept = {
            "effort": self.effort.currentText(), "model": self.model.value(),
            "device": self.device.currentText(), "seed": self.seed.value(),
        }  # fmt: skip
        self.set_settings(Settings.from_preset(name).changed(**kept))

    def _on_advanced(self, shown: bool) -> None:
        self.advanced.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.form.setVisible(shown)


def step_text(step: Step) -> str:
    """Write a step for people: stage, level, step, loss and time left."""
    words = [STAGES[step.stage]]
    if step.levels > 1:
        words.append(f"level {step.level + 1} of {step.levels}")
    if step.count > 0:
        words.append(f"step {step.index} of {step.count}")
    if step.loss is not None:
        words.append(f"loss {step.loss:.4g}")
    if step.seconds_left is not None:
        words.append(f"about {_duration(step.seconds_left)} left")
    text = " · ".join(words)
    return f"{text} · {step.message}" if step.message and step.count == 0 else text


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _small(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
    return label
