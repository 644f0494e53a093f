"""What a training is told: one frozen JSON file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SettingsError

Positive = Annotated[int, Field(ge=1)]
Shape = Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LossSettings(_Frozen):
    """What a pair is judged by: a weighted sum; a term that a pair has no truth for is left out for that pair."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = {"velocity": 1.0}
    """Name of a term -> weight. `velocity` is the regression of the known velocity, `matching` what the model's own parts lose
    where it is known (matching_pyramid: telling near voxels apart); the other names are those of the loss table."""
    options: dict[str, dict[str, Any]] = {}
    """Name of a term -> its own arguments, for example {"lncc": {"radius": 4}}."""
    velocity_norm: Literal["endpoint", "squared"] = "endpoint"
    """Regression by the mean length of the error, or by its mean square; in voxels of each level."""
    labels_per_step: Positive = 8
    """How many structures, drawn anew for each pair, enter the overlap term."""
    overlap_without_velocity_only: bool = False
    """Whether the overlap term is left to pairs whose velocity is not known; the others learn more, and faster, from their velocity."""
    bidirectional: bool = False
    """Whether images and labels are also compared the other way, through the negative velocity."""
    gradient: Literal["linear", "central"] = "linear"
    """Derivative of moved images and labels by the displacement: that of the linear interpolation, or central differences interpolated."""


class Phase(_Frozen):
    """One part of the curriculum; easy parts come first."""

    steps: Positive
    """Steps of the optimizer."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Highest learning rate of the phase."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the rate goes on after the warm-up."""
    end_factor: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Part of the rate that is left at the end of a cosine."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate grows linearly from near 0."""
    shape: Shape | None = None
    """Lattice of the pairs in voxels; that of `data` when left out."""
    batch: Positive | None = None
    """Pairs a step, over all processes and accumulations; that of the training when left out."""
    loss: LossSettings | None = None
    """The loss of this phase; that of the training when left out."""
    generator: dict[str, Any] = {}
    """Settings of the synthetic generator that differ in this phase."""


class SyntheticData(_Frozen):
    """Pairs made by the generator, with a known velocity."""

    kind: Literal["synthetic"] = "synthetic"
    shape: Shape
    """Lattice of the pairs in voxels."""
    generator: dict[str, Any] = {}
    """Settings of the generator; what is left out has its default. `size` is not among them, `shape` says it."""
    spacing_mm: Annotated[float, Field(gt=0, le=50)] = 2.0
    """Voxel size that the pairs stand for; a model of this training then predicts at it."""
    view_mm: Annotated[float, Field(gt=0, le=2000)] | None = None
    """Longest side of the images that the model is meant for, where the pairs show only a part of them; else that of the pairs."""


class ImageData(_Frozen):
    """Pairs of a user's own images, read from files."""

    kind: Literal["images"]
    shape: Shape
    """Lattice of the pairs in voxels; larger images are cut at a random place, smaller ones filled up with 0."""
    pairs: Path | None = None
    """CSV or JSON list of pairs: columns fixed, moving, and where there are any fixed_labels, moving_labels, fixed_landmarks,
    moving_landmarks; paths are relative to the list."""
    folder: Path | None = None
    """Instead of a list: pairs are drawn at random from the images of a folder; images of one subfolder are paired with each other."""
    labels: Path | None = None
    """Label maps of the folder's images, in files of the same names."""
    validation_pairs: Path | None = None
    """List of pairs for validation; when left out a part of the pairs or images is held out."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """That part; at least one pair, or two images of each folder. 0 validates on the training images."""
    spacing_mm: Annotated[float, Field(gt=0)] | None = None
    """Working spacing of the lattice; that of the first image when left out."""
    align: Literal["header", "center", "affine"] = "affine"
    """How the moving image is brought to the fixed one before: as the headers say, centers together, or by the affine stage."""
    modality: Literal["same", "different"] = "same"
    """Whether the images of a pair show the same kind of contrast; chooses the similarity of the affine stage."""
    intensity_range: tuple[float, float] | None = None
    """Intensities outside are clipped (Hounsfield units for CT); None takes robust percentiles of each image."""


class ValidationSettings(_Frozen):
    """The look at pairs that are never trained on."""

    every: Positive = 500
    """Steps between two validations; there is always one at the end."""
    pairs: Positive = 8
    """How many pairs, the same each time."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 20_260_000
    """Seed of the pairs."""
    figure: Literal["auto", "dice", "endpoint_vox", "loss"] = "auto"
    """What decides which weights are the best; auto takes the first of these that the pairs have."""


class TrainingConfig(_Frozen):
    """A whole training."""

    model: dict[str, Any] | None = None
    """Architecture of the network, with its `name`; may be left out when training starts from given weights."""
    data: Annotated[SyntheticData | ImageData, Field(discriminator="kind")]
    """Where the pairs come from."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    """The curriculum."""
    loss: LossSettings = LossSettings()
    """The loss of phases that have none of their own."""
    batch: Positive = 1
    """Pairs a step, over all processes and accumulations."""
    accumulate: Positive = 1
    """The pairs of a step go through the network in this many parts, one after the other, to save memory."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random; the same seed gives the same weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers inside the network; losses and integration are always float32."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient of a step; None does not clip."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights, which is what is validated and exported; 0 averages nothing."""
    validation: ValidationSettings = ValidationSettings()
    save_every: Positive = 250
    """Steps between two checkpoints."""
    log_every: Positive = 10
    """Steps between two lines of progress and two rows of the loss table (each the mean of the steps between)."""

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """Read a configuration.

        Raises
        ------
        SettingsError
            If the text is not JSON or a value is missing, unknown or out of bounds; names the field.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(f"The training configuration is not valid JSON: {error}.") from error
        if not isinstance(given, dict):
            raise SettingsError(f"Expected a JSON object as training configuration; got {type(given).__name__}.")
        if isinstance(given.get("data"), dict):
            given["data"].setdefault("kind", "synthetic")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError(_told(error)) from error

    @classmethod
    def from_file(cls, path: str | Path) -> TrainingConfig:
        """Read a configuration file; paths in it are relative to its folder.

        Raises
        ------
        SettingsError
            If it cannot be read or holds something unusable.
        """
        file = Path(path)
        try:
            config = cls.from_json(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"Cannot read the training configuration {file}: {error}. Expected a JSON file.") from error
        if not isinstance(config.data, ImageData):
            return config
        found = {name: getattr(config.data, name) for name in ("pairs", "folder", "labels", "validation_pairs")}
        placed = {name: (file.parent / value).resolve() for name, value in found.items() if value is not None}
        return config.model_copy(update={"data": config.data.model_copy(update=placed)})

    def to_json(self) -> str:
        """Write the configuration as JSON that `from_json` reads back."""
        return self.model_dump_json(indent=2)

    @property
    def steps(self) -> int:
        """All steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def place(self, step: int) -> Place:
        """Tell what holds at a step, from 0."""
        first, number = 0, 0
        while number < len(self.phases) - 1 and step >= first + self.phases[number].steps:
            first, number = first + self.phases[number].steps, number + 1
        begin = self.place_of_phase(number)
        index = step - first
        return replace(begin, index=index, first_pair=begin.first_pair + index * begin.batch)

    def place_of_phase(self, number: int) -> Place:
        """Tell what holds at the first step of a phase."""
        batches = [phase.batch or self.batch for phase in self.phases]
        before = sum(phase.steps * batch for phase, batch in zip(self.phases[:number], batches, strict=False))
        return Place(number, self.phases[number], 0, batches[number], before)

    def shape_of(self, phase: Phase) -> tuple[int, ...]:
        """Lattice of a phase's pairs."""
        return phase.shape or self.data.shape

    def loss_of(self, phase: Phase) -> LossSettings:
        """Loss of a phase."""
        return phase.loss or self.loss


@dataclass(frozen=True)
class Place:
    """Where in the curriculum a step lies.

    Attributes
    ----------
    number : int
        Of the phase, from 0.
    index : int
        Of the step within the phase, from 0.
    batch : int
        Pairs of the step.
    first_pair : int
        Number of the step's first pair in the whole training.
    """

    number: int
    phase: Phase
    index: int
    batch: int
    first_pair: int

    @property
    def learning_rate(self) -> float:
        """Warm-up, then a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, one period) or a constant."""
        phase = self.phase
        if self.index < phase.warmup_steps:
            return phase.learning_rate * (self.index + 1) / (phase.warmup_steps + 1)
        if phase.schedule == "constant":
            return phase.learning_rate
        gone = (self.index - phase.warmup_steps) / max(phase.steps - phase.warmup_steps, 1)
        part = 0.5 * (1 + math.cos(math.pi * min(gone, 1.0)))
        return phase.learning_rate * (phase.end_factor + (1 - phase.end_factor) * part)


def _told(error: ValidationError) -> str:
    """Say in one line what is wrong with a configuration and what is expected."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("synthetic", "images")) or "configuration"
    if first["type"] == "missing":
        return f"The training configuration lacks {where!r}. Add it."
    if first["type"] == "extra_forbidden":
        return f"The training configuration has an unknown entry {where!r}. Remove it, or check its spelling."
    return f"Training configuration {where!r}: {first['msg']}; got {first.get('input')!r}. Correct it."
