"""Several processes that train one network: torch's own DistributedDataParallel, started by torchrun or by ourselves."""

from __future__ import annotations

import os
import queue
import signal
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..engine.models import VelocityModel
from ..errors import DeformregError, EngineError, SettingsError


@dataclass(frozen=True, eq=False)
class Truth:
    """The true velocity of a batch, as `VelocityModel.supervised` wants it."""

    velocity_vox: Tensor
    weight: Tensor
    generator: torch.Generator


class Levels(nn.Module):
    """Makes a model's velocities what DistributedDataParallel calls: it follows `forward` only."""

    def __init__(self, model: VelocityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, fixed: Tensor, moving: Tensor, truth: Truth | None = None) -> tuple[list[Tensor], Tensor | None]:
        """Return the model's velocities, coarse to fine, and with a truth what its parts lose by themselves."""
        if truth is None:
            return self.model.velocities(fixed, moving), None
        return self.model.supervised(fixed, moving, truth.velocity_vox, truth.weight, truth.generator)


@dataclass(frozen=True)
class Group:
    """The processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wrapped(self, model: VelocityModel) -> nn.Module:
        """Return what is called instead of the model, so that gradients are averaged over the processes."""
        levels = Levels(model)
        return DistributedDataParallel(levels) if self.size > 1 else levels

    def unsynchronized(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Keep gradients to this process until the last part of a step."""
        if isinstance(wrapped, DistributedDataParallel) and not last:
            return wrapped.no_sync()
        return nullcontext()

    def summed(self, numbers: Tensor) -> Tensor:
        """Add up numbers over the processes."""
        if self.size > 1:
            torch.distributed.all_reduce(numbers)
        return numbers


def joined_group(on_gpu: bool) -> Group | None:
    """Join the processes that torchrun started; None when it did not.

    Parameters
    ----------
    on_gpu : bool
        One GPU a process (NCCL), else all on the CPU (gloo).

    Raises
    ------
    EngineError
        If the processes cannot reach each other.
    """
    if not torch.distributed.is_available() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not torch.distributed.is_initialized():
        _join("env://", int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), on_gpu)
    return Group(torch.distributed.get_rank(), torch.distributed.get_world_size())


def _join(place: str, rank: int, size: int, on_gpu: bool) -> None:
    try:
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", init_method=place, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"The training processes cannot reach each other: {error}. Train with one process, or check torchrun.") from error


def device_of(group: Group, device: torch.device) -> torch.device:
    """Choose the GPU of a process."""
    if device.type != "cuda" or group.size == 1:
        return device
    local = int(os.environ.get("LOCAL_RANK", group.rank))
    if local >= torch.cuda.device_count():
        raise SettingsError(f"{group.size} processes were asked for, but there are {torch.cuda.device_count()} GPUs. Use as many.")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


Work = Callable[..., Generator[Any, None, Any]]
"""What every process runs: work(group, *arguments) yields steps and returns the outcome."""


def spawned(work: Work, size: int, arguments: tuple[Any, ...], on_gpu: bool) -> Generator[Any, None, Any]:
    """Run `work` in several processes; yields what the first one yields and returns what it returns.

    Closing the generator lets the first process close its own, then ends all.

    Parameters
    ----------
    work : function
        Importable by name; all arguments must be picklable.
    size : int
        Number of processes.
    on_gpu : bool
        One GPU a process (NCCL), else all on the CPU (gloo).

    Raises
    ------
    DeformregError
        What a process raised; EngineError if one died without a word.
    """
    context = torch.multiprocessing.get_context("spawn")
    messages, stop = context.Queue(), context.Event()
    with tempfile.TemporaryDirectory(prefix="deformreg-train-") as folder:
        place = (Path(folder) / "meeting").as_uri()
        processes = [
            context.Process(target=_worker, args=(work, rank, size, place, on_gpu, messages, stop, arguments), daemon=True)
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        try:
            while True:
                kind, value = _next(messages, processes)
                if kind == "done":
                    return value
                if kind == "error":
                    raise value
                yield value
        finally:
            stop.set()
            _ended(processes, messages)


def _next(messages: Any, processes: list[Any]) -> tuple[str, Any]:
    while True:
        try:
            kind, value = messages.get(timeout=0.5)
            return kind, value
        except queue.Empty:
            dead = [n for n, process in enumerate(processes) if process.exitcode not in (None, 0)]
            if dead:
                raise EngineError(
                    f"Training process {dead[0]} ended without a word (exit code {processes[dead[0]].exitcode}), as when memory runs out. "
                    "Use smaller pairs or fewer processes; --resume goes on from the last checkpoint."
                ) from None


PATIENCE_SECONDS = 120.0
"""How long the first process may take to finish its step and write its checkpoint after it was told to stop."""


def _ended(processes: list[Any], messages: Any) -> None:
    waited = 0.0
    while processes[0].is_alive() and waited < PATIENCE_SECONDS:
        try:  # A process does not end before its messages are taken.
            messages.get(timeout=0.2)
        except queue.Empty:
            waited += 0.2
    for process in processes:
        if process.is_alive():
            process.terminate()
        process.join()
    messages.close()


def _worker(
    work: Work, rank: int, size: int, place: str, on_gpu: bool, messages: Any, stop: Any, arguments: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent hears the interrupt and says when to stop.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    try:
        _join(place, rank, size, on_gpu)
        _report(work(Group(rank, size), *arguments), rank == 0, messages, stop)
        torch.distributed.destroy_process_group()
    except DeformregError as error:
        messages.put(("error", error))
    except Exception as error:  # whatever it was, the parent must hear of it
        messages.put(("error", EngineError(f"Training process {rank} failed: {type(error).__name__}: {error}")))


def _report(steps: Generator[Any, None, Any], leads: bool, messages: Any, stop: Any) -> None:
    """Run to the end, or until told to stop; the first process passes on what it yields and returns."""
    while not (leads and stop.is_set()):
        try:
            step = next(steps)
        except StopIteration as end:
            if leads:
                messages.put(("done", end.value))
            return
        if leads:
            messages.put(("step", step))
    steps.close()
