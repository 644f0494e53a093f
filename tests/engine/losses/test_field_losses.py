"""Terms of a vector field: closed forms, gradients, the optimizer's terms, MONAI and VoxelMorph (neurite)."""

import numpy as np
import pytest
import torch

from napari_deformreg.engine.losses import LOSSES, diffusion_l2
from napari_deformreg.engine.regularizers import REGULARIZERS
from napari_deformreg.space import Grid

FIELD_LOSSES = sorted(name for name, row in LOSSES.items() if row.kind == "field")


def rough(shape, seed=1, batch=2, dtype=torch.float64):
    return torch.randn((batch, len(shape), *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", FIELD_LOSSES)
@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 5)], ids=str)
def test_gradient_equals_finite_differences(name, shape):
    spacing = (1.0, 2.5, 0.7)[: len(shape)]
    assert torch.autograd.gradcheck(lambda v: LOSSES[name].function(v, spacing=spacing), [rough(shape).requires_grad_()])


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS) & set(FIELD_LOSSES)))
@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6, 1)], ids=str)
def test_value_and_gradient_are_the_optimizers(name, shape):
    grid = Grid(shape, np.diag([1.0, 2.0, 4.0, 1.0]))
    leaf = rough(shape, batch=1).requires_grad_()
    value = LOSSES[name].function(leaf, grid.spacing)
    value.backward()
    expected, gradient = REGULARIZERS[name](leaf.detach(), grid)
    assert value.item() == pytest.approx(expected)
    torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.parametrize("shape", [(11, 11), (8, 8, 8)], ids=str)
def test_diffusion_equals_voxelmorph_up_to_its_mean_over_components(shape):
    """VoxelMorph takes the mean over components and axes and over the n - 1 differences; ours sums those and divides by voxels."""
    neurite = pytest.importorskip("neurite.nn.functional")
    d, n = len(shape), shape[0]
    field = rough(shape)
    torch.testing.assert_close(diffusion_l2(field), neurite.spatial_gradient(field, "l2") * d * d * (n - 1) / n)
