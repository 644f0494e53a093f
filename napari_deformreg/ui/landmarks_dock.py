"""The Landmarks dock: pairs of points that correct the registration while one watches."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from ..errors import DeformregError
from ..qa import RESEARCH_USE_ONLY
from .adding import load_units
from .comparison import Mode
from .dock_life import DockLife
from .landmarks import keeper
from .landmarks.follow_control import FollowControl
from .landmarks.keeper import KeptPairs, PairKeeper
from .landmarks.pair_desk import PairDesk
from .landmarks.pair_figures import figures_text, fits_now
from .landmarks.pair_files import EXPORT_FILTER, IMPORT_FILTER, Grids, read_pairs, write_pairs
from .landmarks.pair_list import PairList, Use
from .landmarks.pair_page import PairPage
from .landmarks.pair_table import pair_rows
from .landmarks.region_control import RegionControl
from .landmarks.start_offer import start_from_points
from .orthogonal_dock import OrthogonalDock
from .panel_watch import PanelWatch
from .result_panel import ResultPanel
from .review.tab import note
from .scrolling import scrolled
from .shown import topmost

if TYPE_CHECKING:
    import napari

    from ..space.point_fits import FitName

KEYS = {
    "G": "place", "Enter": "accept", "Escape": "give_up", "Control-Z": "undo", "Control-Shift-Z": "redo", "J": "nearest",
    "N": "next", "Q": "previous", "Delete": "delete",
}  # fmt: skip
"""On the canvas; the dock has the same ones."""

QT_KEYS = {"Enter": "Return", "Control-Z": "Ctrl+Z", "Control-Shift-Z": "Ctrl+Shift+Z"}


class LandmarksDock(QWidget):
    """Corrects the result that the window shows, by landmark pairs.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the result is shown.
    page : PairPage, optional
        Its widgets, if they are made already.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None, page: PairPage | None = None) -> None:
        super().__init__(parent)
        self._viewer: Any = viewer
        self._life = DockLife(self)
        self._life.closed.connect(self.shut_down)
        self._offered = False
        self._blend: int | None = None
        self._panels = PanelWatch(viewer, self._life, self)
        self.desk = PairDesk(viewer, self)
        self.page = page or PairPage()
        self.region = RegionControl(viewer, self.desk, self.page, self)
        self.annotations = FollowControl(viewer, self.desk, self.page.follow, self)
        self.keeper = PairKeeper(self._kept, self)
        self._actions = self._named_actions()
        column = QVBoxLayout(self)
        column.addWidget(scrolled(self.page), 1)
        column.addWidget(note(f"<b>{RESEARCH_USE_ONLY}</b>"))
        self._connect()
        self._refresh()

    @classmethod
    def pieces(cls, viewer: Any) -> Generator[None, None, LandmarksDock]:
        """Make one in pieces that are short each."""
        load_units()
        yield
        page = PairPage()
        yield
        return cls(viewer, page=page)

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self.desk.busy or self.region.desk.busy or self.annotations.busy

    def act(self, name: str) -> None:
        """Do what a key or button asks for."""
        self._actions[name]()

    def shut_down(self) -> None:
        """Stop everything and follow the viewer no more; for a dock or window that goes away."""
        if not self._life.end():
            return
        self._panels.stop()
        for planes in topmost(self).findChildren(OrthogonalDock):
            planes.set_hand(None)
        self.page.place_button.setChecked(False)
        if len(self.desk.pairs):
            self.keeper.leave()
        else:
            self.keeper.done()
        self.region.stop()
        self.annotations.stop()
        self.desk.stop()
        for key in KEYS:
            self._viewer.bind_key(key, None)

    # --- wiring -----------------------------------------------------------------------------------------------------

    def _named_actions(self) -> dict[str, Callable[[], Any]]:
        desk, page = self.desk, self.page
        return {
            "place": page.place_button.toggle,
            "accept": desk.accept,
            "give_up": desk.give_up,
            "undo": desk.undo,
            "redo": desk.redo,
            "delete": desk.delete,
            "lock": lambda: desk.change("lock" if page.lock_button.isChecked() else "unlock", locked=page.lock_button.isChecked()),
            "exclude": lambda: self._use(page.exclude_button.isChecked(), Use.EXCLUDED),
            "hold_out": lambda: self._use(page.hold_out_button.isChecked(), Use.HELD_OUT),
            "previous": lambda: page.table.step(-1),
            "next": lambda: page.table.step(1),
            "nearest": desk.nearest,
            "solve": self._solve,
            "back": desk.back_to_automatic,
            "measure": desk.corrector.measure,
            "import": self._ask_import,
            "export": self._ask_export,
            "start": lambda: start_from_points(desk),
        }

    def _connect(self) -> None:
        desk, page = self.desk, self.page
        desk.changed.connect(self._refresh)
        desk.stepped.connect(self.keeper.touch)
        desk.told.connect(page.message.setText)
        self.keeper.told.connect(page.message.setText)
        desk.corrector.measured.connect(lambda found: desk.case.measured(*found))
        page.wanted.connect(self.act)
        page.placing.connect(self._on_placing)
        page.weighed.connect(lambda weight: desk.change("weight of", weight=weight))
        page.solved_by.connect(self._on_solved_by)
        page.use_image.toggled.connect(lambda on: self._take_settings())
        page.at_once.toggled.connect(lambda on: self._take_settings())
        page.table.chosen.connect(lambda row: desk.choose(row["name"], go=True))
        page.points.fitted.connect(desk.fit_points)
        page.points.followed.connect(self._on_followed)
        page.recovery.opened.connect(self._on_recovered)
        page.recovery.discarded.connect(keeper.discard)
        self._panels.looking.connect(self._look)
        self._panels.found.connect(self._follow)
        for key, name in KEYS.items():
            self._viewer.bind_key(key, lambda viewer, name=name: self.act(name), overwrite=True)
            # The canvas has keys of its own; these are for the rest of the dock.
            shortcut = QShortcut(QKeySequence(QT_KEYS.get(key, key)), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda name=name: self.act(name))

    def _look(self) -> None:
        """Offer what an earlier window left unsaved; let points be dragged in orthogonal views, too."""
        if not self._offered:
            self._offered = True
            self.page.recovery.offer(self.keeper.left_behind())
        for planes in topmost(self).findChildren(OrthogonalDock):
            planes.set_hand(self.desk.mouse)

    def _follow(self, panel: ResultPanel) -> None:
        """Follow a result that a dock of this window shows."""
        panel.shown.connect(self._on_shown)
        if panel.current is not None and self.desk.case.shown is None and not self.desk.case.busy:
            self.desk.take(panel, panel.current)

    def _on_shown(self) -> None:
        panel = self.sender()
        if self._life.alive and isinstance(panel, ResultPanel) and panel.current is not None:
            self.desk.take(panel, panel.current)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Show what the desk says."""
        desk, page = self.desk, self.page
        fits = fits_now(desk)
        page.table.show_rows(pair_rows(desk.pairs, fits.residual_mm, fits.part, desk.doubts), "name", desk.chosen)
        page.show_pair(desk.pair)
        page.accept_button.setEnabled(desk.suggested is not None and desk.wants_partner)
        page.undo_button.setEnabled(desk.history.to_undo is not None)
        page.redo_button.setEnabled(desk.history.to_redo is not None)
        for button in (page.solve_button, page.back_button, page.measure_button, page.points.fit_button):
            button.setEnabled(desk.corrector.ready)
        page.export_button.setEnabled(bool(desk.pairs.complete))
        self.region.refresh()
        page.figures.setText(figures_text(desk))
        page.start.show_for(desk)
        if page.place_button.isChecked():
            self._show_side()

    def _on_placing(self, on: bool) -> None:
        self.desk.mouse.active = on
        self.region.desk.pick(False)
        if on:
            self._show_side()
        else:
            self._show_blend(None)

    def _show_side(self) -> None:
        """Show the image that the next click is meant for: fixed, or moved for a partner."""
        self._show_blend(100 if self.desk.wants_partner else 0)

    def _show_blend(self, percent: int | None) -> None:
        """Show this much of the moved image; None for what the user had chosen."""
        panel = self.desk.case.panel
        if panel is None or panel.compare.comparison.mode != Mode.BLEND:
            return
        slider = panel.controls.blend
        if self._blend is None and percent is not None:
            self._blend = slider.value()
        if percent is None and self._blend is not None:
            percent, self._blend = self._blend, None
        if percent is not None and slider.value() != percent:
            slider.setValue(percent)

    def _use(self, on: bool, use: Use) -> None:
        self.desk.change(f"{use.value}:" if on else "use", use=use if on else Use.DRIVES)

    def _take_settings(self) -> None:
        page, desk = self.page, self.desk
        desk.radius_mm, desk.points_weight = page.radius.value(), page.trust.value() / 100
        desk.use_image, desk.at_once = page.use_image.isChecked(), page.at_once.isChecked()

    def _on_solved_by(self, radius_mm: float, points_weight: float) -> None:
        if (radius_mm, points_weight) != (self.desk.radius_mm, self.desk.points_weight):
            self._take_settings()
            self.desk.redraw()
            if self.desk.at_once and self.desk.corrector.ready:
                self.desk.solve_again()

    def _on_followed(self, kind: FitName | None) -> None:
        self.desk.alone = kind
        self.page.use_image.setEnabled(kind is None)

    def _solve(self) -> None:
        self._take_settings()
        self.desk.solve_again()

    def _kept(self) -> tuple[PairList, str]:
        shown = self.desk.case.shown
        return self.desk.pairs, "no case" if shown is None else "a fresh result" if shown.folder is None else str(shown.folder)

    def _on_recovered(self, kept: KeptPairs) -> None:
        self.desk.recover(kept.pairs)
        self.keeper.write()
        keeper.discard(kept)

    # --- files ------------------------------------------------------------------------------------------------------

    def import_pairs(self, paths: list[str | Path]) -> None:
        """Add pairs from files."""
        try:
            found = read_pairs(paths, self._grids())
        except DeformregError as error:
            self.page.message.setText(str(error))
            return
        self.desk.join(found, Path(paths[0]).name)

    def export_pairs(self, path: str | Path) -> None:
        """Write the pairs as files."""
        try:
            written = write_pairs(path, self.desk.pairs, self._grids())
        except (DeformregError, OSError) as error:
            self.page.message.setText(str(error))
            return
        self.page.message.setText(f"Written: {', '.join(file.name for file in written)}.")

    def _grids(self) -> Grids:
        shown = self.desk.case.shown
        if shown is None:
            return Grids()
        return Grids(shown.placement.grid, None if shown.outcome is None else shown.outcome.inputs.moving.grid)

    def _ask_import(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Import landmark pairs: one file, or fixed and moving", "", IMPORT_FILTER)
        if names:
            self.import_pairs(list(names))

    def _ask_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export landmark pairs", "landmarks.csv", EXPORT_FILTER)
        if name:
            self.export_pairs(name)
