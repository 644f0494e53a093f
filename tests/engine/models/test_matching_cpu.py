"""Each compiled part of the matching pyramid's prediction equals its plain-torch twin, and so does the whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_deformreg.engine.differentiable import warp
from napari_deformreg.engine.kernels import correlation_cpu, encoder_cpu
from napari_deformreg.engine.losses.descriptors import neighbor_pairs
from napari_deformreg.engine.models import MatchingPyramid, VelocityUNet
from napari_deformreg.engine.models.matching_cpu import compiled_velocity, has_kernels
from napari_deformreg.engine.models.matching_pyramid import Matcher, self_similarity
from napari_deformreg.engine.models.predict import as_in_training
from napari_deformreg.engine.models.weights import bundled_model
from napari_deformreg.engine.tensors import Placed
from napari_deformreg.errors import InputError
from napari_deformreg.space import Grid

SHAPES = [(9, 12, 7), (5, 17, 14), (2, 3, 2)]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def pair_of_blobs(shape, rng):
    """Two smooth images with an even background, one a shifted and brightened copy of the other."""
    noise = torch.from_numpy(rng.random((1, 1, *shape), dtype=np.float32))
    for _ in range(3):
        noise = F.avg_pool3d(noise, 3, 1, 1)
    image = (noise - noise.mean()).clamp_min(0) * 20
    return image.clamp(0, 1), torch.roll(image, (1, -1, 2), (2, 3, 4)).clamp(0, 1).sqrt()


def random_model(seed, **options):
    torch.manual_seed(seed)
    model = MatchingPyramid(3, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the last layers begin at zero and the normalizations at one: nothing of them would show
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_description(rng, shape):
    image = torch.from_numpy(rng.random((1, 1, *shape), dtype=np.float32))
    image[..., : shape[2] // 2] *= 0.01
    found = encoder_cpu.described(image[0, 0].numpy(), neighbor_pairs((2, 2, 2), dilation=1))
    with torch.no_grad():
        wanted = torch.cat([image, self_similarity(image)], dim=1)
    np.testing.assert_allclose(found, wanted[0].permute(1, 2, 3, 0).numpy(), atol=2e-6)


def test_description_of_a_constant_image():
    found = encoder_cpu.described(np.full((4, 5, 6), 0.3, np.float32), neighbor_pairs((2, 2, 2), dilation=1))
    np.testing.assert_array_equal(found[..., 1:], 1)


def test_exponentials():
    row = -np.concatenate([np.linspace(0, 3, 1001), np.geomspace(3, 80, 500)]).astype(np.float32)
    wanted = np.exp(row.astype(np.float64))
    bits = np.empty(len(row), np.int32)
    encoder_cpu.exponentials(row, bits, bits.view(np.float32))
    np.testing.assert_allclose(row, wanted, rtol=1e-6)


def test_normalization_and_activation(rng):
    data = (3 + 2 * rng.standard_normal((3001, 5))).astype(np.float32)
    weight, bias = rng.standard_normal(5), rng.standard_normal(5)
    as_torch = torch.from_numpy(data.T.copy())[None].double()
    wanted = F.leaky_relu(F.instance_norm(as_torch, weight=torch.from_numpy(weight), bias=torch.from_numpy(bias), eps=1e-5), 0.2)
    encoder_cpu.normalize_and_activate(data, weight, bias, 1e-5, 0.2)
    np.testing.assert_allclose(data, wanted[0].T.numpy(), atol=1e-5)


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches(rng, shape, channels):
    features = [torch.from_numpy(rng.standard_normal((1, channels, *shape)).astype(np.float32)) for _ in range(2)]
    displacement, velocity = (torch.from_numpy((1.5 * rng.standard_normal((1, 3, *shape))).astype(np.float32)) for _ in range(2))
    matcher = Matcher(3, channels, 4)
    torch.nn.init.eye_(matcher.project.weight.view(channels, channels))
    torch.nn.init.zeros_(matcher.project.bias)
    matcher.log_sharpness.data.fill_(2.5)
    with torch.no_grad():
        matches = matcher._matches(*features, displacement)
        wanted = torch.cat([matches, matcher._expected(matches), velocity], dim=1)
    first, second = (np.ascontiguousarray(part[0].permute(1, 2, 3, 0).numpy()) for part in features)
    correlation_cpu.to_unit(second)
    given = correlation_cpu.unit_rows(first), second, displacement[0].numpy(), velocity[0].numpy(), float(np.exp(2.5))
    np.testing.assert_allclose(correlation_cpu.matches(*given), wanted[0].permute(1, 2, 3, 0).numpy(), atol=5e-6)


def test_a_velocity_of_nothing_matches_what_lies_still(rng):
    features = np.ascontiguousarray(rng.standard_normal((6, 7, 8, 4)).astype(np.float32))
    still = np.zeros((3, 6, 7, 8), np.float32)
    moving = features.copy()
    correlation_cpu.to_unit(moving)
    known = correlation_cpu.matches(correlation_cpu.unit_rows(features), moving, still, still, 50.0)
    assert (known[..., :27].argmax(axis=-1) == 13).all()
    assert np.abs(known[..., 27:30]).max() < 0.02


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"features": (4, 6, 8), "hidden": (5, 4), "finest": 1, "repeats": (2, 1), "smoothing": 2}, (13, 21, 17)),
        ({"features": (5, 7), "hidden": (4, 6), "finest": 0, "repeats": (1, 3)}, (9, 15, 11)),
    ],
    ids=["from half resolution", "from full resolution"],
)
def test_velocity(rng, options, shape):
    model, images = random_model(3, **options), pair_of_blobs(shape, rng)
    with torch.no_grad():
        wanted = model(*images)
    found = compiled_velocity(model, *images)
    assert wanted.abs().max() > 0.2
    torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-4)
    found.add_(1)  # an ordinary tensor, not one of inference mode
    warp(images[0], torch.zeros((1, 3, *shape)))


def test_bundled_model(rng):
    model, images = bundled_model("general-3d").module, pair_of_blobs((41, 49, 33), rng)
    with torch.no_grad():
        wanted = model(*images)
    assert has_kernels(model, images[0])
    torch.testing.assert_close(compiled_velocity(model, *images), wanted, atol=1e-4, rtol=1e-4)


def test_which_models_have_kernels():
    image = torch.zeros((1, 1, 9, 9, 9))
    assert has_kernels(MatchingPyramid(3), image)
    assert not has_kernels(MatchingPyramid(2), image)
    assert not has_kernels(VelocityUNet(dimensions=3), image)
    assert not has_kernels(MatchingPyramid(3), image.double())
    with pytest.raises(InputError, match="multiple of 8"):
        compiled_velocity(MatchingPyramid(3), torch.zeros((1, 1, 16, 17, 17)), torch.zeros((1, 1, 16, 17, 17)))


def test_intensities_within_the_field_of_view(rng):
    data = torch.from_numpy(rng.random((1, 1, 4, 5, 6), dtype=np.float32)) * 3 - 1
    grid = Grid((4, 5, 6), np.eye(4))
    weight = torch.ones_like(data)
    weight[..., :2] = 0
    data[..., :2] = 100  # beyond the field of view
    seen = as_in_training(Placed(data, grid, weight))
    inside = data[..., 2:]
    torch.testing.assert_close(seen[..., 2:], (inside - inside.min()) / (inside.max() - inside.min()))
    assert not seen[..., :2].any()
    assert not as_in_training(Placed(data, grid, torch.zeros_like(data))).any()
