"""Writes on the canvas which way the patient lies: the one word that prevents mixing up left and right."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

from . import compat
from .turns import Turns

_DIRECTIONS = {0: ("S", "I"), 1: ("A", "P"), 2: ("R", "L")}
_UNSEEN = (0.0, 0.0, 0.0, 0.0)

_written: set[str] = set()
"""Characters that were drawn already: napari paints each new one at great size first, which takes some 10 ms."""

_PLANES = {0: "axial", 1: "coronal", 2: "sagittal"}


class OrientationText:
    """Keeps the text up to date with the displayed plane; a text of the user's own is left alone."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._following = False
        self._mine = ""
        self._turns = Turns()

    def start(self) -> None:
        """Write, and follow the viewer's axes."""
        if self._following:
            return
        self._following = True
        dims = self._viewer.dims
        for event in (dims.events.order, dims.events.ndisplay, dims.events.ndim):
            event.connect(self._write)
        self._write()

    def stop(self) -> None:
        """Follow the viewer no more."""
        if not self._following:
            return
        self._following = False
        self._turns.stop()
        self._show(compat.text_overlay(self._viewer))
        dims = self._viewer.dims
        for event in (dims.events.order, dims.events.ndisplay, dims.events.ndim):
            event.disconnect(self._write)

    def _write(self, event: Any = None) -> None:
        overlay = compat.text_overlay(self._viewer)
        if overlay.text not in ("", self._mine):
            return
        dims = self._viewer.dims
        in_plane = dims.ndisplay == 2 and dims.ndim >= 3
        text = plane_text(tuple(axis - (dims.ndim - 3) for axis in dims.order[-3:])) if in_plane else ""
        overlay.position = "top_left"
        overlay.visible = bool(text)
        self._turns.run(self._type(overlay, text))

    def _type(self, overlay: Any, text: str) -> Iterator[None]:
        """Write a text; before the first one all characters are painted unseen, one per turn of the event loop."""
        for character in CHARACTERS if text else ():
            if character not in _written:
                _written.add(character)
                overlay.color = _UNSEEN
                self._put(overlay, character)
                yield
                if overlay.text != self._mine:
                    self._show(overlay)
                    return  # The user wrote something meanwhile.
        self._put(overlay, text)
        self._show(overlay)

    def _show(self, overlay: Any) -> None:
        if overlay.color is not None and tuple(overlay.color) == _UNSEEN:
            overlay.color = None

    def _put(self, overlay: Any, text: str) -> None:
        self._mine = text
        overlay.text = text


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


CHARACTERS = sorted({character for order in permutations(range(3)) for character in plane_text(order)})
"""All that a text may be made of."""
