"""The torch door: volumes <-> tensors, devices, and torch's errors turned into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import EngineError, OutOfMemoryError, SettingsError
from ..space import Grid, LabelMap, Volume


@dataclass(frozen=True, eq=False)
class Placed:
    """A tensor of shape (1, c, i, j, k) placed in the world; a slice keeps its axis of length 1.

    Attributes
    ----------
    data : (1, c, i, j, k) tensor
        Intensities or features.
    grid : Grid
        Where the voxels lie (RAS+ mm).
    weight : (1, 1, i, j, k) tensor or None
        How much each voxel counts, 0 to 1; None where all count.
    """

    data: Float[Tensor, "1 c i j k"]
    grid: Grid
    weight: Float[Tensor, "1 1 i j k"] | None = None

    @property
    def device(self) -> torch.device:
        """Where the tensor lives."""
        return self.data.device

    def to(self, device: torch.device) -> Placed:
        """Return a copy on another device."""
        return replace(self, data=self.data.to(device), weight=None if self.weight is None else self.weight.to(device))


def choose_device(name: str) -> torch.device:
    """Turn the setting into a device.

    Raises
    ------
    SettingsError
        If CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SettingsError(
            "Device 'cuda' was asked for, but torch finds no CUDA GPU here. Choose 'auto' or 'cpu', or install a CUDA build of torch."
        )
    return torch.device("cuda" if available and name in ("auto", "cuda") else "cpu")


def describe_device(device: torch.device) -> str:
    """Name the device for the report."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def to_tensor(data: np.ndarray, device: torch.device) -> Tensor:
    """Turn an (i, j, k) array into a contiguous (1, 1, i, j, k) float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None].to(device)


def place(volume: Volume, device: torch.device, mask: LabelMap | None = None) -> Placed:
    """Bring a volume, and the mask of voxels that count, to the device."""
    weight = None if mask is None else to_tensor(mask.data != 0, device)
    return Placed(to_tensor(volume.data, device), volume.grid, weight)


def to_array(field: Float[Tensor, "1 c i j k"]) -> np.ndarray:
    """Turn a (1, c, i, j, k) tensor into an (i, j, k, c) array."""
    return np.ascontiguousarray(field[0].movedim(0, -1).detach().cpu().numpy())


@contextmanager
def guarded() -> Iterator[None]:
    """Turn torch's RuntimeErrors into ours: superqt swallows a RuntimeError that leaves a generator worker."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"The GPU ran out of memory: {str(error).splitlines()[0]}") from error
    except RuntimeError as error:
        text = str(error)
        if "alloc" in text and "memory" in text:
            raise OutOfMemoryError(f"The machine ran out of memory: {text.splitlines()[0]}") from error
        raise EngineError(f"torch failed: {text.splitlines()[0] if text else type(error).__name__}") from error


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch work on this thread alone: on tensors of a box its threads wait for each other longer than they work.

    Where other programs want the cores too, a local correction took ten times the processor time with two of them. The compiled kernels
    have threads of their own.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


WIDE_VOXELS = 10_000_000
"""From here on torch's own operations on a level want every core: 7 million voxels gain from one thread, 17 million lose a sixth."""


def threads_beside_kernels(device: torch.device, grid: Grid) -> AbstractContextManager[None]:
    """Leave the cores of a CPU to the compiled kernels where these do nearly all of the work on a level's grid.

    A thread of torch that has nothing left to do waits for more without letting go of its core: for milliseconds after each operation, and
    the kernels had one core of two. brain_t1 was refined in 1.8 s instead of 2.6 (effort fast), a slice in a third of the time.
    """
    return one_torch_thread() if device.type == "cpu" and np.prod(grid.shape) < WIDE_VOXELS else nullcontext()
