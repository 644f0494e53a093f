"""Talks with one object in a process of its own, which keeps its state: requests go in, answers come out, the window never waits.

`process` runs one piece of work and ends; here the other side stays, for what is expensive to prepare and quick to ask again.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from ..errors import DeformregError, EngineError
from .pipe import receive, send
from .process import start_child

POLL_MS = 5
"""How often answers are looked for while some are awaited. Looking costs microseconds, and no thread has to know a widget."""


@dataclass(frozen=True)
class _Awaited:
    """Who gets an answer: its value, its error, and what is told ahead of the value."""

    then: Callable[[Any], Any]
    failed: Callable[[DeformregError], Any]
    ahead: Callable[[Any], Any]


class Conversation(QObject):
    """A partner in another process.

    Parameters
    ----------
    partner : class
        Importable by its name; it and its module must not need Qt. It is made on the other side, on first use.
    """

    ended = Signal(object)
    """The other side is gone, with the error to show; the next request starts a new one."""

    def __init__(self, partner: Callable[[], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._partner = partner
        self._line: _Line | None = None
        self._awaited: dict[int, _Awaited] = {}
        self._number = 0
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._look)

    @property
    def busy(self) -> bool:
        """Whether answers are awaited."""
        return bool(self._awaited)

    def ask(
        self, method: str, *arguments: Any, then: Callable[[Any], Any], failed: Callable[[DeformregError], Any],
        ahead: Callable[[Any], Any] | None = None,
    ) -> None:
        """Call a method of the partner; `then` gets its value, `failed` its error, in a later turn of the event loop.

        `ahead` gets what the method, if it is a generator, yields before it is done.
        """
        if self._line is None:
            self._line = _Line()
            self._send(self._partner, (), _Awaited(_ignored, _ignored, _ignored))
        self._send(method, arguments, _Awaited(then, failed, ahead or _ignored))
        self._timer.start()

    def stop(self) -> None:
        """End the other side at once; nothing that was asked is answered any more."""
        self._timer.stop()
        self._awaited.clear()
        line, self._line = self._line, None
        if line is not None:
            line.cut()

    def _send(self, what: Any, arguments: tuple[Any, ...], awaited: _Awaited) -> None:
        assert self._line is not None
        self._number += 1
        self._awaited[self._number] = awaited
        self._line.outgoing.put((self._number, what, arguments))

    def _look(self) -> None:
        """Hand out the answers that have come."""
        line = self._line
        while line is not None and line is self._line:
            try:
                number, kind, value = line.incoming.get_nowait()
            except queue.Empty:
                break
            if number == 0:
                self._on_end(value)
                return
            if kind == "part":
                self._awaited[number].ahead(value)
                continue
            awaited = self._awaited.pop(number)
            if kind == "value":
                awaited.then(value)
            else:
                awaited.failed(_error(kind, value))
        if not self._awaited:
            self._timer.stop()

    def _on_end(self, said: str) -> None:
        awaited, error = list(self._awaited.values()), _error("crash", said)
        self.stop()
        for one in awaited:
            one.failed(error)
        self.ended.emit(error)


class _Line:
    """The process and the two threads that write to it and read from it."""

    def __init__(self) -> None:
        self.outgoing: queue.Queue[Any] = queue.Queue()
        self.incoming: queue.Queue[tuple[int, str, Any]] = queue.Queue()
        self._child: subprocess.Popen[bytes] | None = None
        self._cut = threading.Event()
        self._starting = threading.Lock()
        threading.Thread(target=self._write, daemon=True).start()

    def cut(self) -> None:
        self._cut.set()
        self.outgoing.put(None)
        with self._starting:
            if self._child is not None:
                self._child.kill()

    def _write(self) -> None:
        """Start the process and write what is to be sent, off the GUI thread: images take a while."""
        try:
            with self._starting:
                if self._cut.is_set():
                    return
                child = self._child = start_child("conversing")
            threading.Thread(target=self._read, args=(child,), daemon=True).start()
            while (request := self.outgoing.get()) is not None:
                send(child.stdin, request)
        except (OSError, ValueError):
            return  # The reader tells that the process is gone.
        except Exception as error:
            self.incoming.put((0, "crash", f"{type(error).__name__}: {error}"))

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        try:
            while True:
                self.incoming.put(receive(child.stdout))  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError):
            self.incoming.put((0, "crash", "the process ended"))
        except Exception as error:
            self.incoming.put((0, "crash", f"{type(error).__name__}: {error}"))
        finally:
            self._close(child)

    def _close(self, child: subprocess.Popen[bytes]) -> None:
        self.outgoing.put(None)
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                continue  # Something unsent for a process that is gone.


def _ignored(value: Any) -> None:
    """Take an answer that nobody waits for."""


def _error(kind: str, value: Any) -> DeformregError:
    if kind == "error" and isinstance(value, DeformregError):
        return value
    return EngineError(f"The correction stopped unexpectedly ({value}). Perhaps there was too little memory; the console says more.")
