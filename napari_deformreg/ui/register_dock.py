"""The Register dock: inputs, settings, Register and Cancel with live progress, then the result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.layers import Image, Labels, Points
from qtpy.QtWidgets import QFileDialog, QTabWidget, QWidget

from ..errors import DeformregError, InputError
from ..result import Control, Step
from ..settings import Settings
from ..workflow import InputPaths, Inputs, Outcome
from . import garbage, layers
from .adding import LayerAdder, load_units, warm_up
from .dock_life import DockLife
from .dropping import TakesFiles
from .input_look import dressed
from .input_rows import InputRow
from .layers import LayerTuple
from .open_folder import opening_result
from .pictures import ResultPicture
from .process import in_process
from .readers import read_layer
from .register_page import ROWS, RegisterPage
from .result_layers import result_layers
from .result_panel import ResultPanel
from .work import checking_model, registering
from .worker import Runner, Steps, anything_runs

if TYPE_CHECKING:
    import napari


@dataclass(frozen=True, eq=False)
class _Finished:
    """What a run hands to the GUI thread: the outcome and its layers, ready to be added."""

    outcome: Outcome
    picture: ResultPicture
    entries: list[LayerTuple]


class RegisterDock(TakesFiles, QTabWidget):
    """Registers two images of the viewer and shows what came of it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.
    page, result : optional
        Its pages, if they are made already.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        parent: QWidget | None = None,
        page: RegisterPage | None = None,
        result: ResultPanel | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer: Any = viewer
        load_units()
        self._life = DockLife(self)
        self._life.closed.connect(self.shut_down)
        self._used: dict[str, Any] = {}
        self._files: InputPaths | None = None
        self._waiting: list[tuple[InputRow, Path]] = []
        self.start_registration: Callable[[Inputs, Settings], Steps] = partial(in_process, registering)
        self.page = page or RegisterPage()
        self.runner = Runner(self)
        self.loader = Runner(self)
        self.checker = Runner(self)
        self.adder = LayerAdder(viewer, self)
        self.adder.done.connect(self._on_opened)
        self.result = result or ResultPanel(viewer)
        self.result.register_again = self.register_again
        self._earlier: WeakSet[Any] = WeakSet(viewer.layers)
        self.tidier = garbage.Tidier(lambda: self.busy or anything_runs(), self)
        self.addTab(self.page, "Register")
        self.addTab(self.result, "Result")
        self.setAcceptDrops(True)
        self._connect()
        self._offer_layers()
        self.result.prepare()

    @classmethod
    def pieces(cls, viewer: Any) -> Generator[None, None, RegisterDock]:
        """Make one in pieces that are short each."""
        load_units()
        yield
        page = RegisterPage()
        yield
        result = ResultPanel(viewer)
        yield
        return cls(viewer, page=page, result=result)

    def register(self) -> None:
        """Start the registration; what is wrong with the inputs is told in one line."""
        try:
            settings = self.page.settings()
            inputs = self._collect()
        except DeformregError as error:
            self.page.tell(str(error), problem=True)
            return
        self._files = None
        self._used = {role: row.value() for role, row in self.page.rows.items() if row.value() is not None}
        self._begin(inputs, settings)

    def register_again(self, inputs: Callable[[], Inputs], settings: Settings, paths: InputPaths | None) -> None:
        """Register what was registered before, with other settings or landmarks.

        It came from the layers that were used last or, if they are given, from files.
        """
        if self.busy:
            self.page.tell("Something else is being read or registered; try again when that is done.", problem=True)
            return
        self.page.set_settings(settings)
        self.setCurrentWidget(self.page)
        self._files = paths
        if paths is not None:
            self._used = {}
        self._begin(inputs, settings)

    def _begin(self, inputs: Callable[[], Inputs], settings: Settings) -> None:
        self.page.busy()
        self.page.tell("Starting …")
        start = self.start_registration
        self.runner.start(lambda: _registration(start, inputs, settings))

    def cancel(self) -> None:
        """Stop the registration."""
        self.page.tell("Canceling …")
        self.page.cancel_button.setEnabled(False)
        self.runner.cancel()

    def open_file(self, role: str, path: Path) -> None:
        """Open a file as a layer and choose it in the row of that role."""
        self._waiting.append((self.page.rows[role], Path(path)))
        self._load_next()

    def open_result(self, folder: str | Path, paths: InputPaths | None = None) -> None:
        """Show a result folder of an earlier run; its settings are loaded too. Its inputs are where it notes them, or at `paths`."""
        if self.reading or self.runner.busy:
            self.page.tell("Something else is being read or registered; open the result when that is done.", problem=True)
            return
        self.page.tell(f"Opening {folder} …")
        self.loader.start(lambda: _opening(Path(folder), paths))

    def open_model(self, path: Path) -> None:
        """Choose a network's file, if it is one that can be used."""
        if self.checker.busy:
            self.page.tell("Another network is being opened; try again when that is done.", problem=True)
            return
        self.page.tell(f"Opening {path.name} …")
        self.checker.start(lambda: in_process(checking_model, path))

    @property
    def reading(self) -> bool:
        """Whether files are still being opened."""
        return bool(self._waiting) or self.loader.busy or self.adder.busy

    @property
    def busy(self) -> bool:
        """Whether anything is under way, be it reading, registering, adding layers or saving."""
        return self.reading or self.runner.busy or self.result.busy or self.result.writer.busy

    def shut_down(self) -> None:
        """Stop everything and follow the viewer no more; for a dock or window that goes away."""
        if not self._life.end():
            return
        self._waiting.clear()
        self.runner.drop()
        self.loader.drop()
        self.checker.drop()
        self.adder.stop()
        self.result.register_again = None
        self.result.shut_down()
        self.tidier.stop()
        events = self._viewer.layers.events
        for event, action in (
            (events.inserted, self._on_inserted),
            (events.removed, self._on_removed),
            (events.reordered, self._offer_layers),
        ):
            event.disconnect(action)
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self._offer_layers)

    # --- Qt ---------------------------------------------------------------------------------------------------------

    def take_files(self, files: list[Path]) -> None:
        """Sort dropped files into the free rows: images, then landmarks; a folder is a result."""
        for path in files:
            if path.is_dir():
                self.open_result(path)
            else:
                self.open_file(self._free_role(path), path)

    def _free_role(self, path: Path) -> str:
        kind = "landmarks" if path.name.lower().endswith((".csv", ".tsv", ".fcsv", ".mrk.json", ".pts")) else ""
        first, second = (f"fixed_{kind}", f"moving_{kind}") if kind else ("fixed", "moving")
        taken = {row for row, _ in self._waiting}
        return second if self.page.rows[first].value() is not None or self.page.rows[first] in taken else first

    def _connect(self) -> None:
        for role, row in self.page.rows.items():
            row.file_given.connect(lambda path, role=role: self.open_file(role, path))
        self.page.model.file_given.connect(self.open_model)
        self.checker.succeeded.connect(self._on_model)
        self.checker.failed.connect(lambda error: self.page.tell(str(error), problem=True))
        self.page.load_settings.clicked.connect(self._ask_settings)
        self.page.open_folder.clicked.connect(self._ask_folder)
        self.page.register_button.clicked.connect(self.register)
        self.page.finish_button.clicked.connect(self.runner.finish_now)
        self.page.cancel_button.clicked.connect(self.cancel)
        self.runner.stepped.connect(self.page.show_step)
        self.runner.succeeded.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self.runner.canceled.connect(self._on_canceled)
        self.loader.succeeded.connect(self._on_loaded)
        self.loader.failed.connect(self._on_load_failed)
        self.result.shown.connect(lambda: self.setCurrentWidget(self.result))
        events = self._viewer.layers.events
        events.inserted.connect(self._on_inserted)
        events.removed.connect(self._on_removed)
        events.reordered.connect(self._offer_layers)
        for layer in self._viewer.layers:
            layer.events.name.connect(self._offer_layers)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _collect(self) -> Callable[[], Inputs]:
        """Take what a run needs of the chosen layers; the arrays are read later, off the GUI thread."""
        chosen = {role: row.value() for role, row in self.page.rows.items()}
        for role in ("fixed", "moving"):
            if chosen[role] is None:
                raise InputError(f"Choose a {role} image: pick a layer, or drop a file on its row.")
        if chosen["fixed"] == chosen["moving"]:
            raise InputError("Fixed and moving are the same layer; choose two different images.")
        images = {
            role: layers.snapshot(layer) for role, layer in chosen.items() if layer is not None and isinstance(layer, (Image, Labels))
        }
        points: dict[str, Any] = {
            role: layers.landmarks_from_layer(layer, chosen[role.split("_")[0]])
            for role, layer in chosen.items()
            if layer is not None and isinstance(layer, Points)
        }

        def inputs() -> Inputs:
            placed: dict[str, Any] = {
                role: image.volume() if role in ("fixed", "moving") else image.label_map() for role, image in images.items()
            }
            return Inputs(**placed, **points)

        return inputs

    def _on_finished(self, finished: _Finished) -> None:
        self.page.idle()
        self.page.tell("Done.")
        _measure_in_millimeters(self._used.values())
        paths = self._files or _paths(self._used)
        self.result.show_outcome(finished.outcome, finished.picture, finished.entries, self._used.get("fixed"), paths)

    def _on_failed(self, error: DeformregError) -> None:
        self.page.idle()
        self.page.tell(str(error), problem=True)

    def _on_canceled(self) -> None:
        self.page.idle()
        self.page.tell("Canceled. Nothing was changed.")

    def _on_loaded(self, loaded: tuple[str, Any]) -> None:
        kind, value = loaded
        if kind == "layer":
            self.adder.add([value])
            return
        folder, picture, entries, settings = value
        self.page.set_settings(settings)
        self.page.tell("")
        self.result.show_folder(folder, picture, entries)

    def _on_opened(self, added: list[Any]) -> None:
        """Choose a freshly opened layer in the row it was meant for."""
        row, path = self._waiting.pop(0)
        for layer in added:
            row.setValue(layer)
        self._suggest()
        self.page.tell(f"Opened {path.name}.")
        self._load_next()

    def _on_model(self, found: tuple[Path, str]) -> None:
        self.page.model.take_file(*found)
        self.page.tell(f"Opened {found[0].name}.")

    def _on_load_failed(self, error: DeformregError) -> None:
        self.page.tell(str(error), problem=True)
        self._waiting = self._waiting[1:]
        self._load_next()

    def _load_next(self) -> None:
        if self._waiting and not self.loader.busy and not self.adder.busy:
            row, path = self._waiting[0]
            role = next(role for role in ROWS if self.page.rows[role] is row)
            self.page.tell(f"Reading {path.name} …")
            self.loader.start(lambda: _loading(path, role))

    def _ask_settings(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load settings", "", "Settings (*.json);;All files (*)")
        if not name:
            return
        try:
            self.page.set_settings(Settings.from_json(Path(name).read_text(encoding="utf-8")))
            self.page.tell(f"Loaded {Path(name).name}.")
        except (DeformregError, OSError, UnicodeDecodeError) as error:
            self.page.tell(str(error), problem=True)

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open result folder")
        if name:
            self.open_result(name)

    # --- layers -----------------------------------------------------------------------------------------------------

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self._offer_layers)
        self._offer_layers()

    def _on_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self._offer_layers)
        self._offer_layers()
        self.tidier.ask(event.value if event.value in self._earlier else None)
        if self.runner.busy and any(event.value == used for used in self._used.values()):
            self.cancel()
            self.page.tell(f"Canceled: the layer '{event.value.name}' was removed.")

    def _offer_layers(self, event: Any = None) -> None:
        present = list(self._viewer.layers)
        for row in self.page.rows.values():
            row.offer(present)
        self._suggest()
        if any(layers.is_placed(layer) for layer in present):
            self.result.orient()

    def _suggest(self) -> None:
        """Fill an empty fixed and moving row with the first images nobody chose: mostly what is meant, one click to change."""
        if self._waiting or self.runner.busy:
            return
        for role in ("fixed", "moving"):
            row, other = self.page.rows[role], self.page.rows["moving" if role == "fixed" else "fixed"]
            free = [layer for layer in row.offered() if layer != other.value()]
            if row.value() is None and free:
                row.setValue(free[0])


def _registration(
    start: Callable[[Inputs, Settings], Steps], inputs: Callable[[], Inputs], settings: Settings
) -> Generator[Step, Control | None, _Finished]:
    yield Step("prepare", message="taking over the layers")
    warm_up()
    outcome, picture = yield from start(inputs(), settings)
    return _Finished(outcome, picture, result_layers(picture))


def _loading(path: Path, role: str) -> Generator[Step, Any, tuple[str, LayerTuple]]:
    yield Step("read", message=path.name)
    warm_up()
    _, _, _, kind, _ = ROWS[role]
    return "layer", dressed(read_layer(path, kind), role)


def _opening(folder: Path, paths: InputPaths | None) -> Generator[Step, Any, tuple[str, Any]]:
    return "result", (yield from opening_result(folder, paths))


def _paths(used: dict[str, Any]) -> InputPaths | None:
    """Tell which files the chosen layers came from, if both images came from files."""
    found = {role: path for role, layer in used.items() if (path := layers.file_of(layer)) is not None}
    return InputPaths(**found) if {"fixed", "moving"} <= set(found) else None


def _measure_in_millimeters(used: Any) -> None:
    """Give layers without a unit the millimeters that they were taken for: napari mixes no units."""
    for layer in used:
        if all(str(unit) == "pixel" for unit in layer.units):
            layer.units = layers.UNITS
