"""Image losses: closed forms, gradients, the optimizer's terms, and MONAI's and VoxelMorph's (neurite's) implementations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_deformreg.engine.losses import LOSSES, by_autograd, lncc, mind_ssc, mse, mutual_information, ncc, nmi
from napari_deformreg.engine.losses.descriptors import descriptor_distance, mind_descriptors
from napari_deformreg.engine.similarities import SIMILARITIES
from napari_deformreg.errors import InputError
from napari_deformreg.settings import RefineSettings

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
    assert torch.autograd.gradcheck(lambda f, m: loss(f, m, weight), images, fast_mode=True)


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


def in_optimizer(name, fixed, fixed_weight):
    """The optimizer's prepared term, and the loss that should be the same, of what the optimizer compares (images or descriptors)."""
    spec, settings = SIMILARITIES[name], RefineSettings()
    term = spec.prepare(spec.features(fixed), fixed_weight, settings)
    if name == "mind_ssc":  # the optimizer warps descriptors, so those are what the loss is a function of
        return term, spec.features, lambda p, w: descriptor_distance(mind_descriptors(fixed), p, w)
    return term, spec.features, lambda p, w: LOSSES[name].function(fixed, p, w, **LOSSES[name].in_optimizer)


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
@pytest.mark.parametrize("shape", [(11, 10, 13), (1, 21, 18)], ids=str)
def test_value_and_gradient_are_the_optimizers(name, shape):
    fixed, moving, weight = (noise(shape, seed, batch=1, dtype=torch.float32) for seed in (1, 2, 3))
    mask = (weight > 0.2).float()  # the variance that the optimizer measures squared differences in is that within the fixed weight
    term, features, loss = in_optimizer(name, fixed, mask)
    value, gradient = term.value_and_gradient(features(moving), torch.ones_like(mask))
    expected, slope = by_autograd(lambda p: loss(p, mask), features(moving))
    assert value == pytest.approx(expected, rel=1e-4)
    assert float((gradient - slope).norm() / slope.norm()) < 1e-3


def test_ncc_equals_numpy_and_does_not_see_brightness():
    fixed, moved = noise((9, 8, 10), 1, batch=1), noise((9, 8, 10), 2, batch=1)
    expected = np.corrcoef(fixed.flatten(), moved.flatten())[0, 1]
    assert -ncc(fixed, moved).item() == pytest.approx(expected, abs=1e-4)
    assert ncc(fixed, 0.2 + 0.5 * fixed).item() == pytest.approx(-1, abs=1e-4)
    assert ncc(fixed, 0.9 - 0.5 * fixed).item() == pytest.approx(1, abs=1e-4)


def test_mse_of_a_constant_offset_is_its_square():
    fixed = noise((9, 8), 1)
    assert mse(fixed, fixed + 0.3).item() == pytest.approx(0.09)


def test_information_of_two_values_is_log_two():
    """Half the voxels 0, half 1: H(F) = log 2; the spline spreads a value at a bin's center over three bins, in both entropies alike."""
    halves = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    halves[..., 4:] = 1
    spread = -(2 / 6 * np.log(1 / 6) + 2 / 3 * np.log(2 / 3))
    assert mutual_information(halves, 1 - halves).item() == pytest.approx(-np.log(2))
    assert nmi(halves, 1 - halves).item() == pytest.approx(1 - (2 * np.log(2) + spread) / (np.log(2) + spread))
    rows = halves.transpose(2, 3)
    assert mutual_information(halves, rows).item() == pytest.approx(0, abs=1e-12)
    assert nmi(halves, rows).item() == pytest.approx(0, abs=1e-12)


def test_mutual_information_equals_monai_where_the_windows_are_the_same():
    """MONAI counts the fixed image with a box, we with a linear window: the same for intensities at the centers of bins.

    Its 33 bins with four at the rim are as wide as our 32 with three; it puts the brightest voxel one bin lower, and so do we here.
    """
    monai = pytest.importorskip("monai.losses")
    fixed = (noise((16, 16, 16), 1, batch=1) * 29).round() / 29
    moved = (0.5 * fixed + 0.5 * noise((16, 16, 16), 2, batch=1)).clone()
    moved.flatten()[:2] = torch.tensor([0.0, 1.0])
    theirs = monai.GlobalMutualInformationLoss("b-spline", num_bins=33, smooth_nr=1e-10, smooth_dr=1e-10)
    expected = theirs(moved[0], fixed[0])
    torch.testing.assert_close(mutual_information(fixed.clamp_max(28 / 29), moved.clamp_max(28 / 29)), expected, atol=1e-6, rtol=1e-6)
    assert expected < -0.3


def test_mind_does_not_see_contrast_and_a_slice_is_an_image():
    fixed = noise((12, 14), 1, batch=3)
    assert mind_ssc(fixed, 0.3 - 0.2 * fixed).item() == pytest.approx(0, abs=1e-9)
    moved = noise((12, 14), 2, batch=3)
    torch.testing.assert_close(mind_ssc(fixed, moved), mind_ssc(fixed[:, :, :, None], moved[:, :, :, None]))
    flat = torch.full_like(fixed, 0.5).requires_grad_()
    mind_ssc(fixed, flat).backward()
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_what_cannot_be_compared_is_refused(name):
    with pytest.raises(InputError, match="one shape"):
        LOSSES[name].function(noise((8, 8), 1), noise((8, 9), 1))
    with pytest.raises(InputError, match="weight"):
        LOSSES[name].function(noise((8, 8), 1), noise((8, 8), 1), noise((8, 9), 1))


def test_lncc_of_a_constant_image_has_a_finite_gradient():
    flat = torch.full((1, 1, 9, 9), 0.5, requires_grad=True)
    lncc(noise((9, 9), 1, batch=1, dtype=torch.float32), flat).backward()
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("name", ["mutual_information", "nmi"])
def test_information_keeps_no_table_of_voxels_by_bins(name):
    sizes = []
    fixed, moved = noise((60, 40), 1), noise((60, 40), 2).requires_grad_()

    def remember(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        LOSSES[name].function(fixed, moved)
    assert max(sizes) == fixed.numel()
    assert sum(size == fixed.numel() for size in sizes) <= 4
