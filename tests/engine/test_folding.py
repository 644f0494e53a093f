"""The repair removes planted folds with small changes; the inverse field inverts."""

import numpy as np
import pytest
import torch

from napari_deformreg.engine import folding
from napari_deformreg.engine.folding import invert_field, push_off_folds, repair
from napari_deformreg.engine.kernels import fold_cpu
from napari_deformreg.engine.sampling import compose, integrate, smooth
from napari_deformreg.space.jacobian import digital_fold_mask, digital_minimum


def folds_of(field):
    return int(digital_fold_mask(np.moveaxis(field[0].numpy(), 0, -1)).sum())


def smooth_velocity(shape, amplitude, seed=0, sigma=3.0):
    noise = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(seed))
    for axis, n in enumerate(shape):
        if n == 1:
            noise[:, axis] = 0
    field = smooth(noise, (sigma, sigma, sigma))
    return field * (amplitude / field.abs().max())


@pytest.mark.parametrize("shape", [(17, 16, 15), (24, 21, 1), (1, 20, 23)])
def test_planted_folds_are_gone_and_far_places_untouched(shape):
    field = smooth_velocity(shape, 0.8)
    center = tuple(n // 2 for n in shape)
    axis = int(np.argmax(shape))
    field[(0, axis, *center)] += 2.6
    assert folds_of(field) > 0
    mended, report = repair(field, 0.05)
    assert report.folds_before == folds_of(field)
    assert report.folds_left == folds_of(mended) == 0
    minimum = digital_minimum(np.moveaxis(mended[0].numpy(), 0, -1))
    assert minimum.min() > 0.02
    far = np.ones(shape, bool)
    far[tuple(slice(max(c - 5, 0), c + 6) for c in center)] = False
    assert torch.equal(mended[0][:, torch.from_numpy(far)], field[0][:, torch.from_numpy(far)])


def test_a_checkerboard_that_central_differences_cannot_see_is_repaired():
    n = 9
    sign = (np.indices((n, n, n)).sum(0) % 2) * 2 - 1
    field = torch.zeros(1, 3, n, n, n)
    field[0, 0] = torch.from_numpy(0.7 * sign.astype(np.float32))
    assert folds_of(field) > 0
    mended, report = repair(field, 0.05)
    assert report.folds_left == folds_of(mended) == 0


def test_a_regular_field_is_returned_as_it_is():
    field = integrate(smooth_velocity((16, 16, 16), 2.0))
    mended, report = repair(field, 0.05)
    assert torch.equal(mended, field)
    assert (report.folds_before, report.passes, report.largest_change_vox) == (0, 0, 0.0)


def half_turn(shape):
    """A cube (a square) of seven voxels a side, turned by 180 degrees in place: its rim takes projections hundreds of passes."""
    field = torch.zeros(1, 3, *shape)
    middle = [n // 2 for n in shape]
    block = tuple(slice(c - 3, c + 4) if n > 1 else slice(None) for c, n in zip(middle, shape, strict=True))
    where = torch.from_numpy(np.indices(shape).astype(np.float32))
    for axis in [axis for axis, n in enumerate(shape) if n > 1][:2]:
        field[(0, axis, *block)] = -2.0 * (where[(axis, *block)] - middle[axis])
    return field, middle


@pytest.mark.parametrize("shape", [(61, 59, 57), (61, 57, 1)])
def test_where_projections_stall_the_surroundings_are_evened_out(shape, monkeypatch):
    field, middle = half_turn(shape)
    field = field + 0.3 * smooth_velocity(shape, 0.8)
    monkeypatch.setattr("napari_deformreg.engine.folding.STALLED_PASSES", 0)
    with monkeypatch.context() as alone:
        alone.setattr("napari_deformreg.engine.folding.even_out", lambda *_: None)
        stalled, report = repair(field, 0.05)
    assert report.folds_left == folds_of(stalled) > 0  # what is left is counted, never hidden
    assert report.evened == 0
    mended, report = repair(field, 0.05)
    assert report.folds_left == folds_of(mended) == 0
    assert report.folds_before == folds_of(field)
    change = (mended - field)[0].norm(dim=0)
    assert report.changed == int((change > 0).sum())
    assert 0 < report.evened <= report.changed
    assert report.largest_change_vox == pytest.approx(float(change.max()), rel=1e-5)
    assert report.mean_change_vox == pytest.approx(float(change[change > 0].mean()), rel=1e-4)
    far = np.ones(shape, bool)
    far[tuple(slice(max(c - 20, 0), c + 21) for c in middle)] = False
    assert far.mean() > 0.3
    assert torch.equal(mended[0][:, torch.from_numpy(far)], field[0][:, torch.from_numpy(far)])


@pytest.mark.parametrize("shape", [(24, 22, 20), (40, 36, 1)])
def test_a_place_that_takes_many_passes_is_repaired_by_projections_alone(shape):
    field, _ = half_turn(shape)
    mended, report = repair(field, 0.05)
    assert report.folds_left == folds_of(mended) == 0
    assert report.evened == 0
    assert report.largest_change_vox < 6.0


@pytest.mark.parametrize("shape", [(12, 11, 10), (20, 21, 1)])
def test_even_a_field_of_noise_ends_without_folds(shape):
    field = 5.0 * torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(3))
    mended, report = repair(field, 0.05)
    assert folds_of(field) > 0.9 * np.prod(shape)
    assert report.folds_left == folds_of(mended) == 0
    assert "evened out" in report.text
    assert f"{report.folds_before} of {report.folds_before} folded voxels were repaired" in report.text


def test_a_push_raises_a_determinant_to_the_target():
    """One compressed cell: first-order projections reach the target after a few passes."""
    field = np.zeros((3, 6, 6, 6), np.float32)
    field[0, 3, 3, 3] = -0.97
    worst = [fold_cpu.push_folds(field, np.argwhere(digital_fold_mask(np.moveaxis(field, 0, -1), 0.1)), 0.1) for _ in range(12)]
    assert worst[0] == pytest.approx(0.07, abs=1e-3)
    assert worst[-1] < 1e-3


def test_the_barrier_pushes_only_where_determinants_are_low():
    calm = integrate(smooth_velocity((14, 14, 14), 1.0))
    push, count = push_off_folds(calm, 0.05)
    assert count == 0
    assert not push.any()
    folded = calm.clone()
    folded[0, 1, 7, 7, 7] += 2.5
    push, count = push_off_folds(folded, 0.05)
    assert count > 0
    assert folds_of(folded + push) < folds_of(folded)


def test_the_inverse_of_a_changed_field_inverts_it():
    velocity = smooth_velocity((28, 26, 24), 4.0, sigma=4.0)
    forward = integrate(velocity)
    changed = forward + 0.3 * smooth_velocity((28, 26, 24), 1.0, seed=5)
    start = integrate(velocity, -1.0)
    inverse, miss = invert_field(changed, start)
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6), slice(6, -6))
    before = compose(changed, start)[inner].norm(dim=1).mean()
    after = compose(changed, inverse)[inner].norm(dim=1).mean()
    assert after < 0.2 * before
    assert after < 0.02
    assert miss < 0.05


def test_a_few_grown_voxels_are_those_of_the_whole_lattice(monkeypatch):
    rng = np.random.default_rng(5)
    shape = (30, 41, 25)
    voxels = np.argwhere(rng.random(shape) < 2e-4)
    assert len(voxels) > 1
    wanted = []
    for fraction in (0, 10**9):
        monkeypatch.setattr(folding, "SORTED_FRACTION", fraction)
        wanted.append(folding._grown(voxels, shape, folding.FELT))
    np.testing.assert_array_equal(*wanted)
