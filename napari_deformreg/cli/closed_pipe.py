"""The reader of our output may leave early (``deformreg … | head``): the program then ends quietly, as other Unix tools do."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

CLOSED_PIPE = 141
"""Exit code: what shells report of a program that SIGPIPE ended (128 + 13)."""


@contextmanager
def quiet_at_closed_pipe() -> Generator[None, None, None]:
    """End with `CLOSED_PIPE` and without a word when nobody reads stdout or stderr any more; another broken pipe is an error as before."""
    try:
        try:
            yield
        finally:
            # Now, not when the interpreter ends: there nothing could be done about it.
            sys.stdout.flush()
    except BrokenPipeError:  # never on Windows, which calls it an invalid argument and has no select.poll
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not closed:
            raise
        for stream in closed:
            # What is still held back for it goes nowhere, or the interpreter would complain of it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(CLOSED_PIPE) from None


def _is_closed(stream: TextIO) -> bool:
    """Tell whether nobody reads the stream's pipe; asked of the system, as a flush that failed has thrown away what it could not write."""
    asked = select.poll()
    asked.register(stream, 0)
    return any(what & (select.POLLERR | select.POLLHUP) for _, what in asked.poll(0))
