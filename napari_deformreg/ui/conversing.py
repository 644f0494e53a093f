"""The other end of `conversation`: answers one request after the other in a process of its own. Imports no Qt."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from typing import IO, Any

from ..errors import DeformregError
from .child import message_stream
from .pipe import receive, send


def main() -> None:
    """Receive (number, what, arguments) on stdin; send (number, kind, value) to stdout.

    The first request makes the partner: `what` is its class. Every later one names a method of it.
    """
    out = message_stream()
    requests: queue.Queue[tuple[int, Any, tuple[Any, ...]]] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    partner = None
    while True:
        number, what, arguments = requests.get()
        kind, value = _answer(what if partner is None else getattr(partner, what), arguments)
        if partner is None and kind == "value":
            partner, value = value, None
        send(out, (number, kind, value))


def _listen(stream: IO[bytes], requests: queue.Queue[tuple[int, Any, tuple[Any, ...]]]) -> None:
    """Take requests; end this process when the other one is gone, whatever is being computed."""
    try:
        while True:
            requests.put(receive(stream))
    finally:
        os._exit(0)


def _answer(call: Any, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "value", call(*arguments)
    except DeformregError as error:
        return "error", error
    except Exception as error:
        traceback.print_exc()
        return "crash", f"{type(error).__name__}: {error}"
