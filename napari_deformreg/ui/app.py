"""Opening the window from outside napari: on a result folder, or off-screen as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io import open_result_folder
from ..workflow import InputPaths
from .register_dock import RegisterDock
from .review_dock import ReviewDock

WINDOW_SIZE = (1500, 950)
"""Leaves the images the larger part beside layer list and docks."""

WORKERS_END_MS = 5000
"""A thread whose window was closed stops within a tenth of a second; longer than this nobody waits for one."""


def view_result(folder: str | Path, paths: InputPaths | None = None) -> None:
    """Open napari on a result folder, with the Register dock beside it; returns when the window is closed.

    Parameters
    ----------
    folder : path
        The result folder.
    paths : InputPaths, optional
        Where the inputs are; as noted in the folder when left out.

    Raises
    ------
    InputError
        If it is not a result folder.
    """
    import napari

    open_result_folder(folder)  # Says what is wrong with it before a window opens.
    viewer = napari.Viewer(title=f"{Path(folder).name}: registration result")
    enlarge_window(viewer)
    build_result_viewer(viewer, folder, paths)
    napari.run()
    _let_workers_end()


def build_result_viewer(viewer: Any, folder: str | Path, paths: InputPaths | None = None) -> RegisterDock:
    """Show a result folder in a viewer, with the Register dock, which opens it while the window is there already, and the Review dock."""
    dock = RegisterDock(viewer)
    viewer.window.add_dock_widget(ReviewDock(viewer), name="Review", area="right", tabify=True)
    viewer.window.add_dock_widget(dock, name="Register", area="right", tabify=True)
    dock.open_result(folder, paths)
    return dock


def enlarge_window(viewer: Any) -> None:
    """Make a window as large as `WINDOW_SIZE`, or as the screen where that is smaller; a larger one stays as it is."""
    from qtpy.QtWidgets import QApplication

    screen = QApplication.primaryScreen().availableGeometry()
    _, _, width, height = viewer.window.geometry()
    viewer.window.resize(max(width, min(WINDOW_SIZE[0], screen.width())), max(height, min(WINDOW_SIZE[1], screen.height())))


def screenshot_result(folder: str | Path, png: str | Path, paths: InputPaths | None = None) -> None:
    """Render the window that `view_result` opens to a PNG file; needs a display, be it Xvfb."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(title=f"{Path(folder).name}: registration result", show=True)
    try:
        enlarge_window(viewer)
        dock = build_result_viewer(viewer, folder, paths)
        shown: list[bool] = []
        dock.result.shown.connect(lambda: shown.append(True))
        while dock.busy:
            QApplication.processEvents()
        if not shown:
            raise InputError(dock.page.message.text())
        dock.result.controls.toggles["displacement"].setChecked(True)
        _settle()
        viewer.reset_view()
        _settle()
        viewer.screenshot(str(png), canvas_only=False, flash=False)
    finally:
        viewer.close()
        _let_workers_end()


def _let_workers_end() -> None:
    """Wait for the threads that a closed window has told to stop; one that outlived Qt's objects would abort the program."""
    from qtpy.QtCore import QThreadPool

    QThreadPool.globalInstance().waitForDone(WORKERS_END_MS)


def _settle(milliseconds: int = 400) -> None:
    """Let timers and painting happen."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec_()
