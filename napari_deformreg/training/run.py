"""A whole training from its configuration: network, pairs, device, processes, folder."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..engine.models import VelocityModel, build_model
from ..engine.models.weights import open_model
from ..engine.tensors import choose_device, describe_device, guarded
from ..errors import InputError, SettingsError
from ..io import atomic_file
from ..result import Step
from .checkpoint import read_state
from .config import ImageData, TrainingConfig
from .distributed import Group, device_of, joined_group, spawned
from .objective import check_loss
from .own_images import ImageSources
from .randomness import number_from
from .sources import Maker, Sources, SyntheticSources, check_shapes
from .trainer import CHECKPOINT, Trainer, TrainingOutcome, own_randomness

Training = Generator[Step, None, TrainingOutcome]


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is started with.

    Attributes
    ----------
    config : TrainingConfig
        What to do.
    folder : Path
        Where checkpoints, models and curves are written.
    resume : bool
        Whether to go on from the checkpoint there.
    device : str
        "auto", "cpu" or "cuda".
    labels : Path, optional
        Folder of label maps for synthetic anatomy.
    start : str, optional
        A model to start from: its file, or the name of a bundled one.
    maker : callable, optional
        Makes the sources of synthetic pairs instead of the project's own generator.
    """

    config: TrainingConfig
    folder: Path
    resume: bool = False
    device: str = "auto"
    labels: Path | None = None
    start: str | None = None
    maker: Maker | None = None


def train_steps(plan: TrainingPlan, processes: int = 1) -> Training:
    """Train a network.

    Close the generator to stop; the state after the last whole step is then saved, and `resume` goes on from it.

    Parameters
    ----------
    plan : TrainingPlan
        What to do.
    processes : int
        How many processes share the pairs of each step: one a GPU, or on the CPU. Under torchrun, its own number counts.

    Yields
    ------
    Step
        One a step of the optimizer; `message` is not empty where there is something to tell.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    InputError
        If configuration, images, folder or start weights cannot be used; says what to do.
    EngineError
        If the computation fails, or the loss is not finite any more.
    """
    on_gpu = choose_device(plan.device).type == "cuda"
    group = joined_group(on_gpu)
    if group is None and processes > 1:
        _check(plan, processes)
        outcome: TrainingOutcome = yield from spawned(_work, processes, (plan,), on_gpu)
        return outcome
    return (yield from _work(group or Group(), plan))


def train(plan: TrainingPlan, processes: int = 1) -> TrainingOutcome:
    """Train without looking at the steps; see `train_steps`."""
    steps = train_steps(plan, processes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: TrainingOutcome = end.value
            return outcome


def _work(group: Group, plan: TrainingPlan) -> Training:
    config = plan.config
    _check(plan, group.size)
    device = device_of(group, choose_device(plan.device))
    with guarded():
        model = _model(plan)
        check_shapes(config, model)
        sources = _sources(plan, device)
        for number, count in sources.opening():
            yield Step("read", index=number, count=count)
    notices = _opened_folder(plan) if group.leads else []
    trainer = Trainer(config, model, sources, plan.folder, group, device)
    if plan.resume:
        trainer.resume()
    count = sum(parameter.numel() for parameter in model.parameters())
    yield Step("train", message=f"{count} parameters on {describe_device(device)}, {group.size} process{'es' if group.size > 1 else ''}")
    for notice in (*notices, *_precision_notices(config, device)):
        yield Step("train", message=notice)
    return (yield from trainer.steps())


def _check(plan: TrainingPlan, processes: int) -> None:
    for number, phase in enumerate(plan.config.phases):
        check_loss(plan.config.loss_of(phase))
        batch = plan.config.place_of_phase(number).batch
        parts = processes * plan.config.accumulate
        if batch % parts:
            raise SettingsError(
                f"Phase {number + 1} has {batch} pairs a step, which cannot be shared evenly by processes ({processes}) times accumulated "
                f"parts ({plan.config.accumulate}). Make batch a multiple of {parts}."
            )
    if plan.labels is not None and not plan.labels.is_dir():
        raise InputError(f"There is no folder {plan.labels} of label maps. Check --labels.")
    if not plan.resume and (plan.folder / CHECKPOINT).exists():
        raise InputError(f"{plan.folder} holds a training already. Add --resume to go on with it, or choose another folder.")


def _model(plan: TrainingPlan) -> VelocityModel:
    """Build the network with weights that depend on the seed alone, or open the one to start from."""
    config = plan.config
    if plan.start is not None and not plan.resume:
        model = open_model(plan.start).module.requires_grad_(True)
        assert isinstance(model, VelocityModel)  # nothing else can be built from a file
        wanted = config.model
        if wanted is not None and build_model(wanted).architecture != model.architecture:
            raise SettingsError(
                f"The model to start from is {model.architecture}, the configuration asks for {wanted}. Leave out `model`, or start anew."
            )
        return model
    architecture: dict[str, Any] | None = read_state(plan.folder / CHECKPOINT).architecture if plan.resume else config.model
    if architecture is None:
        raise SettingsError("The configuration has no `model`, and no model to start from is given. Add one of the two.")
    with own_randomness(number_from(config.seed, "weights", 0), torch.device("cpu")):
        return build_model(architecture)


def _sources(plan: TrainingPlan, device: torch.device) -> Sources:
    if isinstance(plan.config.data, ImageData):
        return ImageSources(plan.config)
    return SyntheticSources(plan.config, device, plan.labels, plan.maker)


def _opened_folder(plan: TrainingPlan) -> list[str]:
    """Make the folder and note the configuration; tells where a resumed one differs."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {plan.folder}: {error.strerror}. Choose a place that you may write to.") from error
    notices = []
    if plan.resume:
        before = TrainingConfig.from_json(read_state(plan.folder / CHECKPOINT).config)
        changed = [name for name in TrainingConfig.model_fields if getattr(before, name) != getattr(plan.config, name)]
        if changed:
            notices.append(f"The configuration differs from the one that this training began with: {', '.join(changed)}.")
    with atomic_file(plan.folder / "config.json") as partial:
        partial.write_text(plan.config.to_json() + "\n", encoding="utf-8")
    return notices


def _precision_notices(config: TrainingConfig, device: torch.device) -> list[str]:
    if config.precision == "float32":
        return []
    if device.type == "cuda":
        return [] if torch.cuda.is_bf16_supported() else ["This GPU has no bfloat16 of its own: float32 is likely faster."]
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return [] if has.get("avx512_bf16") or has.get("amx_bf16") else ["This CPU has no bfloat16 of its own: float32 is likely faster."]
