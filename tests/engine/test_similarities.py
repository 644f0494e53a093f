"""Data terms: gradients against autograd of a plain formula, minima at identical images, weights that do not count."""

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_deformreg.engine.features import mind_ssc
from napari_deformreg.engine.losses.descriptors import neighbor_pairs
from napari_deformreg.engine.losses.images import LNCC_EPSILON
from napari_deformreg.engine.losses.information import NMI_BINS
from napari_deformreg.engine.similarities import SIMILARITIES
from napari_deformreg.settings import RefineSettings, SimilarityName

SETTINGS = RefineSettings(lncc_radius_vox=2)
SHAPES = [(11, 10, 13), (1, 21, 18)]
NAMES = sorted(SIMILARITIES)


def smooth_image(shape, seed):
    rng = np.random.default_rng(seed)
    data = torch.from_numpy(rng.random(shape, dtype=np.float32))[None, None]
    kernel = [min(3, n) for n in shape]
    data = F.avg_pool3d(F.pad(data, [k // 2 for k in reversed(kernel) for _ in (0, 1)], mode="replicate"), kernel, stride=1)
    return 0.1 + 0.8 * (data - data.min()) / (data.max() - data.min())


def weight_of(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).random(shape, dtype=np.float32))[None, None]


def plain_lncc(p, t, w):
    def box(x):
        radius = [min(2, n - 1) for n in x.shape[2:]]
        kernel = torch.ones((1, 1, *[2 * r + 1 for r in radius]), dtype=x.dtype)
        return F.conv3d(x, kernel, padding=radius)

    n = box(torch.ones_like(t))
    covariance = box(p * t) - box(p) * box(t) / n
    variances = (box(p * p) - box(p) ** 2 / n + LNCC_EPSILON * n) * (box(t * t) - box(t) ** 2 / n + LNCC_EPSILON * n)
    return -(w * covariance**2 / variances).sum() / w.sum()


def plain_ncc(p, t, w):
    w = w / w.sum()
    p, t = p - (w * p).sum(), t - (w * t).sum()
    return -(w * p * t).sum() / (((w * p * p).sum() + 1e-6) * ((w * t * t).sum() + 1e-6)).sqrt()


def plain_mse(p, t, w, prepared_weight=None):
    v = prepared_weight / prepared_weight.sum()
    variance = (v * (t - (v * t).sum()) ** 2).sum()
    return (w * (p - t) ** 2).sum() / w.sum() / variance


def plain_mind(p, t, w):
    return (w * (p - t) ** 2).sum() / w.sum() * 12 / p.shape[1]


def plain_nmi(p, t, w):
    centers = torch.arange(NMI_BINS, dtype=p.dtype)
    scale = NMI_BINS - 3
    x = (1 + scale * p.flatten()[:, None] - centers).abs()
    spline = torch.where(x < 1, 2 / 3 - x**2 + x**3 / 2, (2 - x).clamp_min(0) ** 3 / 6)
    linear = (1 - (1 + scale * t.flatten()[:, None] - centers).abs()).clamp_min(0)
    joint = (linear * w.flatten()[:, None]).T @ spline / w.sum()

    def entropy(q):
        return -(q * q.clamp_min(1e-12).log()).sum()

    return 1 - (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)


PLAIN = {"lncc": plain_lncc, "ncc": plain_ncc, "mse": plain_mse, "mind_ssc": plain_mind, "nmi": plain_nmi}


def prepared(name, fixed, weight=None):
    spec = SIMILARITIES[name]
    return spec.features, spec.prepare(spec.features(fixed), weight, SETTINGS)


def test_the_table_and_the_settings_name_the_same():
    assert set(SIMILARITIES) == set(get_args(SimilarityName)) == set(PLAIN)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_equal_autograd(name, shape):
    fixed, moving = smooth_image(shape, 1), smooth_image(shape, 2)
    fixed_weight, weight = weight_of(shape, 3), weight_of(shape, 4)
    features, similarity = prepared(name, fixed, fixed_weight)
    t = features(fixed).double()
    p = features(moving).double().requires_grad_()
    extra = (fixed_weight.double(),) if name == "mse" else ()
    expected = PLAIN[name](p, t, (fixed_weight * weight).double(), *extra)
    (slope,) = torch.autograd.grad(expected, p)
    value, gradient = similarity.value_and_gradient(features(moving), weight)
    assert value == pytest.approx(expected.item(), rel=1e-3)
    assert gradient.shape == p.shape
    assert float((gradient - slope).norm() / slope.norm()) < 2e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identical_images_minimize_and_values_are_of_order_one(name, shape):
    fixed, moving = smooth_image(shape, 1), smooth_image(shape, 2)
    features, similarity = prepared(name, fixed)
    ones = torch.ones_like(fixed)
    same, _ = similarity.value_and_gradient(features(fixed), ones)
    near, _ = similarity.value_and_gradient(features(0.8 * fixed + 0.2 * moving), ones)
    other, _ = similarity.value_and_gradient(features(moving), ones)
    assert same < near < other
    assert 0.1 < other - same < 4


@pytest.mark.parametrize("name", NAMES)
def test_weight_zero_does_not_count(name):
    fixed, moving = smooth_image((8, 9, 16), 1), smooth_image((8, 9, 16), 2)
    features, similarity = prepared(name, fixed)
    weight = torch.ones_like(fixed)
    weight[..., 8:] = 0
    clean = features(moving)
    spoiled = clean.clone()
    spoiled[..., 11:] = 5.0  # beyond the reach of the windows of LNCC around a voxel that counts
    value, gradient = similarity.value_and_gradient(clean, weight)
    again, _ = similarity.value_and_gradient(spoiled, weight)
    assert value == pytest.approx(again, rel=1e-5)
    assert not gradient[..., 11:].any()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_compare_and_nothing_to_see(name):
    fixed = smooth_image((6, 7, 8), 1)
    features, similarity = prepared(name, fixed)
    value, gradient = similarity.value_and_gradient(features(fixed), torch.zeros_like(fixed))
    assert value == 0.0
    assert not gradient.any()
    flat = torch.full_like(fixed, 0.5)
    features, similarity = prepared(name, flat)
    value, gradient = similarity.value_and_gradient(features(fixed), torch.ones_like(fixed))
    assert np.isfinite(value)
    assert torch.isfinite(gradient).all()


def test_mind_is_the_same_for_inverted_and_scaled_contrast():
    image = smooth_image((12, 11, 10), 5)
    assert torch.allclose(mind_ssc(image), mind_ssc(0.3 - 0.2 * image), atol=2e-3)


def test_mind_by_its_definition_at_one_voxel():
    image = smooth_image((12, 13, 14), 6)
    x = np.array([6, 6, 7])
    data = image[0, 0].double().numpy()

    def patch(offset):
        i, j, k = x + offset
        return data[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]

    distances = np.array([((patch(a) - patch(b)) ** 2).sum() for a, b in neighbor_pairs((12, 13, 14))])
    rest = distances - distances.min()
    np.testing.assert_allclose(mind_ssc(image)[0, :, 6, 6, 7].numpy(), np.exp(-rest / rest.mean()), atol=1e-3)


def test_a_slice_is_described_within_its_plane():
    image = smooth_image((1, 15, 17), 7)
    assert mind_ssc(image).shape == (1, 4, 1, 15, 17)
    turned = mind_ssc(image.movedim(2, 4).contiguous())
    assert turned.shape == (1, 4, 15, 17, 1)
    assert torch.allclose(turned.movedim(4, 2), mind_ssc(image), atol=1e-4)
