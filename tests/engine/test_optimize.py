"""A level begins where its loss is lowest, computes nothing twice, and leaves the cores to the kernels."""

import pytest
import torch

from napari_deformreg.engine import optimize, register_steps, tensors
from napari_deformreg.engine.case import prepared_case
from napari_deformreg.engine.prepare import level_pair
from napari_deformreg.engine.tensors import choose_device
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform

QUICK = Settings().changed(refine={"steps": (3, 3, 3, 3)}, search={"mode": "off"})


@pytest.fixture(scope="module")
def pair():
    return small_pair((24, 24, 24), seed=3)


@pytest.fixture
def fresh_optimizer(pair):
    case = prepared_case(choose_device("cpu"), pair.fixed, pair.moving, QUICK, (None, None), None, (None, None))
    level = level_pair(case.fixed, case.moving, case.fixed.grid, AffineTransform.identity())
    return lambda: optimize.LevelOptimizer(level, torch.zeros((1, 3, *case.fixed.grid.shape)), QUICK, [])


def test_a_level_begins_at_the_lowest_loss_and_steps_as_if_it_had_looked_again(fresh_optimizer, monkeypatch):
    there, plain = fresh_optimizer(), fresh_optimizer()
    for _ in range(3):
        there.step()
    far = there.velocity + 2.0
    offered = [torch.zeros_like(far), there.velocity, far]
    losses = [plain.evaluate(velocity)[0] for velocity in offered]
    assert min(losses) == losses[1]
    chosen = fresh_optimizer()
    chosen.begin_at_best(offered)
    assert chosen.velocity is offered[1]
    plain.velocity = offered[1]
    expected = plain.step()
    looks = []
    monkeypatch.setattr(chosen, "evaluate", lambda velocity: looks.append(velocity) or type(chosen).evaluate(chosen, velocity))
    assert chosen.step() == expected == losses[1]
    assert not looks, "the loss there was known"
    assert torch.equal(chosen.velocity, plain.velocity)
    assert chosen.step() == plain.step()
    assert len(looks) == 1
    assert torch.equal(chosen.velocity, plain.velocity)


def test_what_was_known_of_another_velocity_is_not_used(fresh_optimizer):
    chosen, plain = fresh_optimizer(), fresh_optimizer()
    nothing = torch.zeros_like(chosen.velocity)
    chosen.begin_at_best([nothing])
    chosen.velocity = plain.velocity = nothing + 0.3
    assert chosen.step() == plain.step()


@pytest.mark.parametrize(("wide", "threads"), [(tensors.WIDE_VOXELS, 1), (0, 2)], ids=["small", "wide"])
def test_torch_has_one_thread_while_a_small_level_steps_and_all_afterwards(pair, monkeypatch, wide, threads):
    monkeypatch.setattr(tensors, "WIDE_VOXELS", wide)
    before, seen = torch.get_num_threads(), []
    evaluate = optimize.LevelOptimizer.evaluate

    def watched(self, velocity):
        seen.append(torch.get_num_threads())
        return evaluate(self, velocity)

    monkeypatch.setattr(optimize.LevelOptimizer, "evaluate", watched)
    torch.set_num_threads(2)
    try:
        for _ in register_steps(pair.fixed, pair.moving, QUICK.changed(device="cpu")):
            assert torch.get_num_threads() == 2, "who looks on between two steps finds torch as it was"
        assert set(seen) == {threads}
    finally:
        torch.set_num_threads(before)
