"""How good a network is on pairs that it never learns from: overlap, error of the known warp, folds, loss; before and after."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..engine.differentiable import integrate, warp
from ..engine.kernels.reference import sample
from ..engine.models import VelocityModel
from ..space.jacobian import digital_fold_mask
from .config import LossSettings
from .objective import judged
from .pairs import PairSource, TrainingPair
from .prediction import Prediction, stacked

HIGHER_IS_BETTER = frozenset({"dice"})

CHOICE = ("dice", "endpoint_vox", "loss")
"""What the best weights are chosen by: the first that the pairs have."""


@dataclass(frozen=True)
class Held:
    """Pairs that are never trained on."""

    source: PairSource
    count: int
    loss: LossSettings
    seed: int


def validate(model: VelocityModel, held: Held, device: torch.device) -> Generator[int, None, dict[str, float]]:
    """Judge a network on held-out pairs; yields the number of each pair that is done.

    Returns
    -------
    dict
        Means over the pairs: `loss`; where the pairs have what it takes `dice`, `endpoint_vox` (over the fixed structures, or everything
        where there are none), `tre_vox`; `folds_percent` of the voxels by the digital test. The same with " before" for no motion.
    """
    rows: list[dict[str, float]] = []
    model.eval()
    for index in range(held.count):
        with torch.no_grad():
            rows.append(_judge(model, held, index, device))
        yield index
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _judge(model: VelocityModel, held: Held, index: int, device: torch.device) -> dict[str, float]:
    pair = held.source.pair(index).to(device)
    fixed, moving = stacked([pair])
    found = Prediction(fixed, moving, model.velocities(fixed, moving))
    still = Prediction(fixed, moving, [torch.zeros_like(level) for level in found.levels])
    figures: dict[str, float] = {}
    for name, prediction in (("", found), (" before", still)):
        loss, _ = judged(prediction, [pair], held.loss, [torch.Generator().manual_seed(held.seed + index)])
        figures[f"loss{name}"] = float(loss)
        figures |= {f"{key}{name}": value for key, value in pair_figures(prediction, pair).items()}
    return {key: value for key, value in figures.items() if key != "folds_percent before"}


def pair_figures(prediction: Prediction, pair: TrainingPair) -> Mapping[str, float]:
    """Compute the figures of one prediction for one pair (batch size 1)."""
    u = prediction.displacement
    figures = {"folds_percent": folds_percent(u)}
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        figures |= _overlap(u, pair.fixed_labels, pair.moving_labels)
    if pair.velocity_vox is not None:
        error = (u - integrate(pair.velocity_vox)).square().sum(1).sqrt()
        inside = torch.ones_like(error, dtype=torch.bool) if pair.fixed_labels is None else pair.fixed_labels > 0
        figures["endpoint_vox"] = float(error[inside].mean() if bool(inside.any()) else error.mean())
    if pair.fixed_landmarks_vox is not None and pair.moving_landmarks_vox is not None:
        figures["tre_vox"] = float(landmark_distance(u, pair.fixed_landmarks_vox, pair.moving_landmarks_vox))
    return figures


def _overlap(displacement: Tensor, fixed: Tensor, moving: Tensor) -> dict[str, float]:
    """Mean Dice over the structures that both have, the moving ones pulled by nearest neighbor; nothing where they share none."""
    moved = warp(moving[:, None].float(), displacement, "nearest")[:, 0].round().long()
    common = np.intersect1d(torch.unique(fixed).cpu().numpy(), torch.unique(moving).cpu().numpy())
    values = []
    for label in (int(number) for number in common if number != 0):
        f, m = fixed == label, moved == label
        values.append(2 * float((f & m).sum()) / float(f.sum() + m.sum()))
    return {"dice": float(np.mean(values))} if values else {}


def landmark_distance(displacement: Tensor, fixed_vox: Tensor, moving_vox: Tensor) -> Tensor:
    """Mean distance in voxels between fixed landmarks (1, p, d) carried by a displacement and their moving partners."""
    places = fixed_vox.movedim(-1, 1)
    flat = places.reshape(*places.shape, *[1] * (places.shape[1] - 1))
    carried = places + sample(displacement, flat).reshape(places.shape)
    return (carried - moving_vox.movedim(-1, 1)).square().sum(1).sqrt().mean()


def folds_percent(displacement: Tensor) -> float:
    """Part of the voxels, in percent, where the digital test finds a fold; whole lattice."""
    u = displacement[0].movedim(0, -1).cpu().numpy()
    if u.shape[-1] == 2:
        u = np.concatenate([u, np.zeros_like(u[..., :1])], axis=-1)[:, :, None]
    return 100.0 * float(digital_fold_mask(np.ascontiguousarray(u)).mean())


def deciding_figure(chosen: str, figures: Mapping[str, float]) -> str:
    """Name the figure that tells the best weights."""
    if chosen != "auto" and chosen in figures:
        return chosen
    return next(name for name in CHOICE if name in figures)


def better(name: str, value: float, best: float | None) -> bool:
    """Tell whether a figure is better than the best so far."""
    if best is None:
        return True
    return value > best if name in HIGHER_IS_BETTER else value < best
