"""Runs a compiled kernel over slabs of the first axis on several threads.

numba's own ``parallel=True`` aborts the process when two Python threads enter it at once (its default threading layer is not thread-safe),
and a napari user may well start two registrations. Kernels compiled with ``nogil=True`` on our own threads have no such trap.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import numpy as np

SMALL = 250_000
"""Numbers in the largest array of a call up to which it has one thread: a kernel over a slice is done before a second one is awake."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=thread_count(), thread_name_prefix="deformreg")


def thread_count() -> int:
    """Tell how many threads a kernel may use: ``OMP_NUM_THREADS`` if set, else the cores this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def run_slabs(kernel: Callable[..., Any], length: int, *args: Any) -> list[Any]:
    """Call ``kernel(first, stop, *args)`` so that the ranges cover ``range(length)`` once, in parallel; return what each call returned.

    The kernel must release the GIL and write only to what its range owns. Ranges come in order.
    """
    size = max((arg.size for arg in args if isinstance(arg, np.ndarray)), default=SMALL + 1)
    count = 1 if size <= SMALL else min(thread_count(), max(length, 1))
    if count == 1:
        return [kernel(0, length, *args)]
    edges = [length * part // count for part in range(count + 1)]
    # The calling thread takes the first range itself: to wake one thread less matters where a kernel runs for a tenth of a millisecond.
    jobs = [_pool().submit(kernel, edges[part], edges[part + 1], *args) for part in range(1, count)]
    try:
        first = kernel(edges[0], edges[1], *args)
    finally:
        wait(jobs)  # even where the first range raises: nobody may still write to what the caller then lets go of
    return [first, *(job.result() for job in jobs)]
