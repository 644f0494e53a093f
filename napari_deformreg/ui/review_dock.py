"""The Review dock: where a registration is wrong, how badly, and the reviewer's verdict."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QKeySequence, QShortcut
from qtpy.QtWidgets import QFileDialog, QTabWidget, QVBoxLayout, QWidget

from ..errors import DeformregError
from ..io import read_label_names
from ..io import result_folder as names
from ..qa import RESEARCH_USE_ONLY, build_review
from ..workflow import InputPaths
from .adding import load_units
from .buttons import button
from .dock_life import DockLife
from .dropping import TakesFiles
from .open_folder import opening_result
from .panel_watch import PanelWatch
from .process import in_process
from .result_panel import ResultPanel
from .review.consistency_tab import ConsistencyTab
from .review.desk import Desk
from .review.elsewhere import ElsewhereDialog
from .review.folds_tab import FoldsTab
from .review.keeper import ReviewKeeper
from .review.points_tab import PointsTab
from .review.recovery_bar import RecoveryBar
from .review.structures_tab import StructuresTab
from .review.tab import ReviewTab, in_a_row, note
from .review.tables import RowTable
from .review.verdict_tab import VerdictTab
from .shown import ShownResult
from .turns import Turns
from .work import reviewing
from .worker import Runner

if TYPE_CHECKING:
    import napari

KEYS = {"PageDown": 1, "PageUp": -1, "Home": 0}
"""Next, previous and worst row of the tab that is open."""


class ReviewDock(TakesFiles, QWidget):
    """Reviews the result that the window shows, or one from a folder.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the result is shown.
    own : ResultPanel, optional
        Its page for a result that no other dock shows, if it is made already.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None, own: ResultPanel | None = None) -> None:
        super().__init__(parent)
        self._viewer: Any = viewer
        self._life = DockLife(self)
        self._life.closed.connect(self.shut_down)
        self._offered = False
        self._panels = PanelWatch(viewer, self._life, self)
        self.desk = Desk(viewer, self)
        self.loader = Runner(self)
        self.measurer = Runner(self)
        self._fitting = Turns(self)
        self.own = own or ResultPanel(viewer)
        self.folds = FoldsTab(self.desk)
        self.points = PointsTab(self.desk)
        self.structures = StructuresTab(self.desk)
        self.consistency = ConsistencyTab(self.desk)
        self.verdict = VerdictTab(self.desk)
        self.tabs = QTabWidget()
        self.keeper = ReviewKeeper(self.desk, self.verdict, self.tabs, self)
        self.pages: list[ReviewTab] = [self.folds, self.points, self.structures, self.consistency, self.verdict]
        self.recovery = RecoveryBar()
        self.elsewhere: ElsewhereDialog | None = None
        self.message = note("Register two images, or open a result folder (or drop one here).")
        self._lay_out()
        self._connect()
        self.own.prepare()

    @classmethod
    def pieces(cls, viewer: Any) -> Generator[None, None, ReviewDock]:
        """Make one in pieces that are short each."""
        load_units()
        yield
        own = ResultPanel(viewer)
        yield
        return cls(viewer, own=own)

    @property
    def busy(self) -> bool:
        """Whether a result is being opened."""
        runners = (self.loader, self.measurer, self.consistency.reader, self.folds.repair.runner)
        parts = (*runners, self._fitting, self.own, self.keeper, self.desk.places, self.structures, self.elsewhere)
        return any(part is not None and part.busy for part in parts)

    def open_result(self, folder: str | Path, paths: InputPaths | None = None) -> None:
        """Show a result folder for review; its inputs are where it notes them, or at `paths`."""
        if self.loader.busy or self.own.busy:
            self.message.setText("Another result is being opened; try again when that is done.")
            return
        self.message.setText(f"Opening {folder} …")
        self.loader.start(lambda: opening_result(Path(folder), paths))

    def name_structures(self, path: Path) -> None:
        """Name the structures of the case by a table."""
        try:
            count = self.desk.name_structures(read_label_names(path))
        except DeformregError as error:
            self.structures.message.setText(str(error))
        else:
            self.structures.message.setText(f"{path.name} names {count} of {len(self.structures.table.rows_model.rows)} structures.")
        self.tabs.setCurrentWidget(self.structures)

    def open_elsewhere(self) -> None:
        """Ask for a transform of any tool; what was asked for before is still there, to be changed."""
        if self.elsewhere is None:
            self.elsewhere = ElsewhereDialog(self)
            self.elsewhere.reviewed.connect(self.open_result)
        self.elsewhere.suggest_images(self._viewer)
        self.elsewhere.show()
        self.elsewhere.raise_()

    def step(self, direction: int) -> None:
        """Go to the next (1), the previous (-1) or the worst (0) row of the tab that is open."""
        page = self.tabs.currentWidget()
        if not isinstance(page, ReviewTab):
            return
        if direction:
            page.step(direction)
        else:
            page.go_to_worst()

    def shut_down(self) -> None:
        """Stop everything and follow the viewer no more; for a dock or window that goes away."""
        if not self._life.end():
            return
        self._panels.stop()
        self.loader.drop()
        self.measurer.drop()
        self._fitting.stop()
        if self.elsewhere is not None:
            self.elsewhere.release()
        self.keeper.release()
        for page in self.pages:
            page.release()
        self.desk.places.stop()
        self.own.shut_down()
        for key in KEYS:
            self._viewer.bind_key(key, None)

    # --- Qt ---------------------------------------------------------------------------------------------------------

    def wants_files(self, files: list[Path]) -> bool:
        """Accept a result folder anywhere on the dock; with a case on it also a table of its structures' names."""
        return any(path.is_dir() for path in files) or bool(files and self.desk.review is not None)

    def take_files(self, files: list[Path]) -> None:
        """Open a dropped result folder, or take the names of structures from a dropped table."""
        folder = next((path for path in files if path.is_dir()), None)
        if folder is not None:
            self.open_result(folder)
        elif self.desk.review is not None:
            self.name_structures(files[0])

    def _lay_out(self) -> None:
        self.setAcceptDrops(True)
        for page in self.pages:
            self.tabs.addTab(page, page.title)
        self.tabs.addTab(self.own, "View")
        self.tabs.setTabVisible(self.tabs.indexOf(self.own), False)
        open_button = button("Open result…", "Open a result folder for review.", self._ask_folder)
        elsewhere = button(
            "From elsewhere…", "Review a transform of ANTs, elastix, greedy, 3D Slicer, … with its two images.", self.open_elsewhere
        )
        whole = button("Whole image", "See the whole image again.", self._viewer.reset_view)
        column = QVBoxLayout(self)
        column.addLayout(in_a_row(open_button, elsewhere, whole))
        column.addWidget(self.recovery)
        column.addWidget(self.message)
        column.addWidget(self.tabs, 1)
        column.addWidget(note(f"<b>{RESEARCH_USE_ONLY}</b>"))

    def _connect(self) -> None:
        self.loader.succeeded.connect(self._on_loaded)
        self.loader.failed.connect(self._on_failed)
        self.measurer.succeeded.connect(self._on_measured)
        self.measurer.failed.connect(self._on_failed)
        for page in self.pages:
            self.desk.opened.connect(page.refresh)
            self.desk.exchanged.connect(page.refresh)
            self.desk.judged.connect(page.regrade)
        for changed in (self.desk.opened, self.desk.exchanged, self.desk.judged):
            changed.connect(self._fit_soon)
        self._panels.looking.connect(self._offer)
        self._panels.found.connect(self._follow)
        for key, direction in KEYS.items():
            self._viewer.bind_key(key, lambda viewer, direction=direction: self.step(direction), overwrite=True)
            # The canvas has keys of its own; these are for the rest of the dock.
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda direction=direction: self.step(direction))
        self.verdict.save_button.clicked.connect(lambda checked=False: self.keeper.save())
        self.verdict.report_button.clicked.connect(lambda checked=False: self._open_report())
        self.structures.names_given.connect(self.name_structures)
        self.keeper.told.connect(self.verdict.message.setText)
        self.recovery.chosen.connect(lambda kept: self.keeper.recover(kept, self.open_result))
        self._panels.tell_of(self.own)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open result folder")
        if name:
            self.open_result(name)

    def _on_loaded(self, loaded: Any) -> None:
        folder, picture, entries, _settings = loaded
        self.own.show_folder(folder, picture, entries)

    def _on_failed(self, error: DeformregError) -> None:
        self.message.setText(str(error))

    def _offer(self) -> None:
        """Offer what an earlier window left unsaved."""
        if self.desk.shown is None and not self._offered:
            self._offered = True
            self.recovery.offer(self.keeper.left_behind())

    def _follow(self, panel: ResultPanel) -> None:
        """Follow a result that this or another dock of this window shows."""
        panel.shown.connect(self._on_shown)
        panel.exchanged.connect(self._on_exchanged)
        if panel.current is not None and self.desk.shown is None:
            self._take(panel, panel.current)

    def _on_shown(self) -> None:
        panel = self.sender()
        if self._life.alive and isinstance(panel, ResultPanel) and panel.current is not None:
            self._take(panel, panel.current)

    def _on_exchanged(self) -> None:
        """Take up what another dock made of the case and measured; what this dock made it knows."""
        panel = self.sender()
        outcome = panel.current.outcome if isinstance(panel, ResultPanel) and panel.current is not None else None
        if outcome is not None and outcome is not self.desk.outcome:
            self._on_shown()

    def _take(self, panel: ResultPanel, shown: ShownResult) -> None:
        """Take up what a panel shows."""
        self.measurer.drop()
        self.keeper.part()
        for page in self.pages:
            page.forget()
        self.desk.panel = panel
        self.tabs.setTabVisible(self.tabs.indexOf(self.own), panel is self.own)
        outcome = shown.outcome
        self.desk.open(shown, None if outcome is None else build_review(outcome.report), outcome)
        self._name_case()
        if outcome is None and shown.folder is not None:
            self._measure(shown.folder, shown.paths)

    def _fit_soon(self) -> None:
        self._fitting.run(self._fit_tables())

    def _fit_tables(self) -> Iterator[None]:
        """Give the tables of all tabs their columns' widths, one a turn."""
        for page in self.pages:
            for table in page.findChildren(RowTable):
                table.fit()
                yield

    def _name_case(self) -> None:
        """Tell which case it is; of a transform from elsewhere also what its numbers were taken for."""
        folder = None if self.desk.shown is None else self.desk.shown.folder
        lines = ["The fresh result, not saved yet." if folder is None else f"<b>{escape(folder.name)}</b>"]
        if self.desk.review is not None and self.desk.review.subject.transforms:
            subject = self.desk.review.subject
            lines.append(f"Transform of {escape(subject.made_by)}:")
            lines += [f"{escape(file.name)}: {escape(file.convention)}" for file in subject.transforms]
        self.message.setText("<br>".join(lines))
        self.message.setToolTip("" if folder is None else str(folder))

    def _measure(self, folder: Path, paths: InputPaths | None) -> None:
        self.message.setText(f"Measuring {folder.name} …")
        self.measurer.start(lambda: in_process(reviewing, folder, paths))

    def _on_measured(self, found: Any) -> None:
        outcome, review = found
        self.desk.open(self.desk.shown, review, outcome)
        self._name_case()

    def _open_report(self) -> None:
        folder = self.keeper.folder
        page = None if folder is None else folder / names.REVIEW_HTML
        if page is not None and page.is_file():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(page)))
        else:
            self.verdict.message.setText("There is no report yet; save the review first.")
