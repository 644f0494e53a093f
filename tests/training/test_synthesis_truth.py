"""The true velocity is true: it carries fixed to moving, its negative carries back, and no mirrored axis or sign would pass."""

import pytest
import torch

from napari_deformreg.engine import differentiable
from napari_deformreg.engine.kernels.reference import identity
from napari_deformreg.training.synthesis import SynthesisSettings, SyntheticPairs

SIZES = [(48, 48, 48), (40, 48, 56), (96, 80)]
LARGE_MOTION = {"motion": {"strength": (1, 1), "affine_probability": 1.0, "sd_max_vox": (0.4, 1.2, 2.0, 3.0)}}
CLEAN = {"hidden_probability": 0.0, "missing_probability": 0.0}
THICK = {"shell_probability": 0.0, "vessel_probability": 0.0}  # rounding to voxels alone costs a shell of one voxel a good part of its Dice


def shape_pairs(size, **changes):
    given = {"size": size, "images": CLEAN, "shapes": THICK, **LARGE_MOTION, **changes}
    return SyntheticPairs(SynthesisSettings.from_mapping(given), seed=3)


def interior_dice(labels, velocity, reference):
    """Mean Dice, after warping, over labels of at least 100 voxels, where the warp stays in the field of view.

    The one-hot map is warped linearly and the strongest label taken: less rounding than nearest neighbors.
    """
    channels = torch.nn.functional.one_hot(labels, int(labels.max()) + 1).movedim(-1, 1).float()
    motion = differentiable.integrate(velocity)
    moved = differentiable.warp(channels, motion).argmax(1)
    places = identity(tuple(labels.shape[1:]), motion.device) + motion
    size = torch.tensor(labels.shape[1:]).view(1, -1, *[1] * (labels.dim() - 1))
    inner = ((places > 2) & (places < size - 3)).all(1)
    scores = []
    for label in reference[inner].unique().tolist():
        a, b = (moved == label)[inner], (reference == label)[inner]
        if b.sum() >= 100:
            scores.append(float(2 * (a & b).sum() / (a.sum() + b.sum())))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("size", SIZES)
def test_the_true_velocity_carries_fixed_labels_to_moving_ones_and_back(size):
    source = shape_pairs(size)
    before, there, back = [], [], []
    for index in range(4):
        pair = source.pair(index)
        before.append(interior_dice(pair.moving_labels, 0 * pair.velocity_vox, pair.fixed_labels))
        there.append(interior_dice(pair.moving_labels, pair.velocity_vox, pair.fixed_labels))
        back.append(interior_dice(pair.fixed_labels, -pair.velocity_vox, pair.moving_labels))
    assert min(there) > 0.94
    assert sum(there) / 4 > 0.97
    assert sum(back) / 4 > 0.96  # moving labels were rounded to voxels once more
    assert sum(before) / 4 < 0.85, "the motion must be large enough for this test to mean something"
    wrong = source.pair(0)
    for broken in [-wrong.velocity_vox, wrong.velocity_vox.flip(1), *(wrong.velocity_vox.flip(2 + axis) for axis in range(len(size)))]:
        assert interior_dice(wrong.moving_labels, broken, wrong.fixed_labels) < 0.9
