"""Orders corrections of one case from the other process, one after the other, and keeps them in step with the history of the pairs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...errors import DeformregError, InputError
from ...space import Grid, LandmarkPairs
from ...workflow import InputPaths, Outcome
from ..conversation import Conversation
from .corrections import Corrections, Order, PointsOrder, RegionOrder
from .history import Change
from .pair_list import Point

PARTNER: Callable[[], Any] = Corrections
"""What answers, made in the other process."""

CORRECTING = ("correct", "back", "resolve", "by_points")
"""What puts one more correction on top of those that were made."""


@dataclass(frozen=True, eq=False)
class _Task:
    method: str
    change: Change | None
    order: Order | RegionOrder | PointsOrder | None = None


class Corrector(QObject):
    """What the dock asks of the engine.

    Corrections lie on top of each other like the changes of the history that they belong to: each is solved from the registration that all
    before it have left, and only the last one can be taken back. So they are ordered strictly one after the other, and what is
    superseded before its turn is never computed.
    """

    opened = Signal()
    updated = Signal(object)
    """An `Update` is to be shown: something was corrected, or taken back."""
    foreseen = Signal(object)
    """An `Update` of the moved image alone: the same correction's whole one follows, or `failed`."""
    previewed = Signal(object)
    suggested = Signal(str, object)
    doubted = Signal(object)
    measured = Signal(object)
    failed = Signal(object)
    turned = Signal()
    """Something was begun or ended: `busy` and `waiting` may be others."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._talk = Conversation(PARTNER, self)
        self._talk.ended.connect(self._on_ended)
        self._tasks: deque[_Task] = deque()
        self._running: _Task | None = None
        # Undone before their turn came: what is done again then, where that too is done again.
        self._withdrawn: list[_Task] = []
        self._wanted: Order | None = None
        self._previewing = self._dragging = False
        # Corrections by their changes, as they lie on top of each other: now, and when it was measured.
        self._applied: list[Change] = []
        self._measured: list[Change] = []
        self.ready = False
        """Whether a case is open on the other side."""
        self.moving_grid: Grid | None = None
        """Of the case that is open."""

    @property
    def busy(self) -> bool:
        """Whether something is being computed or still to be."""
        return self._running is not None or bool(self._tasks)

    @property
    def waiting(self) -> int:
        """How many corrections are still to come."""
        return len(self._tasks) + (self._running is not None)

    def open(self, case: Outcome | Path, paths: InputPaths | None) -> None:
        """Begin with another case."""
        self.close()
        self._run(_Task("open", None), case, paths)

    def close(self) -> None:
        """Let go of the case and of everything that was ordered."""
        self._talk.stop()
        self._tasks.clear()
        self._withdrawn.clear()
        self._running, self._wanted, self.moving_grid = None, None, None
        self._previewing = self._dragging = self.ready = False
        self._applied, self._measured = [], []

    @property
    def unmeasured(self) -> bool:
        """Whether the registration is another one than was measured last."""
        return self._applied != self._measured

    @property
    def wants_preview(self) -> bool:
        """Whether a preview is still to be shown: the mouse has not been released since it was ordered."""
        return self._dragging

    def holds(self, change: Change) -> bool:
        """Tell whether something is being done for a change, or still to be."""
        return any(task is not None and task.change is change for task in (*self._tasks, *self._withdrawn, self._running))

    def suggest(self, name: str, fixed_mm: Point) -> None:
        """Look for the partner of a pair."""
        if self.ready:
            place = np.array(fixed_mm, dtype=np.float64)
            self._talk.ask("suggest", place, then=lambda found: self.suggested.emit(name, found), failed=self._tell)

    def doubt(self, pairs: LandmarkPairs, weights: dict[str, float]) -> None:
        """Look for pairs that disagree with the others."""
        if self.ready and len(pairs):
            self._talk.ask("doubts", pairs, weights, then=self.doubted.emit, failed=lambda error: None)

    def ask(self, method: str, *arguments: Any, then: Callable[[Any], Any], failed: Callable[[DeformregError], Any]) -> None:
        """Ask for something that changes nothing of the registration; it takes its turn among the corrections."""
        if self.ready:
            self._talk.ask(method, *arguments, then=then, failed=failed)
        else:
            failed(InputError("No registration is open for correction; register two images or open a result folder first."))

    def preview(self, order: Order) -> None:
        """Show soon what a spline would do; of many orders, the last one counts."""
        self._wanted, self._dragging = order, True
        self._preview_next()

    def end_preview(self) -> None:
        """Show no preview that is still on its way."""
        self._wanted, self._dragging = None, False

    def correct(self, change: Change, order: Order) -> None:
        """Solve again for a change."""
        self._put(_Task("correct", change, order))

    def back(self, change: Change) -> None:
        """Return to the automatic result for a change."""
        self._put(_Task("back", change))

    def resolve(self, change: Change, order: RegionOrder) -> None:
        """Solve a region again for a change."""
        self._put(_Task("resolve", change, order))

    def by_points(self, change: Change, order: PointsOrder) -> None:
        """Replace everything by a fit through the pairs alone for a change."""
        self._put(_Task("by_points", change, order))

    def undo(self, change: Change) -> None:
        """Take back what was corrected for a change, or is still to be."""
        for task in self._tasks:
            if task.change is change and task.method in CORRECTING:
                self._tasks.remove(task)
                self._withdrawn.append(task)
                self.turned.emit()
                return
        if change.corrected or self.holds(change):
            self._put(_Task("undo", change))

    def redo(self, change: Change) -> None:
        """Apply again what was taken back."""
        for task in self._withdrawn:
            if task.change is change:
                self._withdrawn.remove(task)
                self._put(task)
                return
        if change.corrected or self.holds(change):
            self._put(_Task("redo", change))

    def measure(self) -> None:
        """Judge the registration as it is once all corrections are made."""
        self._put(_Task("measure", None))

    # --- one after the other ----------------------------------------------------------------------------------------

    def _put(self, task: _Task) -> None:
        if not self.ready and self._running is None:
            return  # There is no case, or it could not be opened.
        self._tasks.append(task)
        self._next()
        self.turned.emit()

    def _next(self) -> None:
        if not self.ready or self._running is not None:
            return
        while self._tasks:
            task = self._tasks.popleft()
            if task.method in ("undo", "redo") and task.change is not None and not task.change.corrected:
                continue  # It failed meanwhile: there is nothing to take back.
            self._run(task, *(() if task.order is None else (task.order,)))
            return
        self._preview_next()

    def _run(self, task: _Task, *arguments: Any) -> None:
        self._running = task
        self._talk.ask(task.method, *arguments, then=self._on_done, failed=self._on_failed, ahead=self.foreseen.emit)

    def _on_done(self, value: Any) -> None:
        task, self._running = self._running, None
        if task is None:
            return
        if task.method == "open":
            self.ready, self.moving_grid = True, value
            self.opened.emit()
        elif task.method == "measure":
            self._measured = list(self._applied)
            self.measured.emit(value)
        else:
            if task.change is not None and task.method in CORRECTING:
                task.change.corrected = value is not None
            if value is not None and task.change is not None:
                self._applied = self._applied[:-1] if task.method == "undo" else [*self._applied, task.change]
                self.updated.emit(value)
        self._next()
        self.turned.emit()

    def _on_failed(self, error: DeformregError) -> None:
        task, self._running = self._running, None
        if task is not None and task.method == "open":
            self._tasks.clear()
        elif task is not None and task.change is not None and task.method in CORRECTING:
            task.change.failed = True
        self._tell(error)
        self._next()
        self.turned.emit()

    def _on_ended(self, error: DeformregError) -> None:
        """Give up the case: the other side is gone, and all corrections with it."""
        self.close()
        self._tell(error)
        self.turned.emit()

    def _tell(self, error: DeformregError) -> None:
        self.failed.emit(error)

    def _preview_next(self) -> None:
        if not self.ready or self.busy or self._previewing or self._wanted is None:
            return
        order, self._wanted, self._previewing = self._wanted, None, True
        self._talk.ask("preview", order, then=self._on_previewed, failed=lambda error: self._on_previewed(None))

    def _on_previewed(self, update: Any) -> None:
        self._previewing = False
        if update is not None:
            self.previewed.emit(update)
        self._preview_next()
