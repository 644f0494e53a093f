"""Which start a registration takes: the one that its own similarity prefers, and that is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_predict import Returns, centroid, trained
from torch import nn

from napari_deformreg.engine import model_start, register
from napari_deformreg.engine.model_start import NO_START, SEARCHED, Start, choose_start, is_used_up, judge_grid, ways_in
from napari_deformreg.engine.models.predict import working_grid
from napari_deformreg.errors import InputError
from napari_deformreg.phantom import slice_pair, small_pair
from napari_deformreg.result import Status
from napari_deformreg.settings import Settings
from napari_deformreg.space import Grid

QUICK = Settings().changed(affine={"mode": "rigid", "start": "header"}, refine={"steps": (10, 10, 10, 10)})
ONLY_START = {"refine": {"steps": (0, 0, 0, 0)}}


@pytest.fixture(scope="module")
def pair():
    return small_pair((24, 24, 24), seed=3)


@pytest.fixture
def network(monkeypatch):
    """Give the engine a network made here, by the name "mine"."""

    def install(module, dimensions=3, **keywords):
        model = trained(module, dimensions, **keywords)
        monkeypatch.setattr(model_start, "open_model", lambda choice: model)
        return model

    return install


def errors_mm(pair, result):
    points = pair.fixed.grid.voxel_to_world(np.argwhere(pair.fixed_labels.data > 0).astype(float))
    return np.linalg.norm(result.fixed_to_moving.map(points) - pair.fixed_to_moving.map(points), axis=1)


class Knows(nn.Module):
    """Remembers the velocity of a finished registration: a network that is right."""

    multiple, offset = 8, 0

    def __init__(self, result, sign=1.0):
        super().__init__()
        self.velocity = sign * torch.from_numpy(result.velocity_vox).movedim(-1, 0)[None]

    def forward(self, fixed, moving):
        # The velocity spans the field of view, which is padded evenly at both ends here.
        field = model_start.resize_field(self.velocity, tuple(fixed.shape[2:]))
        assert fixed.shape == (1, 1, 24, 24, 24)
        assert torch.isfinite(centroid(fixed)).all()
        return field


@pytest.fixture(scope="module")
def known(pair):
    return register(pair.fixed, pair.moving, QUICK)


def test_a_good_network_is_taken_and_helps(pair, known, network):
    """Without a single step of refinement it brings the structures where a refined registration had brought them."""
    model = network(Knows(known), longest_vox=24, spacing_mm=float(pair.fixed.grid.spacing[0]))
    assert working_grid(pair.fixed.grid, model.header).shape == (24, 24, 24)
    affine_only = register(pair.fixed, pair.moving, QUICK.changed(search={"mode": "off"}, **ONLY_START))
    result = register(pair.fixed, pair.moving, QUICK.changed(model="mine", **ONLY_START))
    start = result.provenance.start
    assert start.chosen == "network fake"
    assert list(start.losses) == [NO_START, SEARCHED, "network fake"]
    searched = register(pair.fixed, pair.moving, QUICK.changed(model="mine", search={"mode": "on"}, **ONLY_START)).provenance.start
    assert list(searched.losses) == [NO_START, SEARCHED, "network fake"]
    assert searched.chosen == min(searched.losses, key=searched.losses.get)
    assert min(start.losses, key=start.losses.get) == "network fake"
    assert errors_mm(pair, result).mean() < 1.05 * errors_mm(pair, known).mean() < 0.8 * errors_mm(pair, affine_only).mean()


def test_a_network_that_points_the_wrong_way_changes_nothing(pair, known, network):
    network(Knows(known, sign=-1.0), longest_vox=24, spacing_mm=float(pair.fixed.grid.spacing[0]))
    result = register(pair.fixed, pair.moving, QUICK.changed(model="mine"))
    assert result.provenance.start.chosen == known.provenance.start.chosen
    assert result.provenance.start.losses["network fake"] > result.provenance.start.losses[NO_START]
    assert np.array_equal(result.displacement.displacement_mm, known.displacement.displacement_mm)


def test_a_network_alone_is_compared_with_nothing(pair, known, network):
    network(Knows(known, sign=-1.0), longest_vox=24, spacing_mm=float(pair.fixed.grid.spacing[0]))
    result = register(pair.fixed, pair.moving, QUICK.changed(model="mine", search={"mode": "off"}, **ONLY_START))
    assert list(result.provenance.start.losses) == [NO_START, "network fake"]
    assert result.provenance.start.chosen == NO_START
    assert not result.displacement.displacement_mm.any()


def test_a_network_with_nonsense_is_left_out_with_a_notice(pair, network):
    network(Returns(torch.full((1, 3, 8, 8, 8), torch.nan)))
    result = register(pair.fixed, pair.moving, QUICK.changed(model="mine", **ONLY_START))
    assert list(result.provenance.start.losses) == [NO_START, SEARCHED]
    assert any("gave no start" in notice and "not finite" in notice for notice in result.provenance.notices)


def test_a_folding_network_is_smoothed_or_left_out(pair, network):
    generator = torch.Generator().manual_seed(0)
    network(Returns(20 * torch.randn((1, 3, 8, 8, 8), generator=generator)))
    result = register(pair.fixed, pair.moving, QUICK.changed(model="mine", **ONLY_START))
    assert result.status is not Status.FOLDS_LEFT


def test_slices_take_a_network_for_slices(network):
    pair = slice_pair()
    known = register(pair.fixed, pair.moving, Settings.from_preset("slice-2d"))

    class KnowsSlice(nn.Module):
        multiple, offset = 1, 0

        def forward(self, fixed, moving):
            velocity = torch.from_numpy(known.velocity_vox).movedim(-1, 0)[None]
            axis = pair.fixed.grid.shape.index(1)
            shape = list(fixed.shape[2:])
            shape.insert(axis, 1)
            field = model_start.resize_field(velocity, tuple(shape)).squeeze(2 + axis)
            return field[:, [c for c in range(3) if c != axis]]

    network(KnowsSlice(), dimensions=2, longest_vox=max(pair.fixed.grid.shape), spacing_mm=float(pair.fixed.grid.spacing.min()))
    quick = Settings.from_preset("slice-2d").changed(model="mine", refine={"steps": (0,) * len(known.settings.refine.steps)})
    result = register(pair.fixed, pair.moving, quick)
    assert result.provenance.start.chosen == "network fake"
    assert errors_mm(pair, result).mean() < 2 * pair.fixed.grid.spacing[0]


def test_a_model_of_the_wrong_dimension_is_refused_if_asked_for_and_left_out_if_not(pair, network, monkeypatch):
    network(Returns(torch.zeros(1, 2, 8, 8)), dimensions=2)
    with pytest.raises(InputError, match="for slices"):
        register(pair.fixed, pair.moving, QUICK.changed(model="mine"))
    monkeypatch.setitem(model_start.Settings.chosen_model.fget.__globals__["PRESET_MODELS"], "generic", "flat")
    result = register(pair.fixed, pair.moving, QUICK.changed(search={"mode": "off"}, **ONLY_START))
    assert any("No network was used" in notice and "for slices" in notice for notice in result.provenance.notices)
    assert result.provenance.start is None


def test_a_model_file_that_is_missing_is_told_before_anything_is_computed(pair):
    with pytest.raises(InputError, match="There is no model"):
        register(pair.fixed, pair.moving, QUICK.changed(model="/nowhere/model.safetensors"))


def test_the_first_of_equal_starts_wins():
    zero = torch.zeros(1, 3, 4, 4, 4)
    same = [Start("a", zero), Start("b", zero)]
    start, choice = choose_start(same, zero, lambda velocity: -0.5)
    assert start is None
    assert choice.chosen == NO_START
    losses = iter([-0.5, -0.6, -0.6])
    start, choice = choose_start(same, zero, lambda velocity: next(losses))
    assert start is same[0]
    assert choice.text == "start: a (-0.600) against none (-0.500) and b (-0.600)"


def test_a_loss_that_is_no_number_never_wins():
    zero = torch.zeros(1, 3, 4, 4, 4)
    losses = iter([-0.5, float("nan"), -0.6])
    start, choice = choose_start([Start("bad", zero), Start("good", zero)], zero, lambda velocity: next(losses))
    assert choice.chosen == "good" == start.name


@pytest.mark.parametrize("shape", [(160, 192, 224), (64, 64, 64), (300, 300, 1), (512, 512, 40)])
def test_starts_are_compared_on_a_small_lattice_over_the_same_field(shape):
    fixed = Grid(shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    grid = judge_grid(fixed)
    assert np.prod(grid.shape) <= model_start.JUDGE_VOXELS
    np.testing.assert_allclose(grid.corners(), fixed.corners(), atol=1e-9)


def test_a_starts_detail_comes_back_on_finer_levels():
    """What a coarse level cannot hold of a start is added to what that level changed about it."""
    generator = torch.Generator().manual_seed(0)
    start = Start("fine", torch.randn((1, 3, 17, 17, 17), generator=generator))
    coarse = model_start.resize_field(start.velocity, (5, 5, 5))
    change = torch.randn((1, 3, 5, 5, 5), generator=generator)
    assert len(ways_in(start, None, (5, 5, 5))) == 1
    whole, both = ways_in(start, coarse + change, (17, 17, 17))
    assert torch.equal(whole, start.velocity)
    torch.testing.assert_close(both, start.velocity + model_start.resize_field(change, (17, 17, 17)), atol=1e-5, rtol=1e-5)
    assert is_used_up(start, (17, 17, 17))
    assert not is_used_up(start, (17, 16, 17))
