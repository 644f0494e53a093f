"""What the losses share: checks, weighted means of a batch, wide accumulation under autocast, and how a loss is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, ParamSpec

import torch
from torch import Tensor

from ...errors import InputError

LossKind = Literal["images", "labels", "field", "fields", "points", "matrix"]
"""What a loss is a function of: (fixed, moved), (fixed, moved) channels, one vector field, two of them, landmarks, affine matrices."""

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Loss:
    """One row of `LOSSES`.

    Attributes
    ----------
    function : callable
        Returns a scalar tensor that autograd can follow: the mean over the batch; lower is better.
    kind : str
        What its first arguments are.
    meaning : str
        What it measures, in a few words.
    equation : str
        What it computes, for one element of the batch.
    doi : str
        Where it comes from.
    lower_bound : float
        No input gives less.
    in_optimizer : mapping
        Keywords with which it is the optimizer's term of the same name (tests compare value and gradient).
    """

    function: Callable[..., Tensor]
    kind: LossKind
    meaning: str
    equation: str
    doi: str
    lower_bound: float
    in_optimizer: Mapping[str, Any] = field(default_factory=dict)


def accumulates_wide(function: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """Let a loss compute in float32 at least: sums over windows and volumes cancel in bfloat16 and overflow in float16."""

    def widened(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value

    @wraps(function)
    def wide(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*(widened(a) for a in args), **{k: widened(a) for k, a in kwargs.items()})

    return wide


def check_pair(fixed: Tensor, moved: Tensor, weight: Tensor | None) -> None:
    """Refuse images that cannot be compared voxel by voxel.

    Raises
    ------
    InputError
        If the shapes differ, are not (n, c, i, j) or (n, c, i, j, k), or the weight is not one channel of that lattice.
    """
    if fixed.dim() not in (4, 5) or fixed.shape != moved.shape:
        raise InputError(
            f"Expected two tensors of one shape, (n, c, i, j) or (n, c, i, j, k); got {tuple(fixed.shape)} and {tuple(moved.shape)}."
        )
    if weight is not None and (weight.shape[1] != 1 or weight.shape[2:] != fixed.shape[2:] or weight.shape[0] not in (1, len(fixed))):
        raise InputError(f"Expected a weight (n, 1, *{tuple(fixed.shape[2:])}) for each voxel; got {tuple(weight.shape)}.")


def check_field(vectors: Tensor) -> int:
    """Return the number of dimensions of a vector field.

    Raises
    ------
    InputError
        If it is not (n, 2, i, j) or (n, 3, i, j, k).
    """
    dimensions = vectors.dim() - 2
    if dimensions not in (2, 3) or vectors.shape[1] != dimensions:
        raise InputError(f"Expected a vector field (n, 2, i, j) or (n, 3, i, j, k); got {tuple(vectors.shape)}.")
    return dimensions


def sizes(spacing: Sequence[float] | None, dimensions: int) -> tuple[float, ...]:
    """Return the voxel sizes along the axes, 1 where none are given.

    Raises
    ------
    InputError
        If there is not one positive size an axis.
    """
    given = (1.0,) * dimensions if spacing is None else tuple(float(s) for s in spacing)
    if len(given) != dimensions or min(given) <= 0:
        raise InputError(f"Expected {dimensions} voxel sizes above 0, one an axis; got {given}.")
    return given


def in_units(vectors: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Turn vectors in voxels (n, d, ...) into vectors in the unit of the spacing."""
    scale = torch.tensor(spacing, dtype=vectors.dtype, device=vectors.device)
    return vectors * scale.view(1, -1, *[1] * (vectors.dim() - 2))


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return each batch element's weighted mean over the voxels, its channels summed; 0 where nothing counts. Shape (n,)."""
    summed = values.sum(dim=1, keepdim=True)
    if weight is None:
        return summed.flatten(1).mean(dim=1)
    weight = weight.to(summed).expand_as(summed)
    total = weight.flatten(1).sum(dim=1)
    return (weight * summed).flatten(1).sum(dim=1) / torch.where(total > 0, total, torch.ones_like(total))


def by_autograd(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[float, Tensor]:
    """Return the value of a loss and its derivative at a tensor."""
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf)
        (slope,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), slope
