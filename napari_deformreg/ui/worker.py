"""Runs a generator of Steps off the GUI thread: progress, cancel, early finish, errors as values.

superqt's generator worker loses a RuntimeError (no ``errored``, no ``finished``; a dock would wait for ever) and never closes a generator
it aborts. So the generator is driven by one of ours that catches everything, closes what it drives, and returns how it ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from ..errors import DeformregError
from ..result import Control, Step

UPDATE_SECONDS = 0.1
"""Shortest time between two progress updates: the eye needs no more than ten a second."""

ABANDON_SECONDS = 0.7
"""A canceled run that has not stopped by then is left to end on its own, so that Cancel always works within a second."""

Steps = Generator[Step, Control | None, Any]

_log = logging.getLogger(__name__)

_running: WeakSet[Runner] = WeakSet()


def anything_runs() -> bool:
    """Tell whether any dock's runner has work under way."""
    return bool(_running)


@dataclass(frozen=True, eq=False)
class _Ended:
    value: Any = None
    error: DeformregError | None = None
    canceled: bool = False


@dataclass(frozen=True, eq=False)
class _Wishes:
    """What the GUI thread wants of a running generator."""

    cancel: threading.Event
    finish: threading.Event

    def take_control(self) -> Control | None:
        """Return the control to send into the generator, once."""
        if not self.finish.is_set():
            return None
        self.finish.clear()
        return Control.FINISH_NOW


def _drive(start: Callable[[], Steps], wishes: _Wishes) -> Generator[Step, None, _Ended]:
    """Run the generator that `start` makes; yield some of its steps; never raise."""
    try:
        steps = start()
        try:
            return (yield from _throttled(steps, wishes))
        finally:
            steps.close()
    except DeformregError as error:
        return _Ended(error=error)
    except Exception as error:
        _log.exception("A run failed unexpectedly.")
        return _Ended(error=_unexpected(error))


def _throttled(steps: Steps, wishes: _Wishes) -> Generator[Step, None, _Ended]:
    shown_at = 0.0
    control: Control | None = None
    while not wishes.cancel.is_set():
        try:
            step = steps.send(control)
        except StopIteration as end:
            return _Ended(value=end.value)
        control = wishes.take_control()
        now = time.monotonic()
        if now - shown_at >= UPDATE_SECONDS:
            shown_at = now
            yield step
    return _Ended(canceled=True)


def _unexpected(error: Exception) -> DeformregError:
    wrapped = DeformregError(
        f"The run stopped unexpectedly: {type(error).__name__}: {error}. Please report it, with the log of the console."
    )
    wrapped.__cause__ = error
    return wrapped


class Runner(QObject):
    """Runs one generator of Steps at a time.

    Signals are delivered on the GUI thread; exactly one of `succeeded`, `failed` and `canceled` ends a run.
    """

    stepped = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    canceled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._wishes: _Wishes | None = None
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._abandon)

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._worker is not None

    def start(self, start: Callable[[], Steps]) -> None:
        """Run the generator that `start` makes; both the call and the generator run off the GUI thread."""
        if self.busy:
            raise DeformregError("A run is under way already; cancel it first.")
        wishes = _Wishes(threading.Event(), threading.Event())
        worker = create_worker(_drive, start, wishes, _start_thread=False)
        worker.yielded.connect(self._on_step)
        worker.returned.connect(self._on_end)
        worker.aborted.connect(self._on_abort)
        # The window may be destroyed at any time; the thread must then stop, and must not be told by a method of a dead object.
        self.destroyed.connect(wishes.cancel.set)
        self._worker, self._wishes = worker, wishes
        _running.add(self)
        worker.start()

    def finish_now(self) -> None:
        """Ask the run to go on with the best it has."""
        if self._wishes is not None:
            self._wishes.finish.set()

    def cancel(self) -> None:
        """Stop the run; `canceled` follows within a second whatever the run is doing."""
        if self._wishes is None or self._wishes.cancel.is_set():
            return
        self._wishes.cancel.set()
        self._patience.start(int(1000 * ABANDON_SECONDS))

    def drop(self) -> None:
        """Stop the run without a word: for a window that goes away."""
        if self._wishes is not None:
            self._wishes.cancel.set()
        self._release()

    def _release(self) -> None:
        self._patience.stop()
        worker, self._worker, self._wishes = self._worker, None, None
        _running.discard(self)
        if worker is not None:
            worker.yielded.disconnect(self._on_step)
            worker.returned.disconnect(self._on_end)
            worker.aborted.disconnect(self._on_abort)

    def _on_step(self, step: Step) -> None:
        if self._wishes is not None and not self._wishes.cancel.is_set():
            self.stepped.emit(step)

    def _on_end(self, ended: _Ended) -> None:
        canceled = ended.canceled or (self._wishes is not None and self._wishes.cancel.is_set())
        self._release()
        if canceled:
            self.canceled.emit()
        elif ended.error is not None:
            self.failed.emit(ended.error)
        else:
            self.succeeded.emit(ended.value)

    def _on_abort(self) -> None:
        """Answer napari, which stopped the thread, because the window closes."""
        if self._wishes is not None:
            self._wishes.cancel.set()
        self._release()
        self.canceled.emit()

    def _abandon(self) -> None:
        if self.busy:
            self._release()
            self.canceled.emit()
