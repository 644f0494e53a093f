"""What the Landmarks dock shows: table, buttons, radius and weight. It knows no viewer; the dock connects it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QFormLayout, QFrame, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from ..buttons import button, switch
from ..review.tab import in_a_row, note
from ..review.tables import RowsModel, RowTable
from .follow_page import FollowPage
from .keeper import KeptPairs
from .pair_desk import POINTS_WEIGHT, RADIUS_MM
from .pair_list import Pair, Use
from .pair_table import COLUMNS
from .points_page import PointsPage
from .region_page import RegionPage
from .start_offer import StartOffer

HELP = (
    "Click in the fixed image, then its partner in the moved one: Enter takes the suggestion, Escape forgets the pair. "
    "Drag a point to move it."
)


class PairPage(QWidget):
    """Widgets of the dock."""

    placing = Signal(bool)
    wanted = Signal(str)
    """The name of something to be done; see `ACTIONS`."""
    weighed = Signal(float)
    solved_by = Signal(float, float)
    """Another radius (mm) or weight of the points (0 to 1)."""

    ACTIONS = (
        "accept", "undo", "redo", "delete", "lock", "exclude", "hold_out", "previous", "next", "nearest", "solve", "back", "measure",
        "import", "export", "start",
    )  # fmt: skip

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = RowTable(RowsModel(COLUMNS))
        self.place_button = switch("Place pairs", f"{HELP} (G)", self.placing.emit)
        ask = self._asking
        self.accept_button = button("Accept", "Take the suggested partner (Enter).", ask("accept"))
        self.undo_button = button("Undo", "Take the last step back, and what it did to the registration (Ctrl+Z).", ask("undo"))
        self.redo_button = button("Redo", "Make the step again (Ctrl+Shift+Z).", ask("redo"))
        self.previous_button = button("◂", "The pair above (Q).", ask("previous"))
        self.next_button = button("▸", "The pair below (N).", ask("next"))
        self.nearest_button = button("Nearest", "The pair nearest to the displayed place (J).", ask("nearest"))
        self.lock_button = switch("Lock", "Neither end can be moved, nor the pair deleted.", lambda on: self.wanted.emit("lock"))
        self.exclude_button = switch("Exclude", "Keep the pair, but let it count for nothing.", lambda on: self.wanted.emit("exclude"))
        tip = "Fit nothing to this pair: its error says how good the registration is where no point pulls."
        self.hold_out_button = switch("Hold out", tip, lambda on: self.wanted.emit("hold_out"))
        self.delete_button = button("Delete", "Delete the pair (Delete).", ask("delete"))
        self.weight = _number(0.0, 1.0, 1.0, 0.1, "")
        self.weight.setToolTip("<p>How much the pair counts among the others.</p>")
        self.radius = _number(2.0, 300.0, RADIUS_MM, 1.0, " mm")
        self.radius.setToolTip("<p>Nothing farther than this from a touched pair moves.</p>")
        self.trust = QSlider(Qt.Orientation.Horizontal)
        self.trust.setRange(0, 100)
        self.trust.setValue(round(100 * POINTS_WEIGHT))
        self.trust.setToolTip("<p>How much the points count against the match of the images.</p>")
        self.use_image = QCheckBox("images take part")
        self.use_image.setChecked(True)
        self.at_once = QCheckBox("correct at once")
        self.at_once.setChecked(True)
        self.solve_button = button("Solve again", "Correct with this radius and weight, where it was corrected last.", ask("solve"))
        self.back_button = button("Automatic result back", "Take all corrections back at once; this can be undone.", ask("back"))
        tip = "Judge the corrected registration anew: report, labels, all landmarks. It can be saved then."
        self.measure_button = button("Measure", tip, ask("measure"))
        self.import_button = button("Import…", "Read pairs from landmark files.", ask("import"))
        self.export_button = button("Export…", "Write the pairs as landmark files.", ask("export"))
        self.recovery, self.region, self.points, self.follow = RecoveryLine(), RegionPage(), PointsPage(), FollowPage()
        self.figures, self.message = note(), note()
        self.start = StartOffer(ask("start"))
        self._lay_out()
        self._connect()

    def show_pair(self, pair: Pair | None) -> None:
        """Show the chosen pair's own settings; nobody is told."""
        for widget, on in (
            (self.lock_button, pair is not None and pair.locked),
            (self.exclude_button, pair is not None and pair.use is Use.EXCLUDED),
            (self.hold_out_button, pair is not None and pair.use is Use.HELD_OUT),
        ):
            with QSignalBlocker(widget):
                widget.setChecked(on)
            widget.setEnabled(pair is not None)
        with QSignalBlocker(self.weight):
            self.weight.setValue(1.0 if pair is None else pair.weight)
        self.weight.setEnabled(pair is not None)
        self.delete_button.setEnabled(pair is not None and not pair.locked)

    def _asking(self, what: str) -> Callable[[], Any]:
        return lambda: self.wanted.emit(what)

    def _connect(self) -> None:
        self.weight.editingFinished.connect(lambda: self.weighed.emit(self.weight.value()))
        self.radius.editingFinished.connect(self._on_solved_by)
        self.trust.sliderReleased.connect(self._on_solved_by)

    def _on_solved_by(self) -> None:
        self.solved_by.emit(self.radius.value(), self.trust.value() / 100)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.addWidget(self.recovery)
        column.addLayout(in_a_row(self.place_button, self.accept_button, self.undo_button, self.redo_button))
        column.addWidget(self.message)
        column.addWidget(self.start)
        column.addWidget(self.table, 1)
        column.addLayout(in_a_row(self.previous_button, self.next_button, self.nearest_button, QLabel("weight"), self.weight))
        column.addLayout(in_a_row(self.lock_button, self.exclude_button, self.hold_out_button, self.delete_button))
        balance = QHBoxLayout()
        for widget, stretch in ((QLabel("trust the image"), 0), (self.trust, 1), (QLabel("hit the points"), 0)):
            balance.addWidget(widget, stretch)
        form = QFormLayout()
        form.addRow("radius", self.radius)
        form.addRow(balance)
        column.addLayout(form)
        column.addLayout(in_a_row(self.at_once, self.use_image))
        column.addLayout(in_a_row(self.solve_button, self.back_button, self.measure_button))
        column.addWidget(self.figures)
        column.addWidget(self.region)
        column.addWidget(self.points)
        column.addWidget(self.follow)
        column.addLayout(in_a_row(self.import_button, self.export_button))


class RecoveryLine(QFrame):
    """Offers pairs that an earlier window left unsaved; hidden while there are none."""

    opened = Signal(object)
    discarded = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left: list[KeptPairs] = []
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = note()
        self.open_button = button("Bring them back", "Go on with these pairs.", lambda: self._pop(self.opened))
        self.discard_button = button("Discard", "Throw these pairs away.", lambda: self._pop(self.discarded))
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addLayout(in_a_row(self.open_button, self.discard_button))
        self.hide()

    def offer(self, left: list[KeptPairs]) -> None:
        """Offer these, the first one first."""
        self._left = list(left)
        self.setVisible(bool(left))
        self.text.setText(left[0].text if left else "")

    def _pop(self, signal: Any) -> None:
        first, rest = self._left[0], self._left[1:]
        self.offer(rest)
        signal.emit(first)


def _number(low: float, high: float, value: float, step: float, suffix: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(1)
    box.setSuffix(suffix)
    box.setValue(value)
    return box
