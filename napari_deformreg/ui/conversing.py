"""The other end of `conversation`: answers one request after the other in a process of its own. Imports no Qt."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from typing import IO, Any

from ..errors import DeformregError
from .child import message_stream
from .pipe import receive, send


def main() -> None:
    """Receive (number, what, arguments) on stdin; send (number, kind, value) to stdout.

    The first request makes the partner: `what` is its class. Every later one names a method of it;
    what that yields, if it is a generator, is sent ahead of its value as parts.
    """
    out = message_stream()
    requests: queue.Queue[tuple[int, Any, tuple[Any, ...]]] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    partner = None
    while True:
        number, what, arguments = requests.get()
        for kind, value in _answers(what if partner is None else getattr(partner, what), arguments):
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


def _answers(call: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the one answer, and before it the parts that a generator tells ahead."""
    try:
        value = call(*arguments)
        if isinstance(value, Generator):
            value = yield from _parts(value)
        yield "value", value
    except DeformregError as error:
        yield "error", error
    except Exception as error:
        traceback.print_exc()
        yield "crash", f"{type(error).__name__}: {error}"


def _parts(steps: Generator[Any, None, Any]) -> Generator[tuple[str, Any], None, Any]:
    while True:
        try:
            part = next(steps)
        except StopIteration as stop:
            return stop.value
        yield "part", part
