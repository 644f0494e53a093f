"""What a window shows of one result: the picture, its layers, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QWidget

from ..workflow import InputPaths, Outcome
from .layers import Placement
from .pictures import ResultPicture


@dataclass(frozen=True, eq=False)
class ShownResult:
    """One result as it is shown in a viewer.

    Attributes
    ----------
    picture : ResultPicture
        What is drawn, with the report.
    layers : dict of str to layer
        By part (names of `result_layers`); those that were removed from the viewer are gone from it.
    folder : Path or None
        Where it lies on disk; None while it is not saved.
    outcome : Outcome or None
        The fresh outcome in memory; None for what was read from a folder.
    paths : InputPaths or None
        Where its inputs came from, as far as it is known.
    """

    picture: ResultPicture
    layers: dict[str, Any]
    folder: Path | None = None
    outcome: Outcome | None = None
    paths: InputPaths | None = None

    @property
    def placement(self) -> Placement:
        """How the fixed grid is drawn."""
        return Placement(self.picture.displacement.grid)


def topmost(widget: QWidget) -> QWidget:
    """Return the widget at the top of a widget's parents: the window that a dock belongs to, even while it floats."""
    return list(_upwards(widget))[-1]


def _upwards(widget: QWidget | None) -> Iterator[QWidget]:
    while widget is not None:
        yield widget
        widget = widget.parentWidget()
