"""Landmarks and affine matrices: closed forms, gradients, the optimizer's landmark and label terms; and the table itself."""

import re
from typing import get_args

import numpy as np
import pytest
import torch

from napari_deformreg.engine.differentiable import warp
from napari_deformreg.engine.losses import (
    LOSSES,
    affine_identity_l1,
    affine_identity_l2,
    by_autograd,
    landmark_distance,
    losses_markdown,
    soft_dice,
)
from napari_deformreg.engine.prepare import level_pair
from napari_deformreg.engine.tensors import place
from napari_deformreg.engine.terms import LabelTerm, LandmarkTerm
from napari_deformreg.errors import InputError
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import RegularizerName, SimilarityName
from napari_deformreg.space import AffineTransform, LandmarkPairs


def random(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(8, 9), (6, 7, 8)], ids=str)
def test_landmarks_that_arrive_cost_nothing_and_others_their_squared_miss_in_mm(shape):
    d = len(shape)
    field = torch.zeros(2, d, *shape, dtype=torch.float64)
    field[:, 0] = 1.5
    fixed = 1 + 3 * random(2, 5, d)
    shift = torch.zeros(d, dtype=torch.float64)
    shift[0] = 1.5
    assert landmark_distance(field, fixed, fixed + shift).item() == pytest.approx(0, abs=1e-20)
    assert landmark_distance(field, fixed, fixed, (2.0, *[1.0] * (d - 1))).item() == pytest.approx(9)
    weight = torch.tensor([[1.0, 1, 0, 0, 0]] * 2)
    partners = fixed + shift
    partners[:, 2:] += 50
    assert landmark_distance(field, fixed, partners, weight=weight).item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 5)], ids=str)
def test_gradient_of_landmark_distance_equals_finite_differences(shape):
    field = random(1, len(shape), *shape).requires_grad_()
    fixed = (0.3 + 2 * random(1, 3, len(shape), seed=2)).requires_grad_()
    partners = random(1, 3, len(shape), seed=3)
    assert torch.autograd.gradcheck(lambda u, p: landmark_distance(u, p, partners, (1.0, 2.0, 0.5)[: len(shape)]), (field, fixed))


def test_landmark_distance_refuses_pairs_that_do_not_match():
    with pytest.raises(InputError, match="landmarks"):
        landmark_distance(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 5, 3), torch.zeros(1, 4, 3))


def test_the_optimizers_landmark_term_is_this_loss_in_units_of_the_mean_spacing():
    small = small_pair((20, 20, 20))
    grid = small.fixed.grid
    device = torch.device("cpu")
    pair = level_pair(place(small.fixed, device), place(small.moving, device), grid, AffineTransform.identity())
    fixed, moving = 2 + 15 * random(1, 6, 3), 2 + 15 * random(1, 6, 3, seed=2)
    pairs = LandmarkPairs(tuple("abcdef"), *(grid.voxel_to_world(x[0].numpy()) for x in (fixed, moving)))
    term = LandmarkTerm.at_level(pairs, pair, AffineTransform.identity())
    field = random(1, 3, 20, 20, 20).float()
    spacing = grid.spacing / np.exp(np.log(grid.spacing).mean())
    value, slope = by_autograd(lambda u: landmark_distance(u, fixed.float(), moving.float(), spacing), field)
    expected, gradient = term.value_and_gradient(field)
    assert value == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(slope, gradient, atol=1e-4, rtol=1e-4)


def test_dice_of_sums_is_the_optimizers_label_term():
    shape = (7, 9, 8)
    fixed, moving = (random(1, 2, *shape, seed=seed).float() for seed in (1, 2))
    displacement = (0.2 + 0.5 * random(1, 3, *shape, seed=3)).float()
    options = LOSSES["soft_dice"].in_optimizer
    value, slope = by_autograd(lambda u: soft_dice(fixed, warp(moving, u), **options), displacement)
    expected, gradient = LabelTerm(fixed, moving, np.eye(4)).value_and_gradient(displacement)
    assert value == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(slope, gradient, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("loss", [affine_identity_l1, affine_identity_l2])
def test_affine_from_identity(d, loss):
    square = loss is affine_identity_l2
    matrix = torch.eye(d, d + 1, dtype=torch.float64)[None].repeat(2, 1, 1)
    assert loss(matrix) == 0
    matrix[1, 0, 1], matrix[1, 0, d] = 0.5, -3.0
    expected = (0.25 + 9) / 2 if square else (0.5 + 3) / 2
    assert loss(matrix).item() == pytest.approx(expected)
    assert loss(matrix, translation_unit=10).item() == pytest.approx((0.25 + 0.09) / 2 if square else (0.5 + 0.3) / 2)
    last = torch.zeros(2, 1, d + 1, dtype=torch.float64)
    last[..., d] = 1
    assert loss(torch.cat([matrix, last], dim=1)).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(loss, [(matrix + 0.1 + random(2, d, d + 1)).requires_grad_()])
    with pytest.raises(InputError, match="affine"):
        loss(torch.zeros(2, 3))


def test_the_table_holds_every_term_of_the_optimizer():
    assert set(get_args(SimilarityName)) <= {name for name, row in LOSSES.items() if row.kind == "images"}
    assert set(get_args(RegularizerName)) - {"none"} <= {name for name, row in LOSSES.items() if row.kind == "field"}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_has_its_source_in_its_docstring_and_in_the_table(name):
    row = LOSSES[name]
    assert row.doi in (row.function.__doc__ or "")
    assert re.fullmatch(r"10\.\d{4,}/\S+", row.doi)
    line = next(line for line in losses_markdown().splitlines() if line.startswith(f"| `{name}` |"))
    assert line.count("|") == 6
