"""Whether a device's compiled GPU kernels are to be trusted: each is compared with its plain-torch twin at its first use.

A kernel that fails to compile, fails to run or deviates is not used on that device in this process; its twin is, and `notices` says so.
The twin is asked on the CPU, in single precision, as a GPU may round its own convolutions to fewer bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from . import gpu, reference

KernelName = Literal["compose", "warp", "box_sum", "convolve_separable", "lncc_value_and_gradient", "longest_vector"]

CHECK_SHAPES = ((34, 37, 131), (41, 1, 29))
"""Lattices of the check: of no round size, larger than a block along each axis; and a slice."""

TOLERANCE = 3e-4
"""Largest deviation allowed, as a part of the twin's largest value: positions in single precision leave a few hundred-thousandths."""

Samples = Callable[[tuple[int, int, int], torch.Generator], Iterator[tuple[Any, ...]]]
"""Makes the arguments of a kernel for one lattice, on the CPU."""


def _field(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    still = torch.tensor([float(n > 1) for n in shape]).view(1, 3, 1, 1, 1)
    return 2.5 * torch.randn((1, 3, *shape), generator=generator) * still


def _compose_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    yield _field(shape, generator), _field(shape, generator), 0.5, -0.7


def _warp_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    """Place every position clear of the voxels' centers and edges, within the image and beyond it: derivative and inside jump there."""
    sizes = tuple(n - 2 if n > 4 else n for n in shape)
    image, weight = (torch.rand((1, 1, *sizes), generator=generator) for _ in range(2))
    matrix = torch.eye(3, dtype=torch.float64) + 0.1 * torch.randn((3, 3), generator=generator, dtype=torch.float64)
    offset = torch.randn(3, generator=generator, dtype=torch.float64)
    places = torch.rand((3, *shape), generator=generator, dtype=torch.float64)
    reach = torch.tensor([float(n + 4) for n in sizes]).view(3, 1, 1, 1)
    whole = (places * reach).floor() - 2
    part = torch.rand((3, *shape), generator=generator, dtype=torch.float64)
    target = whole + 0.1 + 0.3 * part + 0.5 * (part > 0.5)
    straight = torch.einsum("ab,bijk->aijk", torch.linalg.inv(matrix), target - offset.view(3, 1, 1, 1))
    field = (straight - reference.identity(shape, torch.device("cpu"))[0]).float()[None]
    for with_gradient, given in product((True, False), (weight, None)):
        yield image, field, matrix, offset, with_gradient, given


def _box_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    for radius in (2, 7):
        yield torch.randn((1, 2, *shape), generator=generator), radius


def _convolve_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    weights = [torch.rand(length, generator=generator) for length in (3, 7, 5)]
    yield torch.randn((1, 3, *shape), generator=generator), tuple(weights)
    yield torch.randn((1, 1, *shape), generator=generator), (weights[0], torch.ones(1), weights[1])


def _lncc_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    fixed, other, weight = (torch.rand((1, 1, *shape), generator=generator) for _ in range(3))
    radius, epsilon = 2, 1e-3
    count = reference.box_sum(torch.ones_like(fixed), radius)
    total, squares = reference.box_sum(fixed, radius), reference.box_sum(fixed * fixed, radius)
    variance = (squares - total * total / count).clamp_min(0) + epsilon * count
    yield 0.5 * (fixed + other), fixed, total, variance, count, weight, float(weight.sum()), radius, epsilon


def _field_samples(shape: tuple[int, int, int], generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
    yield (_field(shape, generator),)


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel, its twin, and arguments to compare them with."""

    compiled: Callable[..., Any]
    twin: Callable[..., Any]
    samples: Samples


KERNELS: dict[KernelName, Kernel] = {
    "compose": Kernel(gpu.compose, reference.compose, _compose_samples),
    "warp": Kernel(gpu.warp, reference.warp, _warp_samples),
    "box_sum": Kernel(gpu.box_sum, reference.box_sum, _box_samples),
    "convolve_separable": Kernel(gpu.convolve_separable, reference.convolve_separable, _convolve_samples),
    "lncc_value_and_gradient": Kernel(gpu.lncc_value_and_gradient, reference.lncc_value_and_gradient, _lncc_samples),
    "longest_vector": Kernel(gpu.longest_vector, reference.longest_vector, _field_samples),
}
"""Every kernel that a GPU may use."""

_STAY = {("warp", 2), ("warp", 3), ("convolve_separable", 1)}
"""Arguments (kernel, place) that lie on the CPU whatever the device."""

_refused: dict[tuple[KernelName, str], str | None] = {}
_lock = threading.Lock()


def on_cpu(tensor: Tensor) -> bool:
    """Tell whether the CPU's kernels are for this tensor."""
    return bool(tensor.device.type == "cpu")


def _where(device: torch.device) -> str:
    """Name a device; "cuda" alone means the current one."""
    return f"cuda:{torch.cuda.current_device()}" if str(device) == "cuda" else str(device)


def best(name: KernelName, device: torch.device) -> Callable[..., Any]:
    """Return the compiled kernel where it is there and has passed its check on this device, else its twin."""
    kernel = KERNELS[name]
    if not gpu.has_triton():
        return kernel.twin
    key = name, _where(device)
    with _lock:
        if key not in _refused:
            _refused[key] = _fault(name, device)
    return kernel.compiled if _refused[key] is None else kernel.twin


def notices(device: torch.device) -> tuple[str, ...]:
    """Say which kernels were refused on a device, and why."""
    return tuple(
        f"The compiled GPU kernel '{name}' did not pass its check ({fault}): plain torch is used."
        for (name, where), fault in _refused.items()
        if where == _where(device) and fault is not None
    )


def _fault(name: KernelName, device: torch.device) -> str | None:
    """Compare a kernel with its twin; returns what is wrong with it, or None."""
    try:
        deviation = max(deviations(name, device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver may raise: it is no reason to stop
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return None if deviation <= TOLERANCE else f"it deviated by {deviation:.1e} of the largest value, allowed are {TOLERANCE:.0e}"


def deviations(name: KernelName, device: torch.device) -> Iterator[float]:
    """Yield by how much a kernel's results differ from its twin's, as parts of the largest value, over all samples."""
    kernel = KERNELS[name]
    generator = torch.Generator().manual_seed(20261122)
    for shape in CHECK_SHAPES:
        for arguments in kernel.samples(shape, generator):
            there = [_moved(part, device) if (name, place) not in _STAY else part for place, part in enumerate(arguments)]
            found, expected = kernel.compiled(*there), kernel.twin(*arguments)
            for one, other in zip(_parts(found), _parts(expected), strict=True):
                yield _difference(one.cpu(), other)


def _moved(part: Any, device: torch.device) -> Any:
    return part.to(device) if isinstance(part, Tensor) else part


def _parts(outcome: Any) -> tuple[Tensor, ...]:
    parts = outcome if isinstance(outcome, tuple) else (outcome,)
    return tuple(torch.as_tensor(part, dtype=torch.float64) for part in parts)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a part of the largest value expected; infinite where it is no number or the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    return difference if difference == difference else float("inf")
