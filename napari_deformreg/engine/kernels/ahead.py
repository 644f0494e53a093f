"""Loads what the first kernels of a process need while the images are being prepared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import numpy as np

from . import cpu

_LOADED = Event()


@contextmanager
def loading_kernels() -> Iterator[None]:
    """Load the kernels that every registration begins with beside what is done inside; at its end they are there.

    With the first of them numba loads most of itself, .3 s long. The thread does not live beyond the block: whoever exits or forks
    afterwards meets no thread that holds numba's lock. A process does this once.
    """
    if _LOADED.is_set():
        yield
        return
    thread = Thread(target=_load, name="deformreg-kernels")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load() -> None:
    with suppress(Exception):  # what fails here fails again where the kernel is needed, and is reported there
        image, three = np.zeros((2, 2, 2), np.float32), np.full(3, 1 / 3, np.float32)
        cpu.convolve_separable(image[None], (three, three, three))
        cpu.warp(image, np.zeros((3, 2, 2, 2), np.float32), np.eye(3), np.zeros(3), with_gradient=False)
    _LOADED.set()
