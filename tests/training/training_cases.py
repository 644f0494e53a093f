"""Tiny trainings that take a second: a small convolutional network and pairs of shifted blobs with a known velocity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_deformreg.engine.differentiable import integrate, warp
from napari_deformreg.training import TrainingConfig, TrainingPair, TrainingPlan

SIDE = 16


class Blobs:
    """A moving image of random blobs and labels; the fixed one is the same pulled through a known smooth velocity."""

    def __init__(self, seed: int, size: tuple[int, ...], broken_from: int | None = None, few: int = 1_000_000) -> None:
        self.seed, self.size, self.broken_from, self.few = seed, size, broken_from, few

    def pair(self, index: int) -> TrainingPair:
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + index % self.few)
        axes = torch.meshgrid(*[torch.arange(float(n)) for n in self.size], indexing="ij")
        labels = torch.zeros(self.size)
        image = torch.zeros(self.size)
        for label in range(1, 4):
            center = torch.rand(len(self.size), generator=draw) * (SIDE - 6) + 3
            inside = sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True)) < 9
            labels = torch.where(inside, torch.tensor(float(label)), labels)
            image = torch.where(inside, torch.rand((), generator=draw) * 0.5 + 0.5, image)
        shift = 4 * torch.rand(len(self.size), generator=draw) - 2
        velocity = shift.view(1, -1, *[1] * len(self.size)).expand(1, -1, *self.size).contiguous()
        there = integrate(velocity)
        fixed = warp(image[None, None], there)
        if self.broken_from is not None and index >= self.broken_from:
            fixed = fixed * float("nan")
        fixed_labels = warp(labels[None, None], there, "nearest")[:, 0].long()
        return TrainingPair(fixed, image[None, None], fixed_labels, labels[None].long(), velocity)


def blobs(settings: dict[str, Any], seed: int, device: torch.device, held_out: bool) -> Blobs:
    """Make a source as the project's generator would be made."""
    return Blobs(seed, tuple(settings["size"]), settings.get("broken_from"), settings.get("few", 1_000_000))


def config(**changes: Any) -> TrainingConfig:
    given: dict[str, Any] = {
        "model": {"name": "unet", "dimensions": 2, "encoder": [8, 8], "decoder": [8, 8, 8], "output": "half"},
        "data": {"kind": "synthetic", "shape": [SIDE, SIDE]},
        "phases": [
            {"steps": 4, "learning_rate": 1e-2, "warmup_steps": 2},
            {"steps": 4, "learning_rate": 5e-3, "loss": {"weights": {"velocity": 1, "soft_dice": 1, "mse": 1}, "labels_per_step": 2}},
        ],
        "batch": 2, "validation": {"every": 4, "pairs": 2}, "save_every": 4, "log_every": 2,
    }  # fmt: skip
    return TrainingConfig.model_validate({**given, **changes})


def plan(folder: Path, resume: bool = False, **changes: Any) -> TrainingPlan:
    return TrainingPlan(config(**changes), folder, resume, device="cpu", maker=blobs)
