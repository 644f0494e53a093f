"""Sends objects through a pipe between two of our own processes: pickles, with large arrays beside them instead of in them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import IO, Any

_COUNT = struct.Struct("<Q")


def send(stream: IO[bytes], thing: Any) -> None:
    """Write one object; returns when it is through."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    parts: Sequence[memoryview] = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    stream.write(_COUNT.pack(len(parts)))
    for part in parts:
        stream.write(_COUNT.pack(part.nbytes))
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one object; it must come from a process that we started ourselves, for pickles can do anything.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    head, *buffers = [_exactly(stream, _COUNT.unpack(_exactly(stream, _COUNT.size))[0]) for _ in range(_count(stream))]
    return pickle.loads(head, buffers=buffers)


def _count(stream: IO[bytes]) -> int:
    return int(_COUNT.unpack(_exactly(stream, _COUNT.size))[0])


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("The other process ended.")
        done += count
    return data
