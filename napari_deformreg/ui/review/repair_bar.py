"""Repairs the chosen fold, says what that cost, and takes it back."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ...errors import DeformregError
from ...qa import Review, build_review
from ...qa.similarity import Similarity
from ...result import Control, Step
from ...workflow import InputPaths, Outcome, RepairedFold
from ..buttons import button
from ..layers import LayerTuple
from ..pictures import ResultPicture
from ..process import in_process
from ..result_layers import result_layers
from ..shown import ShownResult
from ..work import repairing
from ..worker import Runner
from .desk import Desk
from .tab import in_a_row, note

STATES_AT_MOST = 3
"""Each state that can be gone back to holds a whole result in memory."""


@dataclass(frozen=True, eq=False)
class _State:
    shown: ShownResult
    review: Review
    outcome: Outcome | None
    changed: bool


class RepairBar(QWidget):
    """Two buttons and what came of them."""

    repaired = Signal()
    """The case changed; also when a repair was taken back."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._label: int | None = None
        self._states: list[_State] = []
        self._undoing: _State | None = None
        self.runner = Runner(self)
        self.runner.succeeded.connect(self._on_done)
        self.runner.failed.connect(self._on_failed)
        self.runner.stepped.connect(self._on_step)
        tip = "Re-solve the surroundings of the chosen fold with the smallest changes that unfold it; nothing is saved yet."
        self.repair_button = button("Repair", tip, self.repair)
        self.undo_button = button("Undo", f"Take the last repair back; the last {STATES_AT_MOST} can be.", self.undo)
        self.cancel_button = button("Cancel", "Stop the repair; nothing is changed.", self.cancel)
        self.message = note()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(in_a_row(self.repair_button, self.undo_button, self.cancel_button))
        column.addWidget(self.message)
        self._update_buttons()

    def choose(self, label: int | None) -> None:
        """Take the fold that may be repaired."""
        self._label = label
        self._update_buttons()

    def forget(self) -> None:
        """Another case is on the desk."""
        self.runner.drop()
        self._states.clear()
        self.message.setText("")
        self.choose(None)

    def release(self) -> None:
        """Stop."""
        self.runner.drop()
        self._states.clear()

    def repair(self) -> None:
        """Repair the chosen fold in a process of its own."""
        shown, label = self._desk.shown, self._label
        case = self._desk.outcome if self._desk.outcome is not None or shown is None else shown.folder
        if shown is None or label is None or case is None or self.runner.busy:
            return
        paths = shown.paths
        self.runner.start(lambda: _repairing(case, paths, label))
        self._update_buttons()

    def cancel(self) -> None:
        """Stop the repair."""
        self.runner.drop()
        self.message.setText("Canceled. Nothing was changed.")
        self._update_buttons()

    def undo(self) -> None:
        """Take the last repair back."""
        if self._states and not self.runner.busy:
            self._undoing = self._states.pop()
            picture = self._undoing.shown.picture
            self.runner.start(lambda: _drawing(picture))
            self._update_buttons()

    def _on_step(self, step: Step) -> None:
        self.message.setText(f"{step.message} …")

    def _on_failed(self, error: DeformregError) -> None:
        self.message.setText(str(error))
        self._update_buttons()

    def _on_done(self, found: Any) -> None:
        repaired, picture, entries = found
        before, self._undoing = self._undoing, None
        if before is not None:
            self._show(before, entries)
            self.message.setText("The repair was taken back.")
        elif self._desk.shown is not None and self._desk.review is not None:
            self._take(repaired, picture, entries, self._desk.shown, self._desk.review)
        self._update_buttons()
        self.repaired.emit()

    def _take(self, repaired: RepairedFold, picture: ResultPicture, entries: list[LayerTuple], shown: ShownResult, review: Review) -> None:
        self._states = [*self._states[-STATES_AT_MOST + 1 :], _State(shown, review, self._desk.outcome, self._desk.result_changed)]
        outcome, old, seen = repaired.outcome, self._desk.outcome, shown.picture
        if old is not None:  # What did not change came back as a copy.
            outcome = replace(outcome, inputs=old.inputs, moving_before=old.moving_before)
        picture = replace(picture, fixed=seen.fixed, moving_before=seen.moving_before, fixed_labels=seen.fixed_labels, notices=seen.notices)
        measured = build_review(outcome.report, review.tolerances)
        kept = ("reviewer", "verdict", "comment", "signed", "snapshots", "session")
        judged = measured.model_copy(update={name: getattr(review, name) for name in kept})
        self._show(_State(replace(shown, picture=picture, outcome=outcome), judged, outcome, True), entries)
        self.message.setText(cost_text(repaired))

    def _show(self, state: _State, entries: list[LayerTuple]) -> None:
        self._desk.exchange(state.shown, state.review, state.outcome, entries, state.changed)

    def _update_buttons(self) -> None:
        busy = self.runner.busy
        self.repair_button.setEnabled(self._label is not None and not busy)
        self.undo_button.setEnabled(bool(self._states) and not busy)
        self.cancel_button.setVisible(busy)


def cost_text(repaired: RepairedFold) -> str:
    """Write what a repair did and what it cost in similarity."""
    near = _similarity_text(repaired.near_before, repaired.near_after)
    whole = _similarity_text(repaired.whole_before, repaired.whole_after)
    return (
        f"{repaired.text}<br>Similarity around it ({repaired.near_voxels} voxels): {near}.<br>"
        f"In the whole foreground ({repaired.whole_voxels} voxels): {whole}.<br>Save the review to keep it."
    )


def _similarity_text(before: Similarity, after: Similarity) -> str:
    said = []
    for name, title in (("ncc", "NCC"), ("lncc", "LNCC"), ("nmi", "NMI")):
        one, other = getattr(before, name), getattr(after, name)
        if one is not None and other is not None:
            said.append(f"{title} {one:.4f} → {other:.4f} ({other - one:+.4f})")
    return ", ".join(said) or "not measurable"


def _repairing(
    case: Outcome | Path, paths: InputPaths | None, label: int
) -> Generator[Step, Control | None, tuple[RepairedFold | None, ResultPicture, list[LayerTuple]]]:
    repaired, picture = yield from in_process(repairing, case, paths, label)
    return repaired, picture, result_layers(picture)


def _drawing(picture: ResultPicture) -> Generator[Step, Control | None, tuple[RepairedFold | None, ResultPicture, list[LayerTuple]]]:
    yield Step("evaluate", message="preparing the layers")
    return None, picture, result_layers(picture)
