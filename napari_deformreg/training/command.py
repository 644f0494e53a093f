"""What ``deformreg train`` does: lines of progress, and an interrupt that loses nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from ..errors import Cancelled
from ..result import Step
from .progress import duration
from .run import TrainingPlan, train_steps
from .trainer import FILES, TrainingOutcome


def run_training(plan: TrainingPlan, processes: int = 1, quiet: bool = False) -> None:
    """Train, print what there is to tell, and stop at an interrupt after the step under way.

    Raises
    ------
    Cancelled
        If it was interrupted; says how to go on. A second interrupt ends at once.
    """
    steps = train_steps(plan, processes)
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one is enough to tell
    last: Step | None = None
    with _Interrupts() as interrupts:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                if leads:
                    print(_told(end.value))
                return
            last = step if step.stage == "train" else last
            if step.message and leads and not quiet:
                print(step.message, file=sys.stderr, flush=True)
            if interrupts.heard:
                steps.close()
                where = "" if last is None or not last.count else f" after step {last.index} of phase {last.level + 1}"
                raise Cancelled(f"stopped{where}; the state is saved in {plan.folder}. Go on with --resume.")


def _told(outcome: TrainingOutcome) -> str:
    best = "" if outcome.best is None else f"; best held-out {outcome.figure} {outcome.best:.4g} at step {outcome.best_step}"
    names = ", ".join(name for name in FILES if (outcome.folder / name).exists())
    return f"{outcome.steps} steps in {duration(outcome.seconds)}{best}.\nWritten to {outcome.folder}: {names}"


class _Interrupts:
    """Notes the first interrupt instead of raising it; the second one is raised as ever."""

    def __init__(self) -> None:
        self.heard = False
        self._before: Callable[[int, FrameType | None], object] | int | None = None

    def __enter__(self) -> _Interrupts:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True
        print("Stopping after this step; interrupt again to stop at once.", file=sys.stderr, flush=True)
