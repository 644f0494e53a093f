"""Reads a result folder off the GUI thread, up to layers that are ready to be added."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from ..result import Control, Step
from ..settings import Settings
from ..workflow import InputPaths
from .adding import warm_up
from .layers import LayerTuple
from .pictures import ResultPicture
from .process import in_process
from .result_layers import result_layers
from .work import opening

Opened = tuple[Path, ResultPicture, list[LayerTuple], Settings]


def opening_result(folder: Path, paths: InputPaths | None) -> Generator[Step, Control | None, Opened]:
    """Read a result folder in a process of its own; its inputs are where it notes them, or at `paths`."""
    yield Step("read", message=folder.name)
    warm_up()
    found, picture, settings = yield from in_process(opening, folder, paths)
    return found, picture, result_layers(picture), settings
