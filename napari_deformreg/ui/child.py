"""The other end of `process`: runs one generator of Steps in a process of its own. Imports no Qt."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from typing import IO, Any

from ..errors import DeformregError
from ..result import Control, Step
from .pipe import receive, send

NICENESS = 5
"""The window must win where both want the processor."""


def main() -> None:
    """Receive a generator function and its arguments on stdin; send its steps and its value, or its error, to stdout."""
    out = message_stream()
    work, arguments = receive(sys.stdin.buffer)
    finish = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, finish), daemon=True).start()
    _run(work, arguments, finish, out)
    out.flush()
    os._exit(0)


def message_stream() -> IO[bytes]:
    """Keep stdout for messages, and let the window have the processor first; for a process that has just begun."""
    out = os.fdopen(os.dup(1), "wb")
    # Whatever libraries print must not end up between our messages.
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    return out


def _listen(stream: IO[bytes], finish: threading.Event) -> None:
    """Take controls; end this process when the other one is gone."""
    try:
        while receive(stream) is Control.FINISH_NOW:
            finish.set()
    finally:
        os._exit(1)


def _run(
    work: Callable[..., Generator[Step, Control | None, Any]], arguments: tuple[Any, ...], finish: threading.Event, out: IO[bytes]
) -> None:
    try:
        steps = work(*arguments)
        control: Control | None = None
        while True:
            send(out, ("step", steps.send(control)))
            control = Control.FINISH_NOW if finish.is_set() else None
            finish.clear()
    except StopIteration as end:
        send(out, ("value", end.value))
    except DeformregError as error:
        send(out, ("error", error))
    except BaseException as error:
        traceback.print_exc()
        send(out, ("crash", f"{type(error).__name__}: {error}"))
