"""The coarse search on pairs whose motion is known."""

import math

import numpy as np
import pytest
import torch

from napari_deformreg.engine.initialize import LARGEST_REACH, coarse_search_steps, search_levels
from napari_deformreg.engine.kernels import reference
from napari_deformreg.engine.sampling import compose, integrate, smooth
from napari_deformreg.engine.tensors import Placed, to_array
from napari_deformreg.result import Control
from napari_deformreg.settings import Settings
from napari_deformreg.space import Grid
from napari_deformreg.space.jacobian import digital_fold_mask

SETTINGS = Settings()


def texture(shape, seed, scales=(2.0, 5.0)):
    """Blobs of several sizes with a dark rim, in [0, 1]."""
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 1, *shape)).astype(np.float32))
    image = sum(s ** (sum(n > 1 for n in shape) / 2) * smooth(noise.roll(int(7 * s), 4), (s, s, s)) for s in scales)
    return (0.5 + 0.25 * image / image.std()).clamp(0, 1)


def smooth_velocity(shape, largest, seed):
    """A velocity of one slow wave an axis that stays within the image, its longest vector `largest` voxels."""
    rng = np.random.default_rng(seed)
    x = reference.identity(shape, torch.device("cpu"))
    window = torch.ones_like(x[:, :1])
    for axis, n in enumerate(shape):
        if n > 1:
            window = window * (math.pi * x[:, axis : axis + 1] / (n - 1)).sin()
    direction = torch.tensor([1.0 if n > 1 else 0.0 for n in shape]) * torch.from_numpy(rng.choice([-1.0, 1.0], 3)).float()
    velocity = window * direction.view(1, 3, 1, 1, 1)
    return velocity * largest / velocity.square().sum(dim=1).max().sqrt()


def pulled(image, field):
    value, _, _ = reference.warp(image, field, torch.eye(3), torch.zeros(3), False)
    return value


def searched(fixed, moving, reach_mm, settings=SETTINGS, **grids):
    steps = coarse_search_steps(fixed, moving, settings, reach_mm=reach_mm)
    losses = []
    while True:
        try:
            losses.append(next(steps).loss)
        except StopIteration as end:
            return end.value, losses


def mean_error(field, truth, margin):
    inner = tuple(slice(margin, n - margin) if n > 1 else slice(None) for n in field.shape[2:])
    error = (field - truth).square().sum(dim=1).sqrt()[(0, *inner)]
    length = truth.square().sum(dim=1).sqrt()[(0, *inner)]
    return float(error.mean()), float(length.mean())


def grid(shape, spacing=(1.0, 1.0, 1.0)):
    return Grid(shape, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize(
    ("shape", "spacing", "part"),
    [((48, 56, 52), (1.0, 1.0, 1.0), 0.1), ((52, 52, 20), (1.0, 1.0, 2.6), 0.08), ((1, 80, 72), (1.0, 1.0, 1.0), 0.1)],
    ids=["volume", "thick slices", "one slice"],
)
def test_large_smooth_motion_is_found(shape, spacing, part):
    truth = integrate(smooth_velocity(shape, part * max(shape), 3))
    moving = texture(shape, 1)
    place = grid(shape, spacing)
    velocity, losses = searched(Placed(pulled(moving, truth), place), Placed(moving, place), 0.25 * max(shape) * max(spacing[:1]))
    assert velocity.shape == (1, 3, *shape)
    found = integrate(velocity)
    error, length = mean_error(found, truth, 4)
    assert length > 1.5
    assert error < 0.35 * length  # labels are whole voxels; the refinement does the rest
    assert error < 0.7
    assert not digital_fold_mask(to_array(found)).any()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5


def test_a_fifth_of_the_field_of_view():
    shape = (64, 56, 60)
    truth = integrate(smooth_velocity(shape, 0.2 * 64, 5))
    moving = texture(shape, 2, (3.0, 6.0))
    velocity, _ = searched(Placed(pulled(moving, truth), grid(shape)), Placed(moving, grid(shape)), 16.0)
    error, length = mean_error(integrate(velocity), truth, 6)
    assert length > 4
    assert error < 0.3 * length


def test_inverted_contrast_is_found_too():
    shape = (44, 48, 40)
    truth = integrate(smooth_velocity(shape, 4.0, 4))
    moving = texture(shape, 3)
    fixed = 1 - 0.7 * pulled(moving, truth)
    velocity, _ = searched(Placed(fixed, grid(shape)), Placed(moving, grid(shape)), 8.0, Settings.from_preset("multimodal"))
    error, length = mean_error(integrate(velocity), truth, 4)
    assert error < 0.35 * length


def test_the_velocity_is_nearly_inverse_consistent():
    shape = (40, 44, 48)
    truth = integrate(smooth_velocity(shape, 4.0, 6))
    moving = texture(shape, 4)
    one, other = Placed(pulled(moving, truth), grid(shape)), Placed(moving, grid(shape))
    there, _ = searched(one, other, 8.0)
    back, _ = searched(other, one, 8.0)
    round_trip = compose(integrate(there), integrate(back))
    error, length = mean_error(round_trip, torch.zeros_like(round_trip), 4)
    assert error < 0.6
    assert mean_error(integrate(there), torch.zeros_like(round_trip), 4)[0] > 1.2
    assert length == 0


def test_nothing_moves_without_a_reason():
    image = Placed(texture((32, 30, 28), 5), grid((32, 30, 28)))
    velocity, losses = searched(image, image, 8.0)
    assert float(velocity.abs().max()) == 0.0
    assert losses == [0.0] * len(search_levels(image.grid, 8.0))


def test_unrelated_images_are_not_torn_to_pieces():
    shape = (40, 36, 38)
    fixed, moving = Placed(texture(shape, 6), grid(shape)), Placed(texture(shape, 99), grid(shape))
    velocity, losses = searched(fixed, moving, 12.0)
    field = integrate(velocity)
    assert losses[-1] <= 1.0
    assert not digital_fold_mask(to_array(field)).any()
    assert float(9 * field.diff(dim=2).square().mean()) < 0.5


def test_what_weighs_nothing_does_not_pull():
    shape = (44, 40, 42)
    truth = integrate(smooth_velocity(shape, 4.0, 7))
    moving = texture(shape, 7)
    fixed = pulled(moving, truth)
    spoiled, weight = fixed.clone(), torch.ones_like(fixed)
    spoiled[..., 30:] = texture((44, 40, 12), 55)
    weight[..., 28:] = 0
    velocity, _ = searched(Placed(spoiled, grid(shape), weight), Placed(moving, grid(shape)), 8.0)
    inner = (Ellipsis, slice(4, 38), slice(4, 36), slice(4, 24))
    error = (integrate(velocity) - truth).square().sum(dim=1).sqrt()[inner].mean()
    assert error < 0.3 * truth.square().sum(dim=1).sqrt()[inner].mean()


@pytest.mark.parametrize(("shape", "fill"), [((1, 2, 9), 0.5), ((5, 4, 3), 0.5), ((24, 1, 30), 0.0)])
def test_tiny_and_flat_images_stay_where_they_are(shape, fill):
    image = Placed(torch.full((1, 1, *shape), fill), grid(shape))
    velocity, _ = searched(image, image, 10.0)
    assert velocity.shape == (1, 3, *shape)
    assert not velocity.any()


def test_no_overlap_moves_nothing():
    shape = (20, 22, 24)
    image = texture(shape, 8)
    velocity, _ = searched(Placed(image, grid(shape), torch.zeros_like(image)), Placed(texture(shape, 9), grid(shape)), 10.0)
    assert not velocity.any()


def test_finish_now_ends_after_the_level():
    image = Placed(texture((24, 24, 24), 10), grid((24, 24, 24)))
    steps = coarse_search_steps(image, image, SETTINGS, reach_mm=4.0)
    next(steps)
    with pytest.raises(StopIteration):
        steps.send(Control.FINISH_NOW)


def test_labels_reach_as_far_as_asked_and_no_farther_than_memory_allows():
    place = grid((160, 192, 224))
    for reach in (10.0, 24.0, 40.0, 60.0):
        levels = search_levels(place, reach)
        assert sum((level.labels.max(axis=0) * level.grid.spacing).min() for level in levels) >= 0.95 * reach
    widest = search_levels(place, 200.0)[0]
    assert widest.labels.max() == LARGEST_REACH
    for level in levels:
        assert not level.labels[0].any()
        assert {tuple(d) for d in level.labels} == {tuple(-d) for d in level.labels}
        assert all((n - 1) % level.block == 0 for n in level.grid.shape)
        np.testing.assert_allclose(level.control_grid.affine[:3, 3], place.affine[:3, 3], atol=1e-6)


def test_a_slice_is_searched_within_its_plane():
    for level in search_levels(grid((50, 1, 60)), 12.0):
        assert not level.labels[:, 1].any()
        assert level.grid.shape[1] == level.control_grid.shape[1] == 1
