"""The loss of a step: the regression of the known velocity, and any terms of the engine's table, each where a pair has what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engine.differentiable import resize_field, warp
from ..engine.losses import LOSSES, common_labels, label_channels
from ..errors import SettingsError
from .config import LossSettings
from .distributed import Truth
from .pairs import TrainingPair
from .prediction import Prediction

VELOCITY = "velocity"
"""The term that is not in the table, as only training knows the truth."""

MATCHING = "matching"
"""The loss of a model's own parts where the velocity is known (see `VelocityModel.supervised`); the model computes it itself."""

BESIDE_STRUCTURES = 0.05
"""Weight of voxels outside all structures in that loss: there is hardly anything to match, but the rim should not fall apart."""

ON_DISPLACEMENT = frozenset({"folding_barrier", "displacement_magnitude"})
"""Field terms that judge the displacement at full resolution; the others judge the velocity on its own lattice."""

TRAINABLE = (VELOCITY, MATCHING, *(name for name, loss in LOSSES.items() if loss.kind != "matrix"))
"""Names that a loss may give weights to."""


def check_loss(settings: LossSettings) -> None:
    """Refuse terms that do not exist.

    Raises
    ------
    SettingsError
        If a name is unknown, or no term has a weight.
    """
    unknown = [name for name in (*settings.weights, *settings.options) if name not in TRAINABLE]
    if unknown:
        raise SettingsError(f"There is no loss term {unknown[0]!r}. Known terms: {', '.join(TRAINABLE)}.")
    if not any(weight > 0 for weight in settings.weights.values()):
        raise SettingsError("No term of the loss has a weight above 0, so there is nothing to learn. Give weights, e.g. {\"velocity\": 1}.")


def judged(
    prediction: Prediction, pairs: Sequence[TrainingPair], settings: LossSettings, generators: Sequence[torch.Generator]
) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the mean loss of a batch of pairs, and each term's values (without weight) for the pairs that have it.

    Parameters
    ----------
    prediction : Prediction
        For the pairs' images, in their order.
    pairs : sequence of TrainingPair
        What is known about each.
    settings : LossSettings
        Weights and options.
    generators : sequence of torch.Generator
        One a pair; choose the structures that count.
    """
    total = prediction.fixed.new_zeros(())
    terms: dict[str, list[float]] = {}
    first = 0
    for pair, generator in zip(pairs, generators, strict=True):
        one = prediction.part(first, len(pair.fixed))
        first += len(pair.fixed)
        for name, weight in settings.weights.items():
            value = _term(name, one, pair, settings, generator) if weight > 0 else None
            if value is not None:
                total = total + weight * value
                terms.setdefault(name, []).append(float(value.detach()))
    return total / len(pairs), terms


def _term(name: str, one: Prediction, pair: TrainingPair, settings: LossSettings, generator: torch.Generator) -> Tensor | None:
    """Compute one term for one pair; None where the pair lacks what it takes, and for the model's own loss, which is added elsewhere."""
    if name == MATCHING:
        return None
    if name == VELOCITY:
        return None if pair.velocity_vox is None else velocity_error(one.levels, pair.velocity_vox, settings.velocity_norm)
    loss, options = LOSSES[name], settings.options.get(name, {})
    if loss.kind == "images":
        value = loss.function(one.fixed, one.moved, **options)
        return 0.5 * (value + loss.function(one.moving, one.moved_back, **options)) if settings.bidirectional else value
    if loss.kind == "labels":
        return _overlap(loss.function, options, one, pair, settings, generator)
    if loss.kind == "field":
        return loss.function(one.displacement if name in ON_DISPLACEMENT else one.levels[-1], **options)
    if loss.kind == "fields":
        return loss.function(one.displacement, one.inverse_displacement, **options)
    return _landmarks(loss.function, options, one, pair)


def velocity_error(levels: Sequence[Tensor], truth_vox: Tensor, norm: str = "endpoint") -> Tensor:
    """Return the error of a velocity in voxels of each level, the mean over the levels.

    Parameters
    ----------
    levels : sequence of (n, d, *coarse) tensors
        Velocities, each in voxels of its own lattice.
    truth_vox : (n, d, *spatial) tensor
        The true one in voxels of the images' lattice.
    norm : "endpoint" or "squared"
        Mean over voxels of |v - w|, or of |v - w|^2.

    References
    ----------
    End-point error: Otte and Nagel 1994, doi 10.1007/3-540-57956-7_5; over all levels of a pyramid: Dosovitskiy et al. 2015,
    doi 10.1109/ICCV.2015.316.
    """
    errors = []
    for level in levels:
        squared = (level - resize_field(truth_vox, tuple(level.shape[2:]))).square().sum(dim=1)
        # The root is rounded off at zero, where its slope is infinite; a thousandth of a voxel is far below what matters.
        errors.append(squared.mean() if norm == "squared" else (squared + 1e-6).sqrt().mean())
    return torch.stack(errors).mean()


def truth_of(pairs: Sequence[TrainingPair], generator: torch.Generator) -> Truth | None:
    """Gather what is known about a batch for the loss of the model's own parts; None where no velocity is known."""
    if all(pair.velocity_vox is None for pair in pairs):
        return None
    velocities, weights = [], []
    for pair in pairs:
        known = pair.velocity_vox
        n, _, *shape = pair.fixed.shape
        velocities.append(pair.fixed.new_zeros((n, len(shape), *shape)) if known is None else known)
        weight = torch.ones_like(pair.fixed) if pair.fixed_labels is None else (pair.fixed_labels[:, None] > 0).to(pair.fixed)
        weights.append((weight + BESIDE_STRUCTURES) * (known is not None))
    return Truth(torch.cat(velocities), torch.cat(weights), generator)


def _overlap(
    function: Any, options: dict[str, Any], one: Prediction, pair: TrainingPair, settings: LossSettings, generator: torch.Generator
) -> Tensor | None:
    fixed, moving = pair.fixed_labels, pair.moving_labels
    if fixed is None or moving is None:
        return None
    if settings.overlap_without_velocity_only and pair.velocity_vox is not None:
        return None
    chosen = common_labels(fixed, moving, settings.labels_per_step, generator)
    if not chosen:
        return None
    f, m = label_channels(fixed, chosen), label_channels(moving, chosen)
    value: Tensor = function(f, warp(m, one.displacement, gradient=one.gradient), **options)
    if settings.bidirectional:
        value = 0.5 * (value + function(m, warp(f, one.inverse_displacement, gradient=one.gradient), **options))
    return value


def _landmarks(function: Any, options: dict[str, Any], one: Prediction, pair: TrainingPair) -> Tensor | None:
    if pair.fixed_landmarks_vox is None or pair.moving_landmarks_vox is None:
        return None
    value: Tensor = function(one.displacement, pair.fixed_landmarks_vox, pair.moving_landmarks_vox, **options)
    return value

