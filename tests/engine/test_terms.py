"""Smoothness, landmark and label terms: known values, and gradients equal to finite differences."""

import itertools

import numpy as np
import pytest
import torch

from napari_deformreg.engine.prepare import level_pair
from napari_deformreg.engine.regularizers import REGULARIZERS
from napari_deformreg.engine.tensors import place
from napari_deformreg.engine.terms import LabelTerm, LandmarkTerm
from napari_deformreg.phantom import small_pair
from napari_deformreg.space import AffineTransform, Grid, LandmarkPairs

ANISOTROPIC = Grid((7, 6, 5), np.diag([1.0, 2.0, 4.0, 1.0]))


def finite_difference(function, field, where, step):
    ahead, behind = field.clone(), field.clone()
    ahead[where] += step
    behind[where] -= step
    return (function(ahead)[0] - function(behind)[0]) / (2 * step)


@pytest.mark.parametrize("name", [n for n in REGULARIZERS if n != "none"])
@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6, 1)])
def test_gradient_of_each_regularizer_is_its_derivative(name, shape):
    grid = Grid(shape, np.diag([1.0, 2.0, 4.0, 1.0]))
    field = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = REGULARIZERS[name](field, grid)[1]
    for where in [(0, 0, 0, 0, 0), (0, 1, 3, 2, 0), (0, 2, 6, 5, shape[2] - 1), (0, 0, 2, 5, 0)]:
        expected = finite_difference(lambda v: REGULARIZERS[name](v, grid), field, where, 1e-5)
        assert float(gradient[where]) == pytest.approx(expected, abs=1e-6, rel=1e-4)


def test_diffusion_of_a_linear_field_is_its_slope_squared_in_mm():
    """u_x = 0.1 x in mm has |grad u|^2 = 0.01, whatever the voxel sizes (the last plane has no forward difference)."""
    x_mm = torch.arange(7, dtype=torch.float64) * 1.0
    field = torch.zeros(1, 3, 7, 6, 5, dtype=torch.float64)
    field[0, 0] = (0.1 * x_mm / 1.0)[:, None, None]
    assert REGULARIZERS["diffusion_l2"](field, ANISOTROPIC)[0] == pytest.approx(0.01 * 6 / 7)
    assert REGULARIZERS["bending"](field, ANISOTROPIC)[0] == pytest.approx(0, abs=1e-12)


def pair_of_level(small):
    device = torch.device("cpu")
    return level_pair(place(small.fixed, device), place(small.moving, device), small.fixed.grid, AffineTransform.identity())


def test_landmark_term_is_zero_at_the_truth_and_measures_the_miss():
    small = small_pair((20, 20, 20))
    pair = pair_of_level(small)
    points = small.fixed.grid.voxel_to_world(np.array([[5.2, 6.7, 8.1], [10.0, 9.5, 12.25]]))
    shift_vox = np.array([1.0, -2.0, 0.5])
    moved = points + small.fixed.grid.affine[:3, :3] @ shift_vox
    term = LandmarkTerm.at_level(LandmarkPairs(("a", "b"), points, moved), pair, AffineTransform.identity())
    constant = torch.tensor(shift_vox, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 20, 20, 20).contiguous()
    assert term.value_and_gradient(constant)[0] == pytest.approx(0, abs=1e-8)
    value, gradient = term.value_and_gradient(torch.zeros_like(constant))
    assert value == pytest.approx(float((shift_vox**2).sum()), rel=1e-5)
    for where in itertools.islice(zip(*[a.tolist() for a in gradient.nonzero(as_tuple=True)], strict=True), 5):
        expected = finite_difference(term.value_and_gradient, torch.zeros_like(constant), where, 1e-2)
        assert float(gradient[where]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_label_term_is_zero_for_equal_labels_and_falls_along_its_gradient():
    small = small_pair((20, 20, 20))
    pair = pair_of_level(small)
    same = LabelTerm.at_level(small.fixed_labels, small.fixed_labels, pair, AffineTransform.identity())
    still = torch.zeros(1, 3, 20, 20, 20)
    assert same.value_and_gradient(still)[0] == pytest.approx(0, abs=1e-5)
    term = LabelTerm.at_level(small.fixed_labels, small.moving_labels, pair, AffineTransform.identity())
    value, gradient = term.value_and_gradient(still)
    assert 0 < value < 1
    lower = term.value_and_gradient(still - gradient / gradient.abs().max() * 0.1)[0]
    assert lower < value
