"""Keeps Python's full garbage collections short while something of ours is under way.

With napari loaded there are some 400 000 objects, and looking at all of them takes a quarter of a second in which the window does not
answer. Objects that exist when work begins are set aside (a matter of microseconds) and come back when it ends; what is made meanwhile is
collected as always.
"""

from __future__ import annotations

import gc

_open = 0


def set_aside() -> None:
    """Leave the present objects out of collections; each call needs one `bring_back`. GUI thread only."""
    global _open
    _open += 1
    gc.freeze()


def bring_back() -> None:
    """Undo one `set_aside`; the last one lets all objects be collected again."""
    global _open
    _open -= 1
    if _open == 0:
        gc.unfreeze()
