"""Opens the files again that a reviewer had open beside the result."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from ...errors import DeformregError
from ...result import Step
from ..adding import LayerAdder, warm_up
from ..layers import LayerTuple
from ..readers import read_layer
from ..turns import Turns
from ..worker import Runner
from .desk import Desk
from .session import restore_look

Reopened = tuple[list[LayerTuple], list[str]]


class ReopenedFiles(QObject):
    """Reads files off the GUI thread, adds them as layers and gives them their looks.

    Parameters
    ----------
    desk : Desk
        Whose viewer they go to.
    """

    told = Signal(str)

    def __init__(self, desk: Desk, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._looks: dict[str, Mapping[str, Any]] = {}
        self._turns = Turns(self)
        self._reader = Runner(self)
        self._reader.succeeded.connect(self._on_read)
        self._reader.failed.connect(lambda error: self.told.emit(str(error)))
        self._adder = LayerAdder(desk.viewer, desk.dock)
        self._adder.done.connect(self._on_added)

    @property
    def busy(self) -> bool:
        """Whether files are still to come."""
        return self._reader.busy or self._adder.busy or self._turns.busy

    def open(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Open those that are not open yet; each with `file`, `kind`, `name` and `look`."""
        present = {layer.name for layer in self._desk.viewer.layers}
        wanted = [file for file in files if file["name"] not in present]
        self._looks = {str(file["name"]): file["look"] for file in wanted}
        if wanted and not self._reader.busy:
            self._reader.start(lambda: _reading(wanted))

    def stop(self) -> None:
        """Open no more."""
        self._reader.drop()
        self._adder.stop()
        self._turns.stop()

    def _on_read(self, found: Reopened) -> None:
        entries, missing = found
        if missing:
            self.told.emit("Not opened again: " + " ".join(missing))
        if entries:
            self._adder.add(entries)

    def _on_added(self, added: list[Any]) -> None:
        self._turns.run(self._dress(added))

    def _dress(self, added: list[Any]) -> Iterator[None]:
        for layer in added:
            yield from restore_look(self._desk, layer, self._looks.get(layer.name, {}))


def _reading(files: Sequence[Mapping[str, Any]]) -> Generator[Step, Any, Reopened]:
    yield Step("read", message="opening the other files again")
    warm_up()
    entries, missing = [], []
    for file in files:
        try:
            data, arguments, kind = read_layer(Path(file["file"]), str(file["kind"]))
        except DeformregError as error:
            missing.append(str(error))
        else:
            entries.append((data, {**arguments, "name": file["name"]}, kind))
        yield Step("read", message=Path(file["file"]).name)
    return entries, missing
