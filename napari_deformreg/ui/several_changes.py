"""Several changes of one Vectors layer as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def changed_at_once(layer: Any, extent: bool = True) -> Iterator[None]:
    """Let a layer take several changes, and draw it anew once; each alone would draw all of its vectors.

    Nobody else is told of them. The thumbnail stays as it is: it would take five times as long as all the rest.

    Parameters
    ----------
    layer : napari layer
        Which one.
    extent : bool
        Whether it may reach farther than other layers do: napari then asks all layers how far they reach, and compares.
    """
    layer.refresh = lambda *_, **__: None
    try:
        with layer.events.blocker_all():
            yield
    finally:
        del layer.refresh
    layer.refresh(thumbnail=False, highlight=False, extent=extent)
