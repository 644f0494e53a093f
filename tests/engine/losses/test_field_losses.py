"""Terms of a vector field: closed forms, gradients, the optimizer's terms, MONAI and VoxelMorph (neurite)."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_deformreg.engine.differentiable import integrate
from napari_deformreg.engine.losses import (
    LOSSES,
    bending,
    diffusion_l1,
    diffusion_l2,
    digital_determinants,
    displacement_magnitude,
    folding_barrier,
    inverse_consistency,
)
from napari_deformreg.engine.regularizers import REGULARIZERS
from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid
from napari_deformreg.space.jacobian import digital_fold_mask, digital_minimum

FIELD_LOSSES = sorted(name for name, row in LOSSES.items() if row.kind == "field")


def rough(shape, seed=1, batch=2, dtype=torch.float64):
    return torch.randn((batch, len(shape), *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", FIELD_LOSSES)
@pytest.mark.parametrize("shape", [(5, 4), (3, 3, 4)], ids=str)
def test_gradient_equals_finite_differences(name, shape):
    spacing = (1.0, 2.5, 0.7)[: len(shape)]
    assert torch.autograd.gradcheck(lambda v: LOSSES[name].function(v, spacing=spacing), [rough(shape).requires_grad_()], fast_mode=True)


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS) - {"none"}))
def test_the_optimizers_term_is_this_loss_with_the_spacing_of_its_grid(name):
    field = rough((7, 6, 1), batch=1)
    grid = Grid((7, 6, 1), np.diag([1.0, 2.0, 4.0, 1.0]))
    leaf = field.clone().requires_grad_()
    value = LOSSES[name].function(leaf, (1.0, 2.0, 4.0))
    value.backward()
    expected, gradient = REGULARIZERS[name](field, grid)
    assert value.item() == pytest.approx(expected)
    torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.parametrize("name", FIELD_LOSSES)
@pytest.mark.parametrize("shape", [(8, 9), (6, 7, 5)], ids=str)
def test_no_motion_minimizes(name, shape):
    loss = LOSSES[name].function
    assert loss(torch.zeros(2, len(shape), *shape)) == 0
    assert loss(rough(shape)) > 0


@pytest.mark.parametrize("name", FIELD_LOSSES)
def test_a_batch_is_the_mean_of_its_elements(name):
    fields = rough((6, 7, 5), batch=3)
    alone = torch.stack([LOSSES[name].function(fields[[n]], (1.0, 2.0, 4.0)) for n in range(3)])
    torch.testing.assert_close(LOSSES[name].function(fields, (1.0, 2.0, 4.0)), alone.mean())


@pytest.mark.parametrize("name", FIELD_LOSSES)
def test_half_precision_is_accumulated_in_float32(name):
    field = rough((6, 7, 5)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = LOSSES[name].function(field)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), LOSSES[name].function(field.double()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FIELD_LOSSES)
def test_what_is_no_field_or_no_spacing_is_refused(name):
    with pytest.raises(InputError, match="vector field"):
        LOSSES[name].function(torch.zeros(1, 3, 8, 8))
    if name != "folding_barrier":
        with pytest.raises(InputError, match="voxel sizes"):
            LOSSES[name].function(torch.zeros(1, 2, 8, 8), (1.0, 0.0))


SPACINGS = [(1.0, 2.0), (1.0, 2.0, 4.0)]


def along(axis, shape, power=1):
    """Coordinate of each voxel along an axis to a power."""
    size = [1] * len(shape)
    size[axis] = shape[axis]
    return (torch.arange(shape[axis], dtype=torch.float64) ** power).view(size).expand(shape)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_gradient_terms_of_a_linear_field_are_its_slope_in_mm(spacing):
    """u_1 = 0.1 x_0 in mm; the last plane has no forward difference."""
    shape = (7, 6, 5)[: len(spacing)]
    field = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
    field[0, 1] = 0.1 * along(0, shape) * spacing[0] / spacing[1]
    assert diffusion_l2(field, spacing).item() == pytest.approx(0.01 * 6 / 7)
    assert diffusion_l1(field, spacing).item() == pytest.approx(0.1 * 6 / 7, abs=1e-3)
    assert diffusion_l1(field, spacing, corner=1e-9).item() == pytest.approx(0.1 * 6 / 7)
    assert bending(field, spacing).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_bending_of_quadratic_fields_in_mm(spacing):
    """u_0 = a x_0^2 has the second derivative 2 a, u_0 = a x_0 x_1 twice a mixed one of a."""
    shape, a, unit = (7, 6, 5)[: len(spacing)], 0.05, np.mean(spacing) ** 2
    pure = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
    pure[0, 0] = a * along(0, shape, 2) * spacing[0]
    assert bending(pure, spacing).item() == pytest.approx(unit * (2 * a) ** 2 * 5 / 7)
    mixed = torch.zeros_like(pure)
    mixed[0, 0] = a * along(0, shape) * along(1, shape) * spacing[1]
    assert bending(mixed, spacing).item() == pytest.approx(unit * 2 * a**2 * 6 / 7 * 5 / 6)


@pytest.mark.parametrize("shape", [(11, 11), (8, 8, 8)], ids=str)
@pytest.mark.parametrize(("loss", "penalty"), [(diffusion_l2, "l2"), (partial(diffusion_l1, corner=1e-9), "l1")], ids=["l2", "l1"])
def test_gradient_terms_equal_voxelmorphs_up_to_its_mean(shape, loss, penalty):
    """VoxelMorph takes the mean over components and axes and over the n - 1 differences; ours sums those and divides by voxels."""
    neurite = pytest.importorskip("neurite.nn.functional")
    d, n = len(shape), shape[0]
    field = rough(shape)
    torch.testing.assert_close(loss(field), neurite.spatial_gradient(field, penalty) * d * d * (n - 1) / n)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # MONAI's own
@pytest.mark.parametrize("shape", [(12, 12), (8, 8, 8)], ids=str)
def test_gradient_and_bending_equal_monais_up_to_its_mean(shape):
    """MONAI takes the mean over components and inner voxels, and central differences: the same for fields of a constant derivative."""
    monai = pytest.importorskip("monai.losses")
    d, n = len(shape), shape[0]
    linear, pure, mixed = (torch.zeros(1, d, *shape, dtype=torch.float64) for _ in range(3))
    linear[0, 1], pure[0, 0], mixed[0, 1] = 0.3 * along(0, shape), 0.2 * along(0, shape, 2), 0.1 * along(0, shape) * along(1, shape)
    torch.testing.assert_close(diffusion_l2(linear), monai.DiffusionLoss()(linear) * d * (n - 1) / n)
    torch.testing.assert_close(bending(pure), monai.BendingEnergyLoss()(pure) * d * (n - 2) / n)
    torch.testing.assert_close(bending(mixed), monai.BendingEnergyLoss()(mixed) * d * ((n - 1) / n) ** 2)


def test_magnitude_is_the_squared_length_in_mm_where_it_counts():
    field = torch.zeros(1, 2, 6, 8)
    field[0, 0], field[0, 1] = 1.0, 2.0
    assert displacement_magnitude(field, (2.0, 0.5)).item() == pytest.approx(5)
    weight = torch.ones(1, 1, 6, 8)
    weight[..., 4:] = 0
    field[..., 4:] = 100.0
    assert displacement_magnitude(field, (2.0, 0.5), weight).item() == pytest.approx(5)


def test_inverse_consistency_of_shifts_and_of_a_velocity():
    shift = torch.zeros(1, 3, 8, 8, 8)
    shift[0, 2] = 1.5
    assert inverse_consistency(shift, -shift).item() == pytest.approx(0, abs=1e-10)
    assert inverse_consistency(shift, 0 * shift, (1.0, 1.0, 2.0)).item() == pytest.approx(9)
    velocity = F.interpolate(rough((4, 4, 4), batch=1, dtype=torch.float32), size=(24, 24, 24), mode="trilinear", align_corners=True)
    there, back = integrate(velocity), integrate(-velocity)
    assert inverse_consistency(there, back) < 0.02 * displacement_magnitude(there)
    assert inverse_consistency(there, -there) > 5 * inverse_consistency(there, back)


@pytest.mark.parametrize("shape", [(5, 4), (4, 3, 5)], ids=str)
def test_gradient_of_inverse_consistency_equals_finite_differences(shape):
    # Positions are kept away from voxel centers, where the linear interpolation has a kink.
    fields = [(0.2 + 0.1 * torch.rand(1, len(shape), *shape, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda f, b: inverse_consistency(f, b, (1.0, 2.0, 0.5)[: len(shape)]), fields)


@pytest.mark.parametrize("shape", [(9, 11), (7, 6, 8)], ids=str)
def test_determinants_are_those_of_the_digital_test(shape):
    field = 0.5 * rough(shape, batch=2)
    got = digital_determinants(field)
    assert got.shape == (2, 4 if len(shape) == 2 else 10, *shape)
    array = np.zeros((*shape, 3)) if len(shape) == 3 else np.zeros((*shape, 1, 3))
    for n in range(2):
        array[..., : len(shape)] = field[n].movedim(0, -1).numpy().reshape(*array.shape[:3], len(shape))
        np.testing.assert_allclose(got[n].amin(dim=0).numpy(), digital_minimum(array).reshape(shape), atol=1e-5)
        folds = (got[n] <= 0).any(dim=0).numpy()
        np.testing.assert_array_equal(folds, digital_fold_mask(array).reshape(shape))
        assert 0 < folds.mean() < 1


@pytest.mark.parametrize("shape", [(9, 11), (7, 6, 8)], ids=str)
def test_barrier_of_the_identity_and_of_a_stretch(shape):
    still = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
    assert folding_barrier(still, margin=1.25).item() == pytest.approx(0.0625)
    pressed = still.clone()
    pressed[0, 0] = -0.8 * along(0, shape)  # all determinants 0.2 inside, since one axis is pressed to a fifth
    inside = torch.zeros_like(still[:, :1])
    inside[(..., *[slice(1, -1)] * len(shape))] = 1
    assert folding_barrier(pressed, weight=inside).item() == 0
    assert folding_barrier(pressed, weight=inside, margin=0.5).item() == pytest.approx(0.09)


def test_descending_the_barrier_removes_planted_folds_and_leaves_the_rest_alone():
    field = 0.03 * rough((10, 10, 10), batch=1)
    field[0, 0, 5, 5, 5] = field[0, 1, 3, 6, 4] = 1.4
    leaf = field.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.05)
    assert folding_barrier(leaf) > 0
    for _ in range(60):
        optimizer.zero_grad()
        folding_barrier(leaf, margin=0.15).backward()
        optimizer.step()
    repaired = leaf.detach()
    assert not digital_fold_mask(repaired[0].movedim(0, -1).numpy()).any()
    changed = (repaired != field).any(dim=1)[0]
    assert changed[5, 5, 5]
    assert changed.double().mean() < 0.1
