"""Paints what is written on the canvas once ahead, unseen: a text's first painting takes napari more than a tenth of a second.

It builds a program for the graphics card and paints each character at great size. Done while the dock opens, a piece per turn of the event
loop, it is not in the way when the first image or result appears.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from . import compat
from .adding import warm_up
from .canvas_rest import at_rest

SCALE_CHARACTERS = "0123456789 mµcn"
"""Of a scale bar."""


def paint_ahead(viewer: Any, characters: str) -> Iterator[None]:
    """Paint these characters and a scale bar, a piece per turn; what the user shows there already is left alone."""
    thread = Thread(target=warm_up, daemon=True)
    thread.start()
    while thread.is_alive():
        yield
    text = compat.text_overlay(viewer)
    if not text.text:
        yield from _paint_text(text, "".join(dict.fromkeys(characters + SCALE_CHARACTERS)))
    bar = compat.scale_bar(viewer)
    if not bar.visible:
        while at_rest():
            yield
        with _unseen(bar):
            yield
            yield  # One turn of the event loop may pass before the canvas paints.


def _paint_text(overlay: Any, characters: str) -> Iterator[None]:
    with _unseen(overlay):
        try:
            for count in range(1, len(characters) + 1):
                # Growing, so that none is left out where one painting serves two turns.
                overlay.text = characters[:count]
                yield
                while at_rest():
                    yield
                if overlay.text != characters[:count]:
                    return  # The user wrote something meanwhile.
            yield
        finally:
            if characters.startswith(overlay.text):
                overlay.text = ""


@contextmanager
def _unseen(overlay: Any) -> Iterator[None]:
    """Draw an overlay without anybody seeing it, and leave it as it was."""
    opacity, visible = overlay.opacity, overlay.visible
    overlay.opacity, overlay.visible = 0.0, True
    try:
        yield
    finally:
        overlay.opacity, overlay.visible = opacity, visible
