"""Saves a review, keeps it through a crash, and brings back one that was left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QTabWidget

from ...errors import DeformregError
from ...workflow import Outcome
from ..process import in_process
from ..turns import Turns
from ..work import saving_review
from ..worker import Runner
from . import autosave
from .autosave import AutosaveFile, Kept
from .desk import Desk
from .reopened import ReopenedFiles
from .session import gather_session, restore_session
from .verdict_tab import VerdictTab


class ReviewKeeper(QObject):
    """Looks after the case on the desk.

    Parameters
    ----------
    desk : Desk
        What is under review.
    verdict : VerdictTab
        Where the reviewer's words are.
    tabs : QTabWidget
        Whose open tab belongs to the view.
    """

    told = Signal(str)

    def __init__(self, desk: Desk, verdict: VerdictTab, tabs: QTabWidget, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._desk, self._verdict, self._tabs = desk, verdict, tabs
        self._file = AutosaveFile(autosave.autosave_folder())
        self._kept_outcome: Outcome | None = None
        self._recovering: Kept | None = None
        self.dirty = False
        self._turns = Turns(self)
        self.reopened = ReopenedFiles(desk, self)
        self.reopened.told.connect(self.told)
        self.saver, self.keeper = Runner(self), Runner(self)
        self.saver.succeeded.connect(self._on_saved)
        self.saver.failed.connect(lambda error: self.told.emit(str(error)))
        self.keeper.succeeded.connect(lambda folder: self._write(Path(folder)))
        self.keeper.failed.connect(lambda error: self.told.emit(str(error)))
        self._timer = QTimer(self)
        self._timer.setInterval(autosave.INTERVAL_MS)
        self._timer.timeout.connect(self.autosave)
        self._timer.start()
        desk.opened.connect(self._on_opened)
        desk.exchanged.connect(self.touch)
        verdict.changed.connect(self.touch)

    @property
    def busy(self) -> bool:
        """Whether something is being written or restored."""
        return self.saver.busy or self.keeper.busy or self._turns.busy or self.reopened.busy

    @property
    def folder(self) -> Path | None:
        """The user's folder of the case; None while there is none."""
        shown = self._desk.shown
        if shown is None or shown.folder is None or self._file.holds(shown.folder):
            return None
        return shown.folder

    def touch(self) -> None:
        """Note that something is not saved."""
        if self._desk.review is not None:
            self.dirty = True

    def save(self) -> None:
        """Save the review in the result's folder; ask for one if it has none, or if the result was repaired: the first one stays."""
        folder = None if self._desk.result_changed else self.folder
        if folder is None:
            name, _ = QFileDialog.getSaveFileName(self._verdict, "Save result and review", "reviewed-result")
            folder = Path(name) if name else None
        if folder is not None:
            self.save_to(folder)

    def save_to(self, folder: Path) -> None:
        """Write the review, and the result where the folder has another one or none, in a process of its own."""
        shown = self._desk.shown
        if shown is None or self.saver.busy:
            return
        try:
            review = self._verdict.reviewed().with_session(self._session())
        except DeformregError as error:
            self.told.emit(str(error))
            return
        whole = self._desk.result_changed or folder != shown.folder
        outcome, paths, source = self._desk.outcome, shown.paths, shown.folder
        self.told.emit(f"Writing {folder} …")
        self.saver.start(lambda: in_process(saving_review, folder, review, outcome, paths, whole, source))

    def autosave(self) -> None:
        """Keep what is not saved; a result that is in no folder is written once, by a process of its own."""
        shown, outcome = self._desk.shown, self._desk.outcome
        if not self.dirty or shown is None or self._desk.review is None or self.keeper.busy:
            return
        in_memory_only = shown.folder is None or self._desk.result_changed
        if in_memory_only and outcome is not None and outcome is not self._kept_outcome:
            review, place, paths = self._verdict.as_it_is(), self._file.result_folder, shown.paths
            self._kept_outcome = outcome
            self._file.make_room()
            self.keeper.start(lambda: in_process(saving_review, place, review, outcome, paths, True, None))
            return
        self._write(self._file.result_folder if in_memory_only or shown.folder is None else shown.folder)

    def left_behind(self) -> list[Kept]:
        """Find unsaved reviews of windows that are gone."""
        return autosave.left_behind(self._file.folder)

    def recover(self, kept: Kept, open_result: Callable[[Path], Any]) -> None:
        """Open an unsaved review again."""
        self._recovering = kept
        open_result(kept.folder)

    def release(self) -> None:
        """Stop; what is not saved is left for the next window."""
        self._timer.stop()
        self._turns.stop()
        self.reopened.stop()
        self.part()
        self.saver.drop()
        self.keeper.drop()

    def part(self) -> None:
        """Let go of the case on the desk: keep its unsaved review, or forget it."""
        shown = self._desk.shown
        on_disk = shown is not None and (shown.folder is not None or self._file.result_folder.is_dir())
        if self.dirty and on_disk and not self._desk.result_changed:
            self._write(self._file.result_folder if shown is None or shown.folder is None else shown.folder)
        if self.dirty:
            self._file.leave()
        else:
            self._file.done()
        self._file = AutosaveFile(self._file.folder)
        self.dirty, self._kept_outcome = False, None

    def _on_opened(self) -> None:
        """Begin with another case: recovered, or as it was saved."""
        review = self._desk.review
        if review is None:
            return
        kept, shown = self._recovering, self._desk.shown
        if kept is not None and shown is not None and shown.folder is not None and shown.folder.resolve() == kept.folder:
            self._recovering = None
            self._file.take_over(kept)
            self._desk.replace(kept.apply(review))
            self._verdict.refresh()
            self.dirty = True
            self.told.emit("Recovered; save it to keep it.")
        self._restore()

    def _restore(self) -> None:
        session = {} if self._desk.review is None else self._desk.review.session
        if session:
            titles = [self._tabs.tabText(n) for n in range(self._tabs.count())]
            if session.get("tab") in titles:
                self._tabs.setCurrentIndex(titles.index(str(session["tab"])))
            self._turns.run(restore_session(self._desk, session), lambda: self.reopened.open(session.get("files", ())))

    def _session(self) -> dict[str, Any]:
        return {**gather_session(self._desk), "tab": self._tabs.tabText(self._tabs.currentIndex())}

    def _write(self, folder: Path) -> None:
        if self._desk.review is None:
            return
        try:
            self._file.write(folder, self._verdict.as_it_is(), self._session())
        except DeformregError as error:
            self.told.emit(str(error))

    def _on_saved(self, folder: Path) -> None:
        shown = self._desk.shown
        if shown is not None:
            self._desk.shown = replace(shown, folder=Path(folder))
        self._desk.result_changed = False
        self.dirty, self._kept_outcome = False, None
        self._file.done()
        self.told.emit(f"Saved in {folder}.")
