"""Writes on the canvas which way the patient lies, and what is seen: the words that prevent mixing up left and right, fixed and moved."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from . import compat
from .painted_ahead import paint_ahead
from .turns import Turns

_DIRECTIONS = {0: ("S", "I"), 1: ("A", "P"), 2: ("R", "L")}
_PLANES = {0: "axial", 1: "coronal", 2: "sagittal"}


class OrientationText:
    """Keeps the text up to date with the displayed plane; a text of the user's own is left alone.

    Parameters
    ----------
    viewer : napari viewer
        Whose canvas is written on.
    characters : str
        What the line below may be made of.
    """

    def __init__(self, viewer: Any, characters: str = "") -> None:
        self._viewer = viewer
        self._characters = characters
        self._following = False
        self._mine = ""
        self._below = ""
        self._turns = Turns()

    def prepare(self) -> None:
        """Paint all that will be written on the canvas once, unseen."""
        self._turns.run(paint_ahead(self._viewer, "".join(sorted({*CHARACTERS, *self._characters}))), self._write)

    def start(self) -> None:
        """Write, and follow the viewer's axes."""
        if self._following:
            return
        self._following = True
        dims = self._viewer.dims
        for event in (dims.events.order, dims.events.ndisplay, dims.events.ndim):
            event.connect(self._write)
        self._write()

    def say(self, below: str) -> None:
        """Write a line below: what is seen there."""
        if below != self._below:
            self._below = below
            self._write()

    def stop(self) -> None:
        """Follow the viewer no more."""
        self._turns.stop()
        if not self._following:
            return
        self._following = False
        dims = self._viewer.dims
        for event in (dims.events.order, dims.events.ndisplay, dims.events.ndim):
            event.disconnect(self._write)

    def _write(self, event: Any = None) -> None:
        overlay = compat.text_overlay(self._viewer)
        if not self._following or self._turns.busy or overlay.text not in ("", self._mine):
            return
        dims = self._viewer.dims
        in_plane = dims.ndisplay == 2 and dims.ndim >= 3
        plane = plane_text(tuple(axis - (dims.ndim - 3) for axis in dims.order[-3:])) if in_plane else ""
        self._mine = "\n".join(line for line in (plane, self._below) if line)
        overlay.position = "top_left"
        overlay.text = self._mine
        overlay.visible = bool(self._mine)


def plane_text(order: tuple[int, ...]) -> str:
    """Name the displayed plane and what its upper and left sides are.

    Parameters
    ----------
    order : tuple of int
        Layer axes (0 z, 1 y, 2 x): across, down and along the screen, with the camera turned up and left.
    """
    across, vertical, horizontal = order
    top, bottom = _DIRECTIONS[vertical]
    # The camera shows growing z, y, x upwards and to the left: S, A and R for RAS axes.
    left, right = _DIRECTIONS[horizontal]
    return f"{_PLANES[across]}   {left} ◂ ▸ {right}   {top} ▴ ▾ {bottom}"


CHARACTERS = "".join(sorted({character for order in permutations(range(3)) for character in plane_text(order)}))
"""All that a text may be made of."""
