"""Each compiled kernel equals its plain-torch twin, on odd sizes and on single slices."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_deformreg.engine.kernels import (
    cpu,
    feature_cpu,
    field_cpu,
    fold_cpu,
    inverse_cpu,
    lncc_cpu,
    mind_cpu,
    nmi_cpu,
    reference,
    resize_cpu,
    search_cpu,
    search_reference,
    step_cpu,
)
from napari_deformreg.engine.losses import LOSSES, by_autograd
from napari_deformreg.engine.losses.descriptors import mind_descriptors, neighbor_pairs
from napari_deformreg.engine.losses.fields import CORNER
from napari_deformreg.engine.losses.information import joint_histogram
from napari_deformreg.space import slabs
from napari_deformreg.space.jacobian import digital_minimum

SHAPES = [(9, 12, 7), (1, 17, 14), (13, 1, 8), (11, 10, 1), (2, 3, 5)]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def image(rng, shape):
    return rng.random(shape, dtype=np.float32)


def field(rng, shape, size=2.5):
    u = (size * rng.standard_normal((3, *shape))).astype(np.float32)
    for axis in range(3):
        if shape[axis] == 1:
            u[axis] = 0
    return u


def tensor(array):
    return torch.from_numpy(array)[(None,) * (5 - array.ndim)]


def assert_same(compiled, twin, atol=1e-5):
    expected = twin.numpy() if isinstance(twin, torch.Tensor) else twin
    assert np.isfinite(compiled).all()
    np.testing.assert_allclose(compiled, expected.reshape(compiled.shape), atol=atol, rtol=1e-4)


def test_compose(rng, shape):
    outer, inner = field(rng, shape), field(rng, shape)
    assert_same(cpu.compose(outer, inner, 0.5, -0.7), reference.compose(tensor(outer), tensor(inner), 0.5, -0.7))


def test_compose_of_another_lattice_reads_beyond_nothing(rng):
    inner = field(rng, (6, 5, 9), 20)
    outer = field(rng, (6, 5, 9))
    assert_same(cpu.compose(outer, inner), reference.compose(tensor(outer), tensor(inner)))


def test_warp(rng, shape):
    picture, u = image(rng, (8, 9, 10)), field(rng, shape)
    matrix = np.eye(3) + 0.1 * rng.standard_normal((3, 3))
    offset = rng.standard_normal(3)
    value, gradient, inside = cpu.warp(picture, u, matrix, offset, True)
    twin = reference.warp(tensor(picture), tensor(u), torch.from_numpy(matrix), torch.from_numpy(offset), True)
    assert_same(value, twin[0])
    assert_same(gradient, twin[1], atol=1e-4)
    assert_same(inside, twin[2])
    assert 0 < inside.mean() < 1


def test_warp_by_a_shift_alone(rng, shape):
    picture, u, offset = image(rng, (8, 9, 10)), field(rng, shape), np.array([0.3, -1.2, 2.4])
    value, gradient, inside = cpu.warp(picture, u, np.eye(3), offset, True)
    twin = reference.warp(tensor(picture), tensor(u), torch.eye(3), torch.from_numpy(offset), True)
    assert_same(value, twin[0])
    assert_same(gradient, twin[1], atol=1e-4)
    assert_same(inside, twin[2])


def test_warp_samples_the_weight_beside_the_image(rng, shape):
    picture, weight, u = image(rng, (8, 9, 10)), image(rng, (8, 9, 10)), field(rng, shape)
    matrix, offset = np.eye(3) + 0.1 * rng.standard_normal((3, 3)), rng.standard_normal(3)
    _, _, inside = cpu.warp(picture, u, matrix, offset, False)
    sampled, _, _ = cpu.warp(weight, u, matrix, offset, False)
    value, _, both = cpu.warp(picture, u, matrix, offset, False, weight)
    assert_same(both, inside * sampled)
    assert_same(value, cpu.warp(picture, u, matrix, offset, False)[0])


@pytest.mark.parametrize("other", [(5, 7, 4), (1, 9, 8), (19, 23, 13)])
def test_resize_and_its_adjoint(rng, shape, other):
    data, factors = rng.standard_normal((3, *shape)).astype(np.float32), np.array([1.0, 0.5, 2.0])
    resized = resize_cpu.resize(data, other, factors)
    scale = torch.from_numpy(factors).view(1, 3, 1, 1, 1)
    assert_same(resized, torch.nn.functional.interpolate(tensor(data), size=other, mode="trilinear", align_corners=True) * scale)
    slope = rng.standard_normal((3, *other)).astype(np.float32)
    back = resize_cpu.resize_adjoint(slope, shape, factors)
    assert_same(back, (reference.resize_adjoint(tensor(slope), shape) * scale))
    assert float((back * data).sum()) == pytest.approx(float((slope * resized).sum()), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_slices_are_resized_in_their_plane(rng, across):
    small, large = [9, 8], [17, 23]
    small.insert(across, 1)
    large.insert(across, 1)
    factors = np.array([1.0, 0.5, 2.0])
    scale = torch.from_numpy(factors).view(1, 3, 1, 1, 1)
    for data, other in ((small, tuple(large)), (large, tuple(small))):
        values = rng.standard_normal((3, *data)).astype(np.float32)
        expected = torch.nn.functional.interpolate(tensor(values), size=other, mode="trilinear", align_corners=True) * scale
        assert_same(resize_cpu.resize(values, other, factors), expected)
        slope = rng.standard_normal((3, *other)).astype(np.float32)
        back = resize_cpu.resize_adjoint(slope, tuple(data), factors)
        assert_same(back, reference.resize_adjoint(tensor(slope), tuple(data)) * scale)


def test_longest_vector(rng, shape):
    u = field(rng, shape)
    assert field_cpu.longest(u) == pytest.approx(np.sqrt((u**2).sum(axis=0)).max(), rel=1e-6)


@pytest.mark.parametrize(("name", "corner"), [("diffusion_l2", 0.0), ("diffusion_l1", CORNER), ("diffusion_l1", 0.3)])
def test_diffusion(rng, shape, name, corner):
    u, spacing = field(rng, shape), np.array([1.0, 0.7, 2.5])
    value, gradient = field_cpu.diffusion(u, spacing, corner)
    given = {"corner": corner} if corner else {}
    twin = by_autograd(lambda v: LOSSES[name].function(v, spacing, **given), tensor(u))
    assert value == pytest.approx(twin[0], rel=1e-5)
    assert_same(gradient, twin[1])


def test_a_step_and_its_moments(rng, shape):
    velocity, gradient, scales = field(rng, shape), field(rng, shape), np.array([0.5, 1.0, 2.0])
    mean, square = field(rng, shape, 0.3), rng.random((1, *shape), dtype=np.float32)
    means, squares = tensor(mean.copy()), tensor(square.copy())
    average = step_cpu.add_to_moments(gradient, scales, 0.9, 0.99, mean, square)
    twin = reference.add_to_moments(tensor(gradient), torch.from_numpy(scales), 0.9, 0.99, means, squares)
    assert average == pytest.approx(twin, rel=1e-5)
    assert_same(mean, means)
    assert_same(square, squares)
    moved = step_cpu.stepped(velocity, mean, square, 1.7, 0.2, scales)
    assert_same(moved, reference.stepped(tensor(velocity), means, squares, 1.7, 0.2, torch.from_numpy(scales)))
    assert np.sqrt((((moved - velocity) / scales[:, None, None, None]) ** 2).sum(axis=0)).max() == pytest.approx(1, rel=1e-3)


def test_nothing_to_gain_is_no_step(shape):
    nothing = np.zeros((3, *shape), np.float32)
    assert step_cpu.stepped(nothing, nothing, nothing[:1], 1.0, 1e-20, np.ones(3)) is None
    assert reference.stepped(tensor(nothing), tensor(nothing), tensor(nothing[:1]), 1.0, 1e-20, torch.ones(3)) is None


def test_warp_of_a_slice_ignores_the_missing_axis(rng):
    picture, u = image(rng, (12, 1, 10)), field(rng, (12, 1, 10), 1)
    value, gradient, inside = cpu.warp(picture, u, np.eye(3), np.zeros(3), True)
    twin = reference.warp(tensor(picture), tensor(u), torch.eye(3), torch.zeros(3), True)
    assert_same(value, twin[0])
    assert_same(gradient, twin[1], atol=1e-4)
    assert not gradient[1].any()
    assert_same(inside, twin[2])


@pytest.mark.parametrize("radius", [1, 3, 20])
def test_box_sum(rng, shape, radius):
    data = rng.standard_normal((2, *shape)).astype(np.float32)
    assert_same(cpu.box_sum(data, radius), reference.box_sum(tensor(data), radius), atol=1e-4)


def test_convolve_separable(rng, shape):
    data = rng.standard_normal((2, *shape)).astype(np.float32)
    kernels = [np.array(k, np.float32) for k in ([0.2, 0.6, 0.2], [0.1, 0.2, 0.4, 0.2, 0.1], [1.0])]
    twin = reference.convolve_separable(tensor(data), tuple(torch.from_numpy(k) for k in kernels))
    assert_same(cpu.convolve_separable(data, tuple(kernels)), twin)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_a_slice_is_smoothed_alike_whatever_its_threads_and_its_place(rng, across, monkeypatch):
    flat = rng.standard_normal((2, 23, 40)).astype(np.float32)
    kernels = [np.array([0.2, 0.6, 0.2], np.float32), np.array([0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05], np.float32)]
    kernels.insert(across, np.ones(1, np.float32))
    results = []
    monkeypatch.setattr(slabs, "SMALL", 0)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(cpu.convolve_separable(np.expand_dims(flat, 1 + across), tuple(kernels)).reshape(flat.shape))
    np.testing.assert_array_equal(results[0], results[1])
    rows = ndimage.correlate1d(flat, kernels[0 if across else 1], axis=1, mode="nearest")
    np.testing.assert_allclose(results[0], ndimage.correlate1d(rows, kernels[1 if across == 2 else 2], axis=2, mode="nearest"), atol=1e-6)


def test_lncc(rng, shape):
    moved, fixed, weight = image(rng, shape), image(rng, shape), image(rng, shape)
    count = cpu.box_sum(np.ones((1, *shape), np.float32), 2)[0]
    total, squares = cpu.box_sum(np.stack([fixed, fixed * fixed]), 2)
    variance = np.maximum(squares - total * total / count, 0) + np.float32(1e-3) * count
    arguments = (moved, fixed, total, variance, count, weight)
    value, gradient = lncc_cpu.lncc_value_and_gradient(*arguments, float(weight.sum()), 2, 1e-3)
    twin = reference.lncc_value_and_gradient(*(tensor(a) for a in arguments), float(weight.sum()), 2, 1e-3)
    assert value == pytest.approx(twin[0], rel=1e-4)
    assert_same(gradient, twin[1])


def test_mind(rng, shape):
    picture = image(rng, shape)
    pairs = neighbor_pairs(shape)
    compiled = mind_cpu.mind(picture, pairs, 1, 1e-3, 1e3)
    assert len(compiled) == (12 if 1 not in shape else 4)
    assert_same(compiled, mind_descriptors(tensor(picture)), atol=2e-4)


@pytest.mark.parametrize("block", [10**9, 700, 1])
def test_mind_in_bytes_is_mind_rounded_however_many_blocks_it_takes(rng, shape, block, monkeypatch):
    monkeypatch.setattr(mind_cpu, "BLOCK_VOXELS", block)
    picture = image(rng, shape)
    picture[picture < 0.4] = 0.4  # flat places, whose spread is bounded
    pairs = neighbor_pairs(shape)
    described = mind_cpu.mind_bytes(picture, pairs, 1, 1e-3, 1e3)
    assert described.dtype == np.uint8
    exact = np.moveaxis(mind_cpu.mind(picture, pairs, 1, 1e-3, 1e3), 0, -1)
    np.testing.assert_allclose(described / 255, exact, atol=0.5 / 255 + 1e-3)
    assert np.abs(described / 255 - exact).mean() < 0.3 / 255
    flat = np.full(shape, 3, np.float32)
    assert mind_cpu.mind_bytes(flat, pairs, 1, 1e-3, 1e3).min() == 255


def test_joint_histogram_and_the_way_back(rng, shape):
    moved, fixed, weight = 1.4 * image(rng, shape) - 0.2, image(rng, shape), image(rng, shape)
    moved.flat[:2], fixed.flat[:2] = (0, 1), (0, 1)
    table = nmi_cpu.joint_histogram(moved, fixed, weight, 32)
    assert table.sum() == pytest.approx(weight.sum(), rel=1e-5)
    assert_same(table, joint_histogram(tensor(fixed), tensor(moved), tensor(weight), 32))
    slope = rng.standard_normal((32, 32))
    compiled = nmi_cpu.through_histogram(moved, fixed, weight, slope)
    _, twin = by_autograd(
        lambda p: (joint_histogram(tensor(fixed), p, tensor(weight), 32) * torch.from_numpy(slope)).sum(), tensor(moved)
    )
    assert_same(compiled, twin, atol=1e-4)


def labels_of(radius, shape):
    reach = [range(-radius, radius + 1) if n > 1 else range(1) for n in shape]
    return np.array([(a, b, c) for a in reach[0] for b in reach[1] for c in reach[2]])


@pytest.mark.parametrize(("shape", "block"), [((7, 9, 5), 1), ((7, 9, 5), 2), ((1, 9, 11), 2), ((10, 1, 7), 3), ((2, 3, 5), 1)])
def test_matching_cost(rng, shape, block):
    fixed, moving = (rng.random((4, *shape), dtype=np.float32) for _ in range(2))
    fixed_weight, moving_weight = image(rng, shape), image(rng, shape)
    labels = labels_of(3, shape)
    compiled = search_cpu.matching_cost(fixed, moving, fixed_weight, moving_weight, labels, block)
    parts = (tensor(part) for part in (fixed, moving, fixed_weight, moving_weight))
    twin = search_reference.matching_cost(*parts, labels, block)
    assert_same(compiled[0], twin[0], atol=1e-4)
    assert_same(compiled[1], twin[1])


def test_coupled_minimum(rng):
    labels = labels_of(2, (5, 5, 5))
    cost, flow = rng.random((len(labels), 4, 3, 5), dtype=np.float32), field(rng, (4, 3, 5))
    unit = np.array([0.8, 1.0, 1.3])
    compiled = search_cpu.coupled_minimum(cost, labels, flow, 0.1, unit)
    assert_same(compiled, search_reference.coupled_minimum(tensor(cost), labels, tensor(flow), 0.1, unit))
    index = np.argmin(cost[:, 1, 2, 3] + 0.1 * (((labels - flow[:, 1, 2, 3]) * unit) ** 2).sum(axis=1))
    assert compiled[:, 1, 2, 3].tolist() == labels[index].tolist()


@pytest.mark.parametrize(("shape", "sampled", "offset"), [((7, 9, 6), (10, 11, 9), (1, 1, 2)), ((1, 9, 11), (1, 12, 13), (0, 2, 1))])
def test_warp_ssd(rng, shape, sampled, offset):
    moving, fixed = rng.random((*sampled, 5), dtype=np.float32), rng.random((*shape, 5), dtype=np.float32)
    moving_weight, fixed_weight, u = image(rng, sampled), image(rng, shape), field(rng, shape, 2)
    value, total, force = feature_cpu.warp_ssd(moving, moving_weight, fixed, fixed_weight, u, np.array(offset))

    def pulled(picture):
        return reference.warp(tensor(np.ascontiguousarray(picture)), tensor(u), torch.eye(3), torch.tensor(offset), True)

    weight, _, inside = pulled(moving_weight)
    weight = weight * inside * tensor(fixed_weight)
    expected, half = 0.0, torch.zeros(1, 3, *shape)
    for channel in range(5):
        moved, slope, _ = pulled(moving[..., channel])
        difference = moved - tensor(np.ascontiguousarray(fixed[..., channel]))
        expected += float((weight * difference.square()).sum())
        half += weight * difference * slope
    assert value == pytest.approx(expected, rel=1e-4)
    assert total == pytest.approx(float(weight.sum()), rel=1e-4)
    assert_same(force, half, atol=1e-4)


def test_warp_ssd_of_bytes_is_that_of_the_same_numbers(rng):
    moving, fixed = rng.integers(0, 256, (8, 9, 7, 12), np.uint8), rng.integers(0, 256, (6, 7, 5, 12), np.uint8)
    rest = image(rng, (8, 9, 7)), image(rng, (6, 7, 5)), field(rng, (6, 7, 5), 2), np.ones(3)
    in_bytes = feature_cpu.warp_ssd(moving, rest[0], fixed, *rest[1:])
    in_floats = feature_cpu.warp_ssd(moving.astype(np.float32), rest[0], fixed.astype(np.float32), *rest[1:])
    assert in_bytes[:2] == pytest.approx(in_floats[:2], rel=1e-6)
    np.testing.assert_allclose(in_bytes[2], in_floats[2], rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("shape", [(6, 7, 5), (1, 8, 6), (7, 1, 6)])
def test_push_folds_raises_the_determinants_of_a_voxel(rng, shape):
    u = field(rng, shape, 0.1)
    voxel = tuple(n // 2 for n in shape)
    for axis in range(3):
        if shape[axis] > 1:
            u[axis][voxel] = 0.8  # nearly at the next voxel

    def smallest():
        return float(digital_minimum(np.moveaxis(u, 0, -1))[voxel])

    before = smallest()
    short = fold_cpu.push_folds(u, np.array([voxel]), 0.3)
    assert before < 0.1
    assert short == pytest.approx(0.3 - before, abs=0.2)
    for _ in range(20):
        fold_cpu.push_folds(u, np.array([voxel]), 0.3)
    assert smallest() > 0.25
    untouched = u.copy()
    assert fold_cpu.push_folds(u, np.array([voxel]), smallest() - 0.05) == 0.0
    np.testing.assert_array_equal(u, untouched)


def test_smallest_determinants_of_chosen_voxels(rng, shape):
    u = field(rng, shape, 0.6)
    chosen = np.argwhere(rng.random(shape) < 0.4)
    everywhere = digital_minimum(np.moveaxis(u, 0, -1))
    assert everywhere.min() < 0
    np.testing.assert_allclose(fold_cpu.smallest_determinants(u, chosen), everywhere[tuple(chosen.T)], atol=1e-5)


def test_inverse_update(rng, shape):
    w, r = field(rng, shape, 1), field(rng, shape, 0.3)
    expected = w - r
    for axis in range(3):
        if shape[axis] > 1:
            expected -= np.gradient(w, axis=1 + axis) * r[axis]
    assert_same(inverse_cpu.inverse_update(w, r), expected)


def test_an_inverse_step_is_the_update_by_the_residual(rng, shape):
    u, w = field(rng, shape, 1), field(rng, shape, 1)
    residual = cpu.compose(u, w)
    step, miss = inverse_cpu.inverse_step(u, w)
    assert_same(step, inverse_cpu.inverse_update(w, residual))
    assert miss == pytest.approx(np.linalg.norm(residual.astype(np.float64), axis=0).mean(), rel=1e-5)
    assert inverse_cpu.mean_residual(u, w) == pytest.approx(miss, rel=1e-6)
