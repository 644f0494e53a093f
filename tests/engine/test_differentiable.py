"""The differentiable twins agree with the optimizer's own sampling, with SciPy, and with finite differences."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_deformreg.engine import differentiable, sampling
from napari_deformreg.errors import InputError


def smooth_field(shape: tuple[int, ...], largest_vox: float, batch: int = 1, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((batch, len(shape), *shape))
    field = gaussian_filter(field, (0, 0, *[3.0] * len(shape)))
    return torch.from_numpy(field * (largest_vox / np.abs(field).max())).float()


@pytest.mark.parametrize("shape", [(13, 17), (9, 11, 14)])
@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("nearest", 0)])
def test_warp_equals_scipy(shape, mode, order):
    rng = np.random.default_rng(1)
    image = rng.random((2, 3, *shape)).astype(np.float32)
    field = smooth_field(shape, 3.3, batch=2).numpy()
    got = differentiable.warp(torch.from_numpy(image), torch.from_numpy(field), mode).numpy()
    places = np.indices(shape)[None] + field
    for n in range(2):
        expected = np.stack([map_coordinates(channel, places[n], order=order, mode="nearest") for channel in image[n]])
        np.testing.assert_allclose(got[n], expected, atol=2e-5)


def test_three_dimensional_fields_agree_with_the_optimizers_kernels():
    velocity = smooth_field((12, 15, 10), 4.0)
    other = smooth_field((12, 15, 10), 2.0, seed=3)
    torch.testing.assert_close(differentiable.integrate(velocity), sampling.integrate(velocity, squarings=7), atol=1e-4, rtol=0)
    torch.testing.assert_close(differentiable.compose(velocity, other), sampling.compose(velocity, other), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        differentiable.resize_field(velocity, (23, 29, 19)), sampling.resize_field(velocity, (23, 29, 19)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("shape", [(20, 24), (16, 18, 20)])
def test_minus_the_velocity_integrates_to_the_inverse(shape):
    velocity = smooth_field(shape, 3.0, seed=5)
    there, back = differentiable.integrate(velocity), differentiable.integrate(-velocity)
    inner = (slice(None), slice(None), *[slice(4, -4)] * len(shape))
    assert differentiable.compose(back, there)[inner].abs().max() < 0.05
    assert there.abs().max() > 1.5


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 4)])
def test_warp_is_differentiable_in_image_and_displacement(shape):
    torch.manual_seed(0)
    image = torch.rand((1, 2, *shape), dtype=torch.float64, requires_grad=True)
    # Positions are kept away from voxel centers, where the piecewise-linear interpolation has a kink.
    field = (0.3 + 0.4 * torch.rand((1, len(shape), *shape), dtype=torch.float64)).mul(0.5).requires_grad_()
    assert torch.autograd.gradcheck(differentiable.warp, (image, field))


def test_a_constant_stretch_keeps_its_meaning_when_resized():
    # u(x) = 0.1 x carries the last voxel center of 11 by 1.0 voxel; on 21 voxels over the same view that is 2.0 voxels.
    axis = torch.arange(11, dtype=torch.float32)
    field = torch.stack([0.1 * axis[:, None].expand(11, 11), torch.zeros(11, 11)])[None]
    resized = differentiable.resize_field(field, (21, 21))
    assert resized[0, 0, -1, 0] == pytest.approx(2.0, abs=1e-6)
    assert resized[0, 0, 10, 0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 3)])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_the_central_gradient_changes_no_value_and_not_the_derivative_by_the_image(shape, padding):
    torch.manual_seed(0)
    image = torch.rand((1, 2, *shape), dtype=torch.float64, requires_grad=True)
    field = torch.randn((1, len(shape), *shape), dtype=torch.float64) * 1.5
    plain, smooth = (differentiable.warp(image, field, padding=padding, gradient=kind) for kind in ("linear", "central"))
    torch.testing.assert_close(smooth, plain, rtol=0, atol=0)
    assert torch.autograd.gradcheck(lambda data: differentiable.warp(data, field, padding=padding, gradient="central"), image)


@pytest.mark.parametrize("shape", [(12, 15), (9, 8, 10)])
@pytest.mark.parametrize(("padding", "extension"), [("border", "edge"), ("zeros", "constant")])
def test_the_central_gradient_interpolates_central_differences(shape, padding, extension):
    rng = np.random.default_rng(0)
    image, weight = rng.random((2, 3, *shape)), rng.random((2, 3, *shape))
    field = rng.standard_normal((2, len(shape), *shape)) * 2
    leaf = torch.from_numpy(field).requires_grad_()
    warped = differentiable.warp(torch.from_numpy(image), leaf, padding=padding, gradient="central")
    (warped * torch.from_numpy(weight)).sum().backward()
    # NumPy's gradient is the central difference inside; the image is continued by three voxels, and SciPy samples it there.
    around, beyond = 3, {"edge": "nearest", "constant": "constant"}[extension]
    wide = np.pad(image, [(0, 0), (0, 0), *[(around, around)] * len(shape)], mode=extension)
    places = np.indices(shape)[None] + field + around
    for axis in range(len(shape)):
        slope = np.gradient(wide, axis=2 + axis)
        expected = sum(
            weight[:, c] * np.stack([map_coordinates(slope[n, c], places[n], order=1, mode=beyond) for n in range(2)]) for c in range(3)
        )
        np.testing.assert_allclose(leaf.grad[:, axis].numpy(), expected, atol=1e-10)


def test_the_central_gradient_is_continuous_where_the_linear_one_jumps():
    image = torch.rand(1, 1, 1, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = {}
    for kind in ("linear", "central"):
        slopes = []
        for shift in (-1e-6, 1e-6):
            field = torch.full((1, 2, 1, 30), 0.0, dtype=torch.float64)
            field[:, 1] = shift
            field.requires_grad_()
            differentiable.warp(image, field, gradient=kind).sum().backward()
            slopes.append(field.grad[0, 1, 0, 2:-2])
        steps[kind] = float((slopes[1] - slopes[0]).abs().max())
    assert steps["central"] < 1e-4
    assert steps["linear"] > 0.5


def test_the_central_gradient_descends_to_the_true_shift():
    image = torch.from_numpy(gaussian_filter(np.random.default_rng(2).random((1, 1, 30, 40)), (0, 0, 3, 3))).float()
    target = differentiable.warp(image, torch.full((1, 2, 30, 40), 0.8))
    shift = torch.zeros((1, 2, 1, 1), requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (differentiable.warp(image, shift.expand(1, 2, 30, 40), gradient="central") - target).square().mean().backward()
        optimizer.step()
    assert (shift.detach() - 0.8).abs().max() < 0.05


@pytest.mark.parametrize("matrix", [torch.eye(3), torch.eye(4)[:2], torch.zeros(1, 1, 3, 4)])
def test_a_matrix_of_a_wrong_shape_is_refused(matrix):
    with pytest.raises(InputError, match=r"\(3, 4\)"):
        differentiable.affine_to_displacement(matrix, (4, 5, 6))


def test_nothing_cannot_be_composed():
    with pytest.raises(InputError, match="at least one"):
        differentiable.compose_chain([])
