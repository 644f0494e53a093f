"""A training learns, resumes bit by bit, repeats itself, and ends honestly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_cases import blobs, config, plan

from napari_deformreg.engine.models.weights import load_model
from napari_deformreg.errors import EngineError, FileFormatError, InputError, SettingsError
from napari_deformreg.result import Step
from napari_deformreg.training import TrainingPlan, train, train_steps
from napari_deformreg.training.trainer import CHECKPOINT, FILES


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Sums over two threads may be rounded otherwise when the machine is busy; and tests share it with others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / CHECKPOINT)


def assert_close(first: Path, second: Path) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=1e-5, rtol=1e-4, msg=name)


def assert_equal(first: Path, second: Path) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    assert {name for name in one if not torch.equal(one[name], two[name])} == set()
    assert {"model", "average", "optimizer"} == {name.split(".")[0] for name in one}


FEW: dict[str, Any] = {
    "data": {"kind": "synthetic", "shape": [16, 16], "generator": {"few": 2}}, "phases": [{"steps": 60, "learning_rate": 1e-2}],
    "validation": {"every": 1000, "pairs": 2, "seed": 0},
}  # fmt: skip
"""Two pairs, learned by heart, and looked at in validation too: whatever learns at all learns these."""


def test_training_learns_the_known_warp(tmp_path: Path) -> None:
    outcome = train(plan(tmp_path, **FEW, average_decay=0.9))
    assert outcome.figures["endpoint_vox before"] > 0.5
    assert outcome.figures["endpoint_vox"] < 0.5 * outcome.figures["endpoint_vox before"]
    assert outcome.figures["dice"] > outcome.figures["dice before"] + 0.1
    assert outcome.figures["folds_percent"] == 0
    assert outcome.figure == "dice"
    assert outcome.best == outcome.figures["dice"]


PYRAMID: dict[str, Any] = {
    "model": {"name": "matching_pyramid", "dimensions": 2, "features": [4, 8, 8], "hidden": [4, 4]},
    "data": {"kind": "synthetic", "shape": [17, 17]}, "batch": 2,
    "phases": [{"steps": 4, "loss": {"weights": {"velocity": 1, "matching": 1, "soft_dice": 1}, "overlap_without_velocity_only": True}}],
    "validation": {"every": 4, "pairs": 2}, "log_every": 2,
}  # fmt: skip


def test_own_loss_of_a_model_enters_and_resumes_exactly(tmp_path: Path) -> None:
    train(plan(tmp_path / "whole", **PYRAMID))
    header, *rows = (tmp_path / "whole" / "curves.csv").read_text().splitlines()
    column = header.split(",").index("term matching")
    # Nothing learned yet: each level is about as unsure as a guess among nine shifts.
    assert all(0.3 < float(row.split(",")[column]) < 1.5 * np.log(9) for row in rows)
    assert "term soft_dice" not in header  # every pair's velocity is known
    steps = train_steps(plan(tmp_path / "parts", **PYRAMID))
    for step in steps:
        if step.stage == "train" and step.index == 2:
            steps.close()
    train(plan(tmp_path / "parts", resume=True, **PYRAMID))
    assert_equal(tmp_path / "whole", tmp_path / "parts")


def test_resume_is_exact_to_the_bit(tmp_path: Path) -> None:
    train(plan(tmp_path / "whole"))
    steps = train_steps(plan(tmp_path / "parts"))
    for step in steps:
        if step.stage == "train" and (step.level, step.index) == (0, 3):
            steps.close()  # in the middle of a phase, off the rhythm of saving
    assert len(json.loads((tmp_path / "parts" / "config.json").read_text())["phases"]) == 2
    train(plan(tmp_path / "parts", resume=True))
    assert_equal(tmp_path / "whole", tmp_path / "parts")
    for name in ("last.safetensors", "best.safetensors", "validation.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_one_seed_gives_one_training_and_another_seed_another(tmp_path: Path) -> None:
    torch.manual_seed(1)
    train(plan(tmp_path / "a"))
    torch.manual_seed(2)
    train(plan(tmp_path / "b"))
    train(plan(tmp_path / "c", seed=1))
    assert_equal(tmp_path / "a", tmp_path / "b")
    a, c = tensors(tmp_path / "a"), tensors(tmp_path / "c")
    assert not torch.equal(a["model.flow.weight"], c["model.flow.weight"])


def test_accumulated_parts_equal_the_whole_batch(tmp_path: Path) -> None:
    train(plan(tmp_path / "whole", batch=4, gradient_clip=None))
    train(plan(tmp_path / "parts", batch=4, accumulate=2, gradient_clip=None))
    assert_close(tmp_path / "whole", tmp_path / "parts")


def test_two_processes_equal_one_with_the_batch_of_both(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"batch": 2, "gradient_clip": None}
    alone = train(plan(tmp_path / "one", **changes))
    both = train(plan(tmp_path / "two", **changes), processes=2)
    for name, value in alone.figures.items():
        assert both.figures[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert_close(tmp_path / "one", tmp_path / "two")
    columns = [(tmp_path / run / "curves.csv").read_text().splitlines()[1].split(",")[1] for run in ("one", "two")]
    assert float(columns[0]) == pytest.approx(float(columns[1]), rel=1e-5)


def test_processes_that_are_stopped_save_their_step(tmp_path: Path) -> None:
    steps = train_steps(plan(tmp_path, phases=[{"steps": 5000}]), processes=2)
    for step in steps:
        if step.index == 3:
            steps.close()
    assert (tmp_path / CHECKPOINT).exists()


def test_error_of_a_process_reaches_the_caller(tmp_path: Path) -> None:
    broken = {"kind": "synthetic", "shape": [16, 16], "generator": {"broken_from": 3}}
    with pytest.raises(EngineError, match="loss of step 2"):
        train(plan(tmp_path, data=broken, batch=2), processes=2)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    broken = {"kind": "synthetic", "shape": [16, 16], "generator": {"broken_from": 10}}
    with pytest.raises(EngineError, match=r"loss of step 6 is not a finite number.*is kept.*learning rate"):
        train(plan(tmp_path, data=broken, save_every=2))
    assert all(bool(torch.isfinite(value).all()) for value in tensors(tmp_path).values())
    steps = train_steps(plan(tmp_path, resume=True))
    seen = [step for step in steps if step.stage == "train" and step.count]
    assert (seen[0].level, seen[0].index) == (1, 1), "goes on after step 4"


def test_steps_tell_how_far_and_how_long(tmp_path: Path) -> None:
    steps: list[Step] = []
    training = train_steps(plan(tmp_path))
    while True:
        try:
            steps.append(next(training))
        except StopIteration:
            break
    done = [step for step in steps if step.stage == "train" and step.count]
    assert [(step.level, step.index) for step in done] == [(0, n) for n in range(1, 5)] + [(1, n) for n in range(1, 5)]
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert done[-1].fraction == pytest.approx(1)
    assert all(step.seconds_left is not None and step.loss is not None for step in done)
    texts = [step.message for step in done if step.message]
    assert len(texts) == 4
    assert "s/step" in texts[0]
    assert "left" in texts[0]
    assert "soft_dice" in texts[-1]
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


def test_exported_model_is_the_average_and_opens(tmp_path: Path) -> None:
    train(plan(tmp_path, average_decay=0.99))
    opened = load_model(tmp_path / "last.safetensors")
    kept = tensors(tmp_path)
    for name, value in opened.module.state_dict().items():
        assert torch.equal(value, kept[f"average.{name}"])
    assert not torch.equal(kept["average.flow.weight"], kept["model.flow.weight"])
    assert opened.header.notes["steps"] == 8


def test_model_of_patches_says_how_large_the_images_are(tmp_path: Path) -> None:
    phases = [{"steps": 1}]
    for view, longest in ((None, 16), (200.0, 101)):
        train(plan(tmp_path / str(view), data={"kind": "synthetic", "shape": [16, 16], "view_mm": view}, phases=phases))
        header = load_model(tmp_path / str(view) / "last.safetensors").header
        assert (header.longest_vox, header.spacing_mm) == (longest, 2.0)


def test_training_starts_from_given_weights(tmp_path: Path) -> None:
    train(plan(tmp_path / "first"))
    start = str(tmp_path / "first" / "last.safetensors")
    later = TrainingPlan(config(model=None, phases=[{"steps": 1, "learning_rate": 1e-9}]), tmp_path / "second", start=start, maker=blobs)
    train(later)
    before, after = load_file(start), tensors(tmp_path / "second")
    for name, value in before.items():
        torch.testing.assert_close(after[f"model.{name}"], value, atol=1e-7, rtol=0)


def test_bfloat16_learns_too(tmp_path: Path) -> None:
    outcome = train(plan(tmp_path, **FEW, precision="bfloat16", average_decay=0.9))
    assert outcome.figures["endpoint_vox"] < 0.6 * outcome.figures["endpoint_vox before"]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown loss": ({"loss": {"weights": {"ssd": 1}}}, "no loss term 'ssd'"),
    "no loss": ({"loss": {"weights": {"velocity": 0}}}, "nothing to learn"),
    "lattice": ({"data": {"kind": "synthetic", "shape": [17, 18]}}, r"4 k \+ 0.*\(16, 16\)"),
    "uneven batch": ({"batch": 3, "accumulate": 2}, "multiple of 2"),
    "no model": ({"model": None}, "no `model`"),
}


@pytest.mark.parametrize("case", list(REFUSALS))
def test_what_cannot_work_is_refused_before_the_first_step(case: str, tmp_path: Path) -> None:
    changes, expected = REFUSALS[case]
    with pytest.raises(SettingsError, match=expected):
        next(train_steps(plan(tmp_path / "out", **changes)))
    assert not (tmp_path / "out").exists()


def test_older_training_is_not_overwritten_and_no_training_not_resumed(tmp_path: Path) -> None:
    train(plan(tmp_path / "a"))
    with pytest.raises(InputError, match="--resume"):
        next(train_steps(plan(tmp_path / "a")))
    with pytest.raises(InputError, match="no checkpoint"):
        next(train_steps(plan(tmp_path / "b", resume=True)))
    (tmp_path / "a" / CHECKPOINT).write_bytes(b"\x80\x04 not a checkpoint")
    with pytest.raises(FileFormatError, match="damaged or no training checkpoint"):
        next(train_steps(plan(tmp_path / "a", resume=True)))
    (tmp_path / "a" / CHECKPOINT).write_bytes((tmp_path / "a" / "last.safetensors").read_bytes())
    with pytest.raises(FileFormatError, match="not a training checkpoint"):
        next(train_steps(plan(tmp_path / "a", resume=True)))
