"""What is registered, and what a run collects on its way through the stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from ..result import Control, StageName, StartChoice, Step
from ..settings import EFFORTS, Effort, Settings
from ..space import LabelMap, LandmarkPairs, Volume
from .models.weights import TrainedModel
from .own_world import Worlds
from .prepare import canonical_labels, canonical_volume, scaled
from .tensors import Placed

SHARES: dict[StageName, tuple[float, float]] = {
    "prepare": (0.0, 0.02),
    "affine": (0.02, 0.12),
    "predict": (0.12, 0.16),
    "search": (0.16, 0.2),
    "refine": (0.2, 0.9),
    "folds": (0.9, 0.96),
    "inverse": (0.96, 1.0),
}
"""Rough part of a run's time that each stage takes on a CPU, for the progress bar."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is registered, in canonical orientation; everything is placed in the images' own worlds."""

    worlds: Worlds
    fixed: Placed
    moving: Placed
    landmarks: LandmarkPairs | None
    fixed_labels: LabelMap | None
    moving_labels: LabelMap | None


def prepared_case(
    device: torch.device, fixed: Volume, moving: Volume, settings: Settings, masks: tuple[LabelMap | None, LabelMap | None],
    landmarks: LandmarkPairs | None, labels: tuple[LabelMap | None, LabelMap | None],
) -> Case:
    """Turn everything to canonical axes and bring it into the own worlds."""
    volumes = canonical_volume(fixed), canonical_volume(moving)
    worlds = Worlds.of(volumes[0].grid, volumes[1].grid)
    sides = (worlds.fixed, worlds.moving)
    mask, label = (
        [None if given is None else own.labels(canonical_labels(given)) for own, given in zip(sides, pair, strict=True)]
        for pair in (masks, labels)
    )
    images = [scaled(own.volume(v), settings, device, m) for own, v, m in zip(sides, volumes, mask, strict=True)]
    pairs = None if landmarks is None else worlds.landmarks(landmarks)
    return Case(worlds, images[0], images[1], pairs, label[0], label[1])


@dataclass
class Run:
    """What a run collects on its way; `settings` are what the effort makes of those that it was `told`."""

    told: Settings
    settings: Settings
    device: torch.device
    model: TrainedModel | None = None
    start: StartChoice | None = None
    started: float = field(default_factory=time.perf_counter)
    history: list[Step] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    seconds: dict[StageName, float] = field(default_factory=dict)
    finish_now: bool = False

    @property
    def effort(self) -> Effort:
        """What was asked for beyond the settings' numbers."""
        return EFFORTS[self.told.effort]

    def placed(self, step: Step, part: float) -> Step:
        """Complete a step with the run's progress and time left, and keep it; `part` is the stage's own progress, 0 to 1."""
        low, high = SHARES[step.stage]
        before = self.history[-1].fraction if self.history else 0.0
        fraction = max(before, low + (high - low) * min(max(part, 0.0), 1.0))
        elapsed = time.perf_counter() - self.started
        left = elapsed * (1 - fraction) / fraction if fraction > 0.05 else None
        done = replace(step, fraction=fraction, seconds_left=left)
        self.history.append(done)
        return done

    def heed(self, control: Control | None) -> None:
        """Remember what the consumer sent."""
        self.finish_now = self.finish_now or control is Control.FINISH_NOW

    @contextmanager
    def timed(self, stage: StageName) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
