"""Adam's step on a field, against torch's own optimizer."""

import numpy as np
import pytest
import torch

from napari_deformreg.engine.momentum import FIRST_MOMENT, SECOND_MOMENT, Momentum


def test_a_field_of_vectors_along_one_axis_moves_as_torch_moves_it():
    generator = torch.Generator().manual_seed(3)
    start = torch.zeros((1, 3, 5, 6, 7))
    ours, theirs = start.clone(), torch.zeros((5, 6, 7), requires_grad=True)
    momentum = Momentum(start, np.ones(3))
    adam = torch.optim.Adam([theirs], lr=1.0, betas=(FIRST_MOMENT, SECOND_MOMENT), eps=0.0)
    for _ in range(6):
        slope = torch.randn((5, 6, 7), generator=generator)
        gradient = torch.zeros_like(start)
        gradient[0, 1] = slope
        before, theirs.grad = theirs.detach().clone(), slope
        adam.step()
        step = theirs.detach() - before
        moved = momentum.stepped(ours, gradient, 0.5, 0.0)
        torch.testing.assert_close((moved - ours)[0, 1], 0.5 * step / step.abs().max(), atol=1e-6, rtol=1e-4)
        assert not moved[0, 0].any()
        ours = moved


def test_steps_are_as_long_in_space_whatever_their_direction():
    unit = np.array([0.5, 1.0, 2.0])
    for axis in range(3):
        gradient = torch.zeros((1, 3, 4, 4, 4))
        gradient[:, axis] = 0.01
        moved = Momentum(gradient, unit).stepped(torch.zeros_like(gradient), gradient, 0.3, 1.0)
        assert float(-moved[0, axis, 2, 2, 2]) * unit[axis] == pytest.approx(0.3, rel=1e-4)
