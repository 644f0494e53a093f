"""The loop that learns: steps of the optimizer, validation, checkpoints, curves; a generator, so that anyone may watch or stop it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..engine.models import VelocityModel
from ..engine.models.weights import save_model
from ..engine.tensors import guarded
from ..errors import EngineError
from ..result import Step
from .checkpoint import TrainingState, read_checkpoint, write_checkpoint
from .config import LossSettings, Place, TrainingConfig
from .curves import Course, Events, draw_curves
from .distributed import Group
from .objective import MATCHING, judged, truth_of
from .pairs import TrainingPair
from .prediction import Prediction, stacked
from .progress import Clock, progress_text, validation_text
from .randomness import number_from, seeded
from .validation import Held, better, deciding_figure, validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .sources import Sources

CHECKPOINT, LAST_MODEL, BEST_MODEL = "checkpoint.safetensors", "last.safetensors", "best.safetensors"

FILES = {
    CHECKPOINT: "all that `--resume` needs: weights, their average, the optimizer's moments, step",
    LAST_MODEL: "the averaged weights after the last step, as a model to register with",
    BEST_MODEL: "the averaged weights that were best on the held-out pairs",
    "config.json": "the configuration, complete",
    "curves.csv": "loss, its terms and learning rate; a row each `log_every` steps",
    "validation.csv": "figures on the held-out pairs",
    "curves.png": "both as a picture",
    "tensorboard": "both as event files, where TensorBoard is installed",
}
"""What a training folder holds."""


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended.

    Attributes
    ----------
    folder : Path
        Holds `FILES`.
    steps : int
        Steps done in all.
    figure : str
        What the best weights were chosen by; `best` is its value and `best_step` when it was reached.
    figures : dict
        Of the last validation.
    seconds : float
        Computing time over all sessions.
    """

    folder: Path
    steps: int
    figure: str
    best: float | None
    best_step: int
    figures: dict[str, float]
    seconds: float


class Trainer:
    """A training under way.

    Parameters
    ----------
    config : TrainingConfig
        What to do.
    model : VelocityModel
        Is trained in place.
    sources : Sources
        Gives the pairs of each phase.
    folder : Path
        Where everything is written; there already.
    group : Group
        The processes that train together.
    device : torch.device
        Of this process.
    """

    def __init__(
        self, config: TrainingConfig, model: VelocityModel, sources: Sources, folder: Path, group: Group, device: torch.device
    ) -> None:
        self.config, self.sources, self.folder, self.group, self.device = config, sources, folder, group, device
        self.model = model.to(device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=config.weight_decay)
        self.step, self.best_step, self.seconds = 0, 0, 0.0
        self.best: float | None = None
        self.figures: dict[str, float] = {}
        self.training, self.validation = Course(folder / "curves.csv"), Course(folder / "validation.csv")
        self._since_row: list[dict[str, float]] = []

    def resume(self) -> None:
        """Go on from the checkpoint in the folder, bit by bit as if there had been no pause."""
        state = read_checkpoint(self.folder / CHECKPOINT, self.model, self.average, self.optimizer)
        self.step, self.best, self.best_step, self.seconds = state.step, state.best, state.best_step, state.seconds
        self.training = Course.reopened(self.folder / "curves.csv", self.step)
        self.validation = Course.reopened(self.folder / "validation.csv", self.step)
        if self.validation.rows:
            self.figures = {name: value for name, value in self.validation.rows[-1].items() if name != "step"}

    def steps(self) -> Generator[Step, None, TrainingOutcome]:
        """Train to the end of the configuration.

        When the generator is closed, the state after the last whole step is saved.

        Yields
        ------
        Step
            One a step of the optimizer and one a validation pair; `message` is not empty where there is something to tell.

        Raises
        ------
        EngineError
            If the loss is not a finite number any more; the last checkpoint is kept.
        """
        self.wrapped = self.group.wrapped(self.model)
        self.events = Events(self.folder / "tensorboard", self.step) if self.group.leads else None
        clock = Clock(self.config, self.step)
        try:
            if self.events is not None and self.events.notice:
                yield Step("train", message=self.events.notice)
            yield from self._train(clock)
        except GeneratorExit:
            self._save()
            raise
        finally:
            if self.events is not None:
                self.events.close()
        figure = deciding_figure(self.config.validation.figure, self.figures) if self.figures else "loss"
        return TrainingOutcome(self.folder, self.step, figure, self.best, self.best_step, self.figures, self.seconds)

    def _train(self, clock: Clock) -> Generator[Step, None, None]:
        while self.step < self.config.steps:
            place = self.config.place(self.step)
            started = time.perf_counter()
            with guarded():
                figures = self._optimize(place)
            self.step += 1
            seconds = time.perf_counter() - started
            self.seconds += seconds
            clock.tick(place, seconds)
            self._since_row.append({**figures, "learning rate": place.learning_rate, "seconds": seconds})
            last = self.step == self.config.steps
            phase_ends = place.index == place.phase.steps - 1
            message = ""
            if phase_ends or self.step % self.config.log_every == 0:
                message = progress_text(self.config, place, self._row(), clock)
            yield clock.step(place, figures["loss"], message)
            if last or self.step % self.config.validation.every == 0:
                yield from self._validate(clock, place)
            if last or self.step % self.config.save_every == 0:
                self._save()

    def _optimize(self, place: Place) -> dict[str, float]:
        """Take one step; returns the loss, the mean of each term over the pairs that have it, and the gradient's norm."""
        config = self.config
        settings = config.loss_of(place.phase)
        share = place.batch // self.group.size // config.accumulate
        first = place.first_pair + self.group.rank * share * config.accumulate
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for entry in self.optimizer.param_groups:
            entry["lr"] = place.learning_rate
        totals = torch.zeros(1 + 2 * len(settings.weights), dtype=torch.float64, device=self.device)
        for part in range(config.accumulate):
            indices = range(first + part * share, first + (part + 1) * share)
            with self.group.unsynchronized(self.wrapped, part == config.accumulate - 1):
                totals += self._learn(place, settings, indices)
        return self._stepped(settings, self.group.summed(totals).tolist(), place.batch)

    def _learn(self, place: Place, settings: LossSettings, indices: range) -> Tensor:
        """Add the gradient of some pairs; returns sums: loss, then value and count of each term."""
        source = self.sources.training(place.number)
        pairs: list[TrainingPair] = [source.pair(index).to(self.device) for index in indices]
        fixed, moving = stacked(pairs)
        # torch's sampler crashes on positions that are no numbers, so what is not finite must be caught before it gets there.
        self._insist(bool(torch.isfinite(fixed).all() and torch.isfinite(moving).all()))
        with own_randomness(number_from(self.config.seed, "layers", indices[0]), self.device), self.autocast():
            truth = truth_of(pairs, seeded(self.config.seed, MATCHING, indices[0])) if settings.weights.get(MATCHING) else None
            levels, own_loss = self.wrapped(fixed, moving, truth)
        prediction = Prediction(fixed, moving, [level.float() for level in levels], gradient=settings.gradient)
        self._insist(bool(torch.isfinite(prediction.levels[-1]).all()))
        generators = [seeded(self.config.seed, "loss", index) for index in indices]
        loss, terms = judged(prediction, pairs, settings, generators)
        if own_loss is not None:
            loss = loss + settings.weights[MATCHING] * own_loss.float()
            terms[MATCHING] = [float(own_loss.detach())]
        self._insist(bool(torch.isfinite(loss)))
        # Every level enters, if only with zero: DistributedDataParallel waits for the gradient of each parameter that was used.
        idle = sum((level.sum() for level in prediction.levels), loss.new_zeros(()))
        torch.autograd.backward((loss + 0.0 * idle) / self.config.accumulate)
        sums = [float(loss.detach()) * len(pairs)]
        for name in settings.weights:
            values = terms.get(name, [])
            sums += [sum(values), float(len(values))]
        return torch.tensor(sums, dtype=torch.float64, device=self.device)

    def _stepped(self, settings: LossSettings, totals: list[float], pairs: int) -> dict[str, float]:
        limit = math.inf if self.config.gradient_clip is None else self.config.gradient_clip
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        self._insist(math.isfinite(norm))
        self.optimizer.step()
        self._follow()
        terms = dict(zip(settings.weights, zip(totals[1::2], totals[2::2], strict=True), strict=True))
        means = {f"term {name}": value / count for name, (value, count) in terms.items() if count}
        return {"loss": totals[0] / pairs, **means, "gradient norm": norm}

    def _insist(self, finite: bool) -> None:
        """Stop, in all processes at once, if one of them has met a number that is not finite; the weights are still those before."""
        if not self.group.summed(torch.tensor([0.0 if finite else 1.0], device=self.device)).any():
            return
        kept = self.folder / CHECKPOINT
        how = f"The checkpoint before it is kept in {kept}" if kept.exists() else "There was no checkpoint yet"
        raise EngineError(
            f"The loss of step {self.step + 1} is not a finite number. {how}. "
            "Check the images for NaN; else lower the learning rate or gradient_clip, lengthen the warm-up, or use float32."
        )

    def _follow(self) -> None:
        """Move the average towards the weights; young averages move faster, so that they forget the random start."""
        decay = min(self.config.average_decay, self.step / (self.step + 10.0))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1.0 - decay)
            for kept, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer)

    def autocast(self) -> Any:
        """Let the network compute with 16-bit numbers, if the configuration says so."""
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _row(self) -> dict[str, float]:
        """Add the means of the steps since the last row to the table."""
        names = dict.fromkeys(name for figures in self._since_row for name in figures)
        known = {name: [figures[name] for figures in self._since_row if name in figures] for name in names}
        row = {"step": float(self.step), **{name: sum(values) / len(values) for name, values in known.items()}}
        self._since_row.clear()
        self.training.add(row)
        if self.events is not None:
            self.events.add("training", row)
        return row

    def _validate(self, clock: Clock, place: Place) -> Generator[Step, None, None]:
        """Judge the averaged weights; keep them when they are the best so far. The first process does it, the others go on waiting."""
        if not self.group.leads:
            return
        settings = self.config.validation
        final = self.config.phases[-1]
        held = Held(self.sources.held_out(), self.sources.held_out_count(), self.config.loss_of(final), settings.seed)
        judge = validate(self.average, held, self.device)
        while True:
            try:
                with guarded():
                    index = next(judge)
            except StopIteration as end:
                self.figures = end.value
                break
            yield clock.validation(place, index + 1, held.count)
        name = deciding_figure(settings.figure, self.figures)
        best = better(name, self.figures[name], self.best)
        if best:
            self.best, self.best_step = self.figures[name], self.step
            self._export(BEST_MODEL)
        row = {"step": float(self.step), **self.figures}
        self.validation.add(row)
        if self.events is not None:
            self.events.add("validation", row)
        yield clock.validation(place, held.count, held.count, validation_text(self.step, self.figures, best))

    def _export(self, name: str) -> None:
        longest = max(self.config.shape_of(self.config.phases[-1]))
        data = self.config.data
        if data.kind == "synthetic" and data.view_mm is not None:
            longest = round(data.view_mm / data.spacing_mm) + 1
        notes = {"steps": self.step, "seed": self.config.seed, **{key: round(value, 6) for key, value in self.figures.items()}}
        save_model(self.average, self.folder / name, spacing_mm=self.sources.spacing_mm, longest_vox=max(longest, 16), notes=notes)

    def _save(self) -> None:
        """Write checkpoint, model, tables and picture."""
        if not self.group.leads:
            return
        if self._since_row:
            self._row()
        state = TrainingState(
            self.step, self.best, self.best_step, self.seconds, self.config.to_json(), self.model.architecture
        )
        write_checkpoint(self.folder / CHECKPOINT, state, self.model, self.average, self.optimizer)
        self._export(LAST_MODEL)
        for course in (self.training, self.validation):
            if course.rows:
                course.write()
        draw_curves(self.folder / "curves.png", self.training, self.validation)


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Let layers that draw random numbers (dropout) draw them from this seed; the caller's own random numbers are not touched."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


