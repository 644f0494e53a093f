"""The matching pyramid: its directions, its lattices, its own loss, and that it learns."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deformreg.engine.differentiable import integrate, resize_field, warp
from napari_deformreg.engine.features import mind_ssc
from napari_deformreg.engine.models import MatchingPyramid, build_model
from napari_deformreg.engine.models.matching_pyramid import Matcher, self_similarity
from napari_deformreg.errors import InputError


def pattern(shape: tuple[int, ...], channels: int, seed: int, sigma: float = 1.5) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    data = np.stack([gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(channels)])
    return torch.from_numpy(data / data.std()).float()[None]


@pytest.mark.parametrize(("dimensions", "axis", "step"), [(2, 0, 1), (2, 1, -1), (3, 0, -1), (3, 1, 1), (3, 2, 1)])
def test_expected_shift_points_from_fixed_to_moving(dimensions, axis, step):
    # moving(x + s) = fixed(x), so exp(v) must carry x by +s: a mirrored axis or a wrong sign fails here.
    matcher = Matcher(dimensions, 6, 4)
    torch.nn.init.eye_(matcher.project.weight.view(6, 6))
    torch.nn.init.zeros_(matcher.project.bias)
    matcher.log_sharpness.data.fill_(4.0)
    moving = pattern((14,) * dimensions, 6, seed=0)
    fixed = torch.roll(moving, -step, dims=axis + 2)
    still = torch.zeros((1, dimensions, *moving.shape[2:]))
    expected = matcher._expected(matcher._matches(fixed, moving, still))
    inner = expected[(0, slice(None), *[slice(4, -4)] * dimensions)].flatten(1).mean(1)
    wanted = torch.zeros(dimensions)
    wanted[axis] = step
    torch.testing.assert_close(inner, wanted, atol=0.15, rtol=0)


def test_own_loss_is_lower_at_the_true_shift_than_at_the_opposite_one():
    matcher = Matcher(2, 6, 4)
    torch.nn.init.eye_(matcher.project.weight.view(6, 6))
    torch.nn.init.zeros_(matcher.project.bias)
    matcher.log_sharpness.data.fill_(4.0)
    moving = pattern((24, 24), 6, seed=1)
    truth = torch.zeros((1, 2, 24, 24))
    truth[:, 0] = 2.0
    fixed = warp(moving, truth)
    shift = torch.zeros_like(truth)
    shift[:, 1] = 0.7
    right = matcher.cross_entropy(fixed, moving, truth, shift)[..., 5:-5, 5:-5].mean()
    # The moving features are pulled to x + u - shift in both cases; to ask for the opposite shift is to mirror what is wanted.
    matches = matcher._matches(fixed, moving, integrate(truth, 5) - shift)
    mirrored = (1 - (-shift[:, None] - matcher._offsets(shift)[None]).abs()).clamp_min(0).prod(dim=2)
    wrong = -(mirrored * torch.log_softmax(matches, dim=1)).sum(dim=1)[..., 5:-5, 5:-5].mean()
    assert right < wrong - 0.5


@pytest.mark.parametrize(("dimensions", "shape"), [(2, (33, 25)), (3, (17, 25, 33))])
def test_lattices_of_the_levels_and_description(dimensions, shape):
    model = MatchingPyramid(dimensions, features=(4, 6, 8, 8), hidden=(4, 4, 4))
    assert (model.multiple, model.offset) == (8, 1)
    images = torch.rand((2, 1, *shape)), torch.rand((2, 1, *shape))
    levels = model.velocities(*images)
    expected = [tuple((n - 1) // factor + 1 for n in shape) for factor in (8, 4, 2)]
    assert [tuple(level.shape) for level in levels] == [(2, dimensions, *sizes) for sizes in expected]
    twin = build_model(model.architecture)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin(*images), levels[-1])
    supervised, own_loss = model.supervised(
        *images, torch.zeros((2, dimensions, *shape)), torch.ones((2, 1, *shape)), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(supervised[-1], levels[-1])
    assert own_loss is not None
    assert 0 < float(own_loss.detach()) < 3 * np.log(3**dimensions)


def test_batches_are_single_pairs_side_by_side():
    model = MatchingPyramid(2, features=(4, 6, 8), hidden=(4, 4)).eval()
    fixed, moving = torch.rand((3, 1, 17, 21)), torch.rand((3, 1, 17, 21))
    together = model(fixed, moving)
    apart = torch.cat([model(fixed[[n]], moving[[n]]) for n in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 17), (9, 9, 9)])
def test_sizes_that_do_not_fit_are_refused(shape):
    model = MatchingPyramid(2, features=(4, 6, 8), hidden=(4, 4))
    with pytest.raises(InputError, match="multiple of 4 plus 1"):
        model(torch.rand((1, 1, *shape)), torch.rand((1, 1, *shape)))


def test_a_level_that_is_asked_twice_goes_on_from_its_own_answer():
    once, twice = MatchingPyramid(2, (4, 6, 8), (4, 4)), MatchingPyramid(2, (4, 6, 8), (4, 4), repeats=(2, 1))  # the finest level twice
    twice.load_state_dict(once.state_dict())
    fixed, moving = pattern((33, 25), 1, seed=3), pattern((33, 25), 1, seed=4)
    levels = once.velocities(fixed, moving)
    matcher, first, second = once._levels(fixed, moving)[-1]
    torch.testing.assert_close(twice(fixed, moving), matcher(first, second, levels[-1]))
    torch.testing.assert_close(twice.velocities(fixed, moving)[0], levels[0])
    taught, _ = twice.supervised(fixed, moving, torch.zeros((1, 2, 33, 25)), torch.ones_like(fixed), torch.Generator().manual_seed(0))
    torch.testing.assert_close(taught[-1], levels[-1])
    again = build_model(twice.architecture)
    again.load_state_dict(once.state_dict())
    torch.testing.assert_close(again(fixed, moving), twice(fixed, moving))


@pytest.mark.parametrize(("dimensions", "shape"), [(2, (33, 25)), (3, (17, 25, 17))])
def test_means_of_three_are_the_same_with_and_without_gradients(dimensions, shape):
    plain = MatchingPyramid(dimensions, (4, 6, 8), (4, 4))
    smooth = MatchingPyramid(dimensions, (4, 6, 8), (4, 4), smoothing=2)
    smooth.load_state_dict(plain.state_dict())
    fixed, moving = pattern(shape, 1, seed=5), pattern(shape, 1, seed=6)
    pool = torch.nn.functional.avg_pool3d if dimensions == 3 else torch.nn.functional.avg_pool2d
    expected = plain(fixed, moving)
    for _ in range(2):
        expected = pool(expected, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(smooth(fixed, moving), expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(smooth(fixed, moving), expected, atol=1e-4, rtol=1e-3)
    taught, _ = smooth.supervised(
        fixed, moving, torch.zeros((1, dimensions, *shape)), torch.ones_like(fixed), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(taught[-1], plain(fixed, moving))


def test_impossible_architectures_are_refused():
    with pytest.raises(InputError, match="hidden channels for each level"):
        MatchingPyramid(3, features=(4, 6, 8), hidden=(4,))
    for repeats in ((1,), (0, 1)):
        with pytest.raises(InputError, match="repeats of 1 or more for each of 2 levels"):
            MatchingPyramid(3, features=(4, 6, 8), hidden=(4, 4), repeats=repeats)


def test_self_similarity_is_the_engines_descriptor_away_from_the_rim():
    # The engine's own normalizes by the mean over its lattice in the same way; near the rim its windows are cut, these are averaged.
    image = pattern((16, 15, 14), 1, seed=2)
    ours, theirs = self_similarity(image), mind_ssc(image, radius=1, dilation=1)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inner], theirs[inner], atol=2e-3, rtol=0)


def test_it_learns_a_known_warp_within_seconds():
    torch.manual_seed(0)
    model = MatchingPyramid(2, features=(4, 8, 12), hidden=(8, 8))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)

    def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        moving = pattern((33, 33), 1, seed, sigma=2.0)
        velocity = pattern((33, 33), 2, seed + 1000, sigma=5.0) * 1.5
        return warp(moving, integrate(velocity)), moving, velocity

    for step in range(120):
        fixed, moving, velocity = pair(step)
        levels, own = model.supervised(fixed, moving, velocity, torch.ones_like(fixed), generator)
        regression = sum((level - resize_field(velocity, tuple(level.shape[2:]))).square().mean() for level in levels)
        assert own is not None
        optimizer.zero_grad()
        (own + regression).backward()
        optimizer.step()
    errors, lengths = [], []
    with torch.no_grad():
        for seed in range(5000, 5006):
            fixed, moving, velocity = pair(seed)
            errors.append(float((resize_field(model(fixed, moving), (33, 33)) - velocity).norm(dim=1).mean()))
            lengths.append(float(velocity.norm(dim=1).mean()))
    assert np.mean(errors) < 0.5 * np.mean(lengths)
