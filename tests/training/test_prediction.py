"""What a network's velocity means for a pair, and which derivative training sees."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from napari_deformreg.engine.differentiable import integrate, warp
from napari_deformreg.training.prediction import Prediction


def smooth(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(torch.rand(shape, generator=generator), 5, stride=1, padding=2)


@pytest.mark.parametrize("gradient", ["linear", "central"])
def test_moved_images_are_differentiated_as_asked(gradient: Literal["linear", "central"]) -> None:
    generator = torch.Generator().manual_seed(3)
    fixed, moving = smooth((2, 1, 17, 17), generator), smooth((2, 1, 17, 17), generator)
    velocity = (2 * smooth((2, 2, 17, 17), generator) - 1).requires_grad_()
    names: tuple[Literal["linear", "central"], ...] = ("linear", "central")
    slope = {}
    for name in names:
        (slope[name],) = torch.autograd.grad((warp(moving, integrate(velocity), gradient=name) - fixed).square().mean(), velocity)
    one = Prediction(fixed, moving, [velocity], gradient=gradient).part(0, 2)
    (found,) = torch.autograd.grad((one.moved - fixed).square().mean(), velocity)
    torch.testing.assert_close(found, slope[gradient])
    assert not torch.allclose(slope["linear"], slope["central"], rtol=1e-2)
