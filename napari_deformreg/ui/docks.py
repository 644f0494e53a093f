"""What napari's menu opens: docks that are there at once and fill themselves in pieces, so that the window answers while they load.

What a dock needs is imported by a thread, for a second of processor time; then its parts are made, one per turn of the event loop. This
module itself imports next to nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from . import garbage
from .dock_life import DockLife
from .turns import Turns

if TYPE_CHECKING:
    import napari


class _Opening(QWidget):
    """Holds the place of a dock until it is there, and then the dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given to the dock.
    """

    source: ClassVar[tuple[str, str]]
    """Module and class of the dock; the class has a ``pieces`` that makes it piece by piece."""

    opened = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer: Any = viewer
        self._life = DockLife(self)
        self._life.closed.connect(self.shut_down)
        self.inside: Any | None = None
        """The dock, once it is there."""
        self._waiting = QLabel("Loading …")
        self._waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        # Or napari fills the column up with empty space, which would stay above the dock.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._column.addWidget(self._waiting)
        self._turns = Turns(self)
        pieces = self._open()
        self.destroyed.connect(lambda: pieces.close())  # The window may go first.
        self._turns.run(pieces, self._tell)

    @property
    def busy(self) -> bool:
        """Whether the dock is still to come."""
        return self._turns.busy

    def shut_down(self) -> None:
        """Stop everything, be the dock there or not."""
        if not self._life.end():
            return
        self._turns.stop()
        if self.inside is not None:
            self.inside.shut_down()

    def _open(self) -> Generator[None, None, None]:
        module, name = self.source
        # So many new objects would make Python look through all of them again and again.
        with garbage.put_off():
            thread = Thread(target=_load, args=(module,), daemon=True)
            thread.start()
            while thread.is_alive():
                yield
            dock = yield from getattr(importlib.import_module(module), name).pieces(self._viewer)
            garbage.set_aside()
        yield
        self._waiting.hide()
        self.inside = dock
        self._column.addWidget(dock)

    def _tell(self) -> None:
        if self.inside is None:
            self._waiting.setText("This dock could not be loaded; napari's notifications say why.")
        else:
            self.opened.emit()


class RegisterOpening(_Opening):
    """Opens the Register dock."""

    source = ("napari_deformreg.ui.register_dock", "RegisterDock")


class ReviewOpening(_Opening):
    """Opens the Review dock."""

    source = ("napari_deformreg.ui.review_dock", "ReviewDock")


class LandmarksOpening(_Opening):
    """Opens the Landmarks dock."""

    source = ("napari_deformreg.ui.landmarks_dock", "LandmarksDock")


class OrthogonalOpening(_Opening):
    """Opens the Orthogonal views."""

    source = ("napari_deformreg.ui.orthogonal_dock", "OrthogonalDock")


def _load(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception:
        return  # It is imported once more by the GUI thread, which can tell of it.
