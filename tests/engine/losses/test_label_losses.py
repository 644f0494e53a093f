"""Overlap: closed forms, MONAI and VoxelMorph (neurite), and that a few labels need no channels of the others."""

import pytest
import torch

from napari_deformreg.engine.losses import common_labels, label_channels, soft_dice, warped_dice
from napari_deformreg.errors import InputError


def soft(seed, shape=(7, 8, 6), channels=3):
    return torch.rand((2, channels, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes():
    """Two squares of 16 pixels that share 8, and one that both have."""
    fixed, moving = torch.zeros(1, 12, 12, dtype=torch.int64), torch.zeros(1, 12, 12, dtype=torch.int64)
    fixed[:, 2:6, 2:6], moving[:, 2:6, 4:8] = 3, 3
    fixed[:, 8:10, 8:10] = moving[:, 8:10, 8:10] = 7
    moving[:, 11, 11] = 9
    return fixed, moving


@pytest.mark.parametrize("denominator", ["squares", "sums"])
def test_dice_of_hard_labels(denominator):
    fixed, moving = boxes()
    channels = [label_channels(x, [3, 7]) for x in (fixed, moving)]
    assert soft_dice(*channels, denominator=denominator).item() == pytest.approx(1 - (0.5 + 1) / 2, abs=1e-6)
    assert soft_dice(channels[0], channels[0], denominator=denominator).item() == pytest.approx(0, abs=1e-6)


def test_equal_probabilities_minimize_squares():
    fixed = soft(1)
    same, near = soft_dice(fixed, fixed), soft_dice(fixed, 0.9 * fixed + 0.1 * soft(2))
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert same < near


@pytest.mark.parametrize("denominator", ["squares", "sums"])
def test_gradient_equals_finite_differences(denominator):
    parts = [soft(seed, (4, 3), 2).requires_grad_() for seed in (1, 2)]
    weight = soft(3, (4, 3), 1)
    assert torch.autograd.gradcheck(lambda f, m: soft_dice(f, m, weight, denominator), parts)


def test_dice_equals_voxelmorph_and_monai():
    neurite, monai = pytest.importorskip("neurite.nn.functional"), pytest.importorskip("monai.losses")
    fixed, moved = soft(1), soft(2)
    torch.testing.assert_close(soft_dice(fixed, moved), 1 - neurite.dice(fixed, moved).squeeze())
    torch.testing.assert_close(soft_dice(fixed, moved, denominator="sums"), monai.DiceLoss()(moved, fixed))
    torch.testing.assert_close(soft_dice(fixed, moved), monai.DiceLoss(squared_pred=True)(moved, fixed))


def test_labels_in_common_and_a_drawn_subset_of_them():
    fixed, moving = boxes()
    assert common_labels(fixed, moving) == [3, 7]
    drawn = {common_labels(fixed, moving, 1, torch.Generator().manual_seed(seed))[0] for seed in range(20)}
    assert drawn == {3, 7}


def test_warped_dice_follows_the_displacement_to_the_overlap():
    fixed, moving = boxes()
    shift = torch.zeros(1, 2, 12, 12)
    shift[:, 1] = 2.0
    assert warped_dice(fixed, moving, shift, [3]).item() == pytest.approx(0, abs=1e-6)
    near = (0.6 * shift).requires_grad_()
    warped_dice(fixed, moving, near, [3]).backward()
    assert near.grad[0, 1].sum() < 0  # farther to the right is better
    assert warped_dice(fixed, moving, near, []) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_accumulated_in_float32(dtype):
    """The sums over 64^3 voxels would overflow in float16 and stop growing in bfloat16."""
    fixed, moved = soft(1, (64, 64, 64), 1).to(dtype), soft(2, (64, 64, 64), 1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        value = soft_dice(fixed, moved)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), soft_dice(fixed.double(), moved.double()), atol=1e-5, rtol=0)


def test_channels_that_do_not_match_are_refused():
    with pytest.raises(InputError, match="one shape"):
        soft_dice(soft(1), soft(1, channels=2))
