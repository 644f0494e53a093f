"""Runs long work in a process of its own, so that the window never waits for it.

A thread is not enough: importing torch, loading compiled kernels, and every library call that keeps Python's lock would freeze the window
for up to a second at a time. A process can also be stopped at once, in the middle of anything, and gives all its memory back.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

from ..errors import DeformregError, EngineError
from ..result import Control, Step
from .pipe import receive, send

PATIENCE_SECONDS = 0.1
"""How often the generator gives its consumer a chance to close it while nothing comes."""

Steps = Generator[Step, Control | None, Any]


def in_process(work: Callable[..., Steps], *arguments: Any) -> Steps:
    """Run ``work(*arguments)`` in a process; its steps come out here, controls go in, closing this generator kills it.

    Parameters
    ----------
    work : generator function
        Importable by its name; it and its module must not need Qt.
    *arguments
        Sent to it; they and what it returns must be picklable.

    Raises
    ------
    DeformregError
        What `work` raised.
    EngineError
        If the process died or could not be started.
    """
    step = Step("prepare", message="starting the engine")
    yield step
    child = start_child("child")
    try:
        messages: queue.Queue[tuple[str, Any]] = queue.Queue()
        threading.Thread(target=_deliver, args=(child, (work, arguments), messages), daemon=True).start()
        while True:
            try:
                kind, value = messages.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                kind, value = "step", step
            if kind == "value":
                return value
            if kind != "step":
                raise _error(kind, value)
            step = value
            if (yield step) is Control.FINISH_NOW:
                send(child.stdin, Control.FINISH_NOW)
    finally:
        _stop(child)


def start_child(module: str) -> Any:
    """Start the ``main`` of a module of this room in a process of its own.

    Raises
    ------
    EngineError
        If no process can be started.
    """
    # The same search path as here, and nothing of the user's own main script: multiprocessing would run that again.
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__package__}.{module} import main; main()"
    try:
        return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise EngineError(f"Cannot start a process for the computation with {sys.executable}: {error}. Check the installation.") from error


def _deliver(child: Any, task: Any, messages: queue.Queue[tuple[str, Any]]) -> None:
    """Send the task and put all that comes back into the queue; the last message says how it ended."""
    try:
        send(child.stdin, task)
        kind = "step"
        while kind == "step":
            kind, value = receive(child.stdout)
            messages.put((kind, value))
    except (EOFError, OSError, ValueError):
        messages.put(("crash", "the process ended"))
    except Exception as error:
        messages.put(("crash", f"{type(error).__name__}: {error}"))


def _error(kind: str, value: Any) -> DeformregError:
    if kind == "error" and isinstance(value, DeformregError):
        return value
    return EngineError(f"The computation stopped unexpectedly ({value}). Perhaps there was too little memory; the console says more.")


def _stop(child: Any) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        try:
            stream.close()
        except OSError:
            continue  # Something unsent for a process that is gone.
