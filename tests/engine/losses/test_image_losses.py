"""Image losses: closed forms, gradients, and MONAI's and VoxelMorph's (neurite's) implementations."""

import pytest
import torch
import torch.nn.functional as F

from napari_deformreg.engine.losses import LOSSES, lncc, mse

IMAGE_LOSSES = sorted(name for name, row in LOSSES.items() if row.kind == "images")
SHAPES = [(13, 11), (9, 8, 10)]


def noise(shape, seed, batch=2, channels=1, dtype=torch.float64):
    return torch.rand((batch, channels, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", IMAGE_LOSSES)
@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3)], ids=str)
def test_gradient_equals_finite_differences_in_both_images(name, shape):
    weight = noise(shape, 3)
    loss = LOSSES[name].function
    images = [(0.1 + 0.8 * noise(shape, seed)).requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(lambda f, m: loss(f, m, weight), images)


@pytest.mark.parametrize("name", IMAGE_LOSSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identical_images_minimize(name, shape):
    loss, fixed = LOSSES[name].function, noise(shape, 1)
    same, near, other = loss(fixed, fixed), loss(fixed, 0.9 * fixed + 0.1 * noise(shape, 2)), loss(fixed, noise(shape, 2))
    assert LOSSES[name].lower_bound <= same < near < other


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_a_batch_is_the_mean_of_its_elements_and_weight_zero_does_not_count(name):
    loss, shape = LOSSES[name].function, (9, 20)
    fixed, moved, weight = noise(shape, 1), noise(shape, 2), noise(shape, 3)
    alone = [loss(fixed[[n]], moved[[n]], weight[[n]]) for n in range(2)]
    torch.testing.assert_close(loss(fixed, moved, weight), torch.stack(alone).mean())
    weight[..., 10:] = 0
    spoiled = moved.clone()
    spoiled[..., 15:] = 7.0  # beyond the reach of a window around a voxel that counts
    torch.testing.assert_close(loss(fixed, moved, weight), loss(fixed, spoiled, weight))
    assert loss(fixed, moved, torch.zeros_like(weight)) == 0


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_half_precision_is_accumulated_in_float32(name):
    loss, shape = LOSSES[name].function, (24, 24, 24)
    fixed, moved = (noise(shape, seed).bfloat16() for seed in (1, 2))
    leaf = moved.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(fixed, leaf)
    value.backward()
    assert value.dtype == torch.float32
    assert leaf.grad.dtype == torch.bfloat16
    torch.testing.assert_close(value.detach(), loss(fixed.double(), moved.double()).float(), atol=1e-5, rtol=1e-5)


def test_lncc_of_two_ramps_is_one_and_of_a_constant_is_zero():
    ramp = torch.arange(12, dtype=torch.float64).view(1, 1, 12, 1).expand(1, 1, 12, 12) / 12
    assert lncc(ramp, 0.3 - 0.2 * ramp, epsilon=1e-12).item() == pytest.approx(-1)
    assert lncc(ramp, torch.full_like(ramp, 0.7)).item() == pytest.approx(0, abs=1e-12)


def test_lncc_by_its_definition_at_one_voxel():
    fixed, moved = noise((9, 8, 10), 1, batch=1), noise((9, 8, 10), 2, batch=1)
    weight = torch.zeros_like(fixed)
    weight[0, 0, 1, 4, 9] = 0.5  # a window that the image cuts on two sides
    f, m = (x[0, 0, 0:5, 1:8, 6:10] for x in (fixed, moved))
    f, m = f - f.mean(), m - m.mean()
    expected = (f * m).mean() ** 2 / (((f * f).mean() + 2e-4) * ((m * m).mean() + 2e-4))
    assert -lncc(fixed, moved, weight, radius_vox=3).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lncc_equals_monai_and_voxelmorph_where_the_padding_is_image(shape):
    """They take the zeros beyond the rim for image: padded with those zeros, and without epsilon, ours gives the same number."""
    monai, neurite = pytest.importorskip("monai.losses"), pytest.importorskip("neurite.nn.functional")
    fixed, moved, radius = noise(shape, 1), noise(shape, 2), 4
    padded = [F.pad(x, [radius] * 2 * len(shape)) for x in (fixed, moved, torch.ones_like(fixed))]
    ours = lncc(*padded, radius_vox=radius, epsilon=1e-13)
    torch.testing.assert_close(ours, -neurite.ncc(fixed, moved, window_size=9, eps=1e-13).squeeze())
    theirs = monai.LocalNormalizedCrossCorrelationLoss(len(shape), 2 * radius + 1, smooth_dr=1e-13)
    torch.testing.assert_close(ours, theirs(moved, fixed))
    # Why ours differs: the edge between image and zeros is the same in both images and correlates, whatever they show.
    assert -lncc(fixed, moved, radius_vox=radius) < 0.3 * -ours


def test_mse_equals_voxelmorph_and_in_units_of_variance_is_two_for_unrelated_images():
    neurite = pytest.importorskip("neurite.nn.functional")
    fixed, moved = noise((60, 60), 1, channels=2), noise((60, 60), 2, channels=2)
    torch.testing.assert_close(mse(fixed, moved), neurite.mse(fixed, moved))
    assert mse(fixed, moved, normalize=True).item() == pytest.approx(2, rel=0.05)
