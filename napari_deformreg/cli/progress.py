"""Progress on a terminal or in a log, and interrupts that cancel."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from ..result import Control, Step

T = TypeVar("T")


def watched(steps: Generator[Step, Control | None, T], quiet: bool) -> T:
    """Run steps to their end with a line of progress on stderr; an interrupt closes the generator, which writes nothing."""
    line = ProgressLine(sys.stderr, quiet)
    try:
        while True:
            line.show(next(steps))
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        line.end()
        steps.close()


class ProgressLine:
    """One line that is written over on a terminal; elsewhere (a log) one line a stage and level."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self._terminal = stream.isatty()
        self._place: tuple[str, int] | None = None
        self._last, self._width = 0.0, 0

    def show(self, step: Step) -> None:
        """Show a step; on a terminal at most ten times a second."""
        moved_on = (step.stage, step.level) != self._place
        if self._quiet or not (moved_on or (self._terminal and time.monotonic() - self._last > 0.1)):
            return
        self._place, self._last = (step.stage, step.level), time.monotonic()
        text = step_text(step)
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line as it is and go to the next one."""
        if self._terminal and self._place is not None and not self._quiet:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()


def step_text(step: Step) -> str:
    """Write a step for people: how far, which stage, level, step, loss, time left."""
    parts = [f"{100 * step.fraction:3.0f} %", step.stage]
    if step.levels > 1:
        parts.append(f"level {step.level + 1}/{step.levels}")
    if step.count > 0:
        parts.append(f"step {step.index}/{step.count}")
    if step.loss is not None:
        parts.append(f"loss {step.loss:.4f}")
    if step.seconds_left is not None and step.seconds_left > 0:
        parts.append(f"{step.seconds_left:.0f} s left")
    if step.message and step.count == 0:
        parts.append(step.message)
    return "  ".join(parts)
