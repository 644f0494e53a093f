"""How far a training is, how fast it goes and how long it will take, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ..result import Step
from .config import Place, TrainingConfig

MEMORY = 0.95
"""Of the running mean of the seconds per unit of work: some twenty steps."""


class Clock:
    """Estimates the time left from the work per step (voxels times pairs), which differs between phases."""

    def __init__(self, config: TrainingConfig, step: int) -> None:
        self._config = config
        self._done = float(step)
        self._unit: float | None = None
        self._total = sum(phase.steps * self._work(config.place_of_phase(number)) for number, phase in enumerate(config.phases))
        self._worked = sum(self._work(config.place(n)) for n in range(step))
        self._fraction = 0.0

    def _work(self, place: Place) -> float:
        return float(prod(self._config.shape_of(place.phase))) * place.batch

    def tick(self, place: Place, seconds: float) -> None:
        """Count a step."""
        work = self._work(place)
        self._worked += work
        unit = seconds / work
        # The first step compiles and allocates: it tells nothing about the next ones.
        self._unit = unit if self._unit is None or self._done < 2 else MEMORY * self._unit + (1 - MEMORY) * unit
        self._done += 1

    def seconds_per_step(self, place: Place) -> float:
        """Recent seconds a step."""
        return (self._unit or 0.0) * self._work(place)

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the rest; None at the start."""
        return None if self._unit is None else max(self._total - self._worked, 0.0) * self._unit

    def step(self, place: Place, loss: float, message: str = "") -> Step:
        """Return the sign of life of a step."""
        self._fraction = min(self._worked / self._total, 1.0)
        phases, index, count = len(self._config.phases), place.index + 1, place.phase.steps
        return Step("train", place.number, phases, index, count, loss, self._fraction, self.seconds_left, message)

    def validation(self, place: Place, index: int, count: int, message: str = "") -> Step:
        """Return the sign of life of a validation."""
        return Step("validate", place.number, len(self._config.phases), index, count, None, self._fraction, self.seconds_left, message)


def progress_text(config: TrainingConfig, place: Place, row: Mapping[str, float], clock: Clock) -> str:
    """Write a line about the last steps."""
    phase = f"phase {place.number + 1}/{len(config.phases)}  " if len(config.phases) > 1 else ""
    terms = "  ".join(f"{name.removeprefix('term ')} {value:.4g}" for name, value in row.items() if name.startswith("term "))
    left = "" if clock.seconds_left is None else f"  {duration(clock.seconds_left)} left"
    return (
        f"step {int(row['step'])}/{config.steps}  {phase}loss {row['loss']:.4g}  ({terms})  rate {row['learning rate']:.2g}  "
        f"{clock.seconds_per_step(place):.3g} s/step{left}"
    )


def validation_text(step: int, figures: Mapping[str, float], best: bool) -> str:
    """Write a line about a validation."""
    parts = []
    for name, value in figures.items():
        if not name.endswith(" before"):
            before = figures.get(f"{name} before")
            parts.append(f"{name} {value:.4g}" + ("" if before is None else f" (before {before:.4g})"))
    return f"step {step}  held-out pairs: {'  '.join(parts)}{'  best so far' if best else ''}"


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
