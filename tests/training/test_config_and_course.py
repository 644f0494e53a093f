"""Configurations that say what is wrong with them, learning rates, progress for people, tables, pictures and event files."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from training_cases import config

from napari_deformreg import cli
from napari_deformreg.engine.models import build_model
from napari_deformreg.errors import FileFormatError, SettingsError
from napari_deformreg.training import TrainingConfig
from napari_deformreg.training.curves import NO_TENSORBOARD, Course, Events, draw_curves
from napari_deformreg.training.objective import check_loss
from napari_deformreg.training.progress import Clock, duration, validation_text
from napari_deformreg.training.sources import SyntheticSources, check_shapes

LEAST = {"data": {"shape": [16, 16]}, "phases": [{"steps": 3}]}

MISTAKES = {
    "not JSON": ("{", "not valid JSON"),
    "a list": ("[]", "JSON object"),
    "no phases": (json.dumps({"data": {"shape": [16, 16]}}), "lacks 'phases'"),
    "empty phases": (json.dumps({**LEAST, "phases": []}), "'phases'"),
    "misspelled": (json.dumps({**LEAST, "optimiser": 1}), "unknown entry 'optimiser'"),
    "misspelled within": (json.dumps({**LEAST, "data": {"shape": [16, 16], "generatr": {}}}), "'data.generatr'"),
    "bad rate": (json.dumps({**LEAST, "phases": [{"steps": 3, "learning_rate": -1}]}), "phases.0.learning_rate.*got -1"),
    "one axis": (json.dumps({**LEAST, "data": {"shape": [16]}}), "data.shape"),
    "unknown kind": (json.dumps({**LEAST, "data": {"kind": "videos", "shape": [16, 16]}}), "'data'"),
}


@pytest.mark.parametrize("case", list(MISTAKES))
def test_mistakes_in_a_configuration_are_named(case: str) -> None:
    text, expected = MISTAKES[case]
    with pytest.raises(SettingsError, match=expected) as refusal:
        TrainingConfig.from_json(text)
    assert "pydantic" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_configuration_comes_back_from_its_json() -> None:
    assert TrainingConfig.from_json(config().to_json()) == config()


def test_paths_of_images_are_relative_to_the_configuration(tmp_path: Path) -> None:
    given = {**LEAST, "data": {"kind": "images", "shape": [16, 16], "folder": "mine"}}
    (tmp_path / "train.json").write_text(json.dumps(given))
    data = TrainingConfig.from_file(tmp_path / "train.json").data
    assert data.folder == tmp_path / "mine"  # type: ignore[union-attr]
    with pytest.raises(SettingsError, match="Cannot read"):
        TrainingConfig.from_file(tmp_path / "other.json")


def test_learning_rate_warms_up_and_falls_like_a_cosine() -> None:
    phase = {"steps": 110, "learning_rate": 1.0, "warmup_steps": 10, "end_factor": 0.2}
    told = config(phases=[phase, {"steps": 5, "learning_rate": 0.5, "schedule": "constant"}], batch=3)
    rates = [told.place(step).learning_rate for step in range(115)]
    assert rates[:10] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.6)
    assert rates[109] == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 0.99)))
    assert rates[110:] == [0.5] * 5
    assert [told.place(step).number for step in (0, 109, 110, 114)] == [0, 0, 1, 1]
    assert [told.place(step).first_pair for step in (0, 1, 110, 111)] == [0, 3, 330, 333]


def test_time_left_counts_the_work_of_each_phase() -> None:
    phases = [{"steps": 10, "shape": [16, 16]}, {"steps": 10, "shape": [32, 32]}]
    told = config(phases=phases)
    clock = Clock(told, 0)
    for step in range(5):
        clock.tick(told.place(step), 2.0)
    assert clock.seconds_left == pytest.approx(5 * 2.0 + 10 * 8.0)
    assert clock.step(told.place(4), 0.5).fraction == pytest.approx(5 / 50)
    resumed = Clock(told, 15)
    resumed.tick(told.place(15), 8.0)
    assert resumed.seconds_left == pytest.approx(4 * 8.0)
    assert [duration(x) for x in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]


def test_validation_line_shows_before_and_after() -> None:
    text = validation_text(7, {"dice": 0.8, "folds_percent": 0.0, "dice before": 0.5}, True)
    assert text == "step 7  held-out pairs: dice 0.8 (before 0.5)  folds_percent 0  best so far"


def test_course_is_cut_where_training_goes_on(tmp_path: Path) -> None:
    course = Course(tmp_path / "curves.csv")
    for step in (10, 20, 30):
        course.add({"step": step, "loss": 1 / step, **({"term mse": 0.25} if step > 10 else {})})
    course.write()
    again = Course.reopened(tmp_path / "curves.csv", 20)
    assert again.series("loss") == ([10, 20], pytest.approx([0.1, 0.05]))
    assert again.series("term mse") == ([20], [0.25])
    (tmp_path / "curves.csv").write_text("step,loss\nten,1\n")
    with pytest.raises(FileFormatError, match="damaged"):
        Course.reopened(tmp_path / "curves.csv", 20)


def test_curves_are_drawn(tmp_path: Path) -> None:
    training, validation = Course(tmp_path / "a"), Course(tmp_path / "b")
    for step in (1, 2, 3):
        training.add({"step": step, "loss": 1 / step, "term mse": 0.5 / step, "term diffusion_l2": 0.1})
        validation.add({"step": step, "loss": 1.1 / step, "dice": 0.2 * step, "dice before": 0.2, "folds_percent": 0})
    draw_curves(tmp_path / "curves.png", training, validation)
    picture = imread(tmp_path / "curves.png")
    assert picture.shape[1] > 4 * 250, "loss, terms, Dice, folds"
    assert len({tuple(pixel) for pixel in picture[:, : picture.shape[1] // 4].reshape(-1, picture.shape[2]).round(2)}) > 20


def test_events_are_what_tensorboard_reads(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = Events(tmp_path, 0)
    assert events.notice is None
    for step in (5, 10):
        events.add("training", {"step": step, "loss": 1 / step})
    events.close()
    read = accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("training/loss")] == [(5, pytest.approx(0.2)), (10, pytest.approx(0.1))]


def test_without_tensorboard_a_notice_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    events = Events(tmp_path / "events", 0)
    events.add("training", {"step": 1, "loss": 1.0})
    events.close()
    assert events.notice == NO_TENSORBOARD
    assert "napari-deformreg[train]" in NO_TENSORBOARD
    assert not (tmp_path / "events").exists()


SYNTHETIC = {
    "model": {"name": "unet", "dimensions": 2, "encoder": [4], "decoder": [4, 4]}, "data": {"shape": [16, 16]}, "phases": [{"steps": 2}],
    "validation": {"pairs": 1}, "log_every": 1,
}  # fmt: skip


def test_command_trains_on_the_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.json").write_text(json.dumps(SYNTHETIC))
    words = ["train", str(tmp_path / "train.json"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.main(words) == 0
    told = capsys.readouterr()
    assert "step 2/2" in told.err
    assert "held-out pairs: loss" in told.err
    assert "2 steps" in told.out
    assert "best.safetensors" in told.out
    assert cli.main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main([*words, "--resume"]) == 0, "there is nothing left to do"
    assert cli.main([*words[:3], str(tmp_path / "x"), "--labels", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_interrupt_saves_the_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps({**SYNTHETIC, "phases": [{"steps": 100_000}], "save_every": 100_000}))
    words = ["train", str(tmp_path / "train.json"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    code = f"import sys\nfrom napari_deformreg.cli import main\nsys.exit(main({words!r}))"
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert running.stderr is not None
        line = "…"
        while line and not line.startswith("step 3/"):
            line = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Go on with --resume" in stderr.splitlines()[-1]
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_configuration_of_the_readme_is_accepted() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = [part.split("```", 1)[0] for part in readme.split("```json\n")[1:] if '"phases"' in part]
    told = TrainingConfig.from_json(block)
    model = build_model(told.model or {})
    check_shapes(told, model)
    for number, phase in enumerate(told.phases):
        check_loss(told.loss_of(phase))
        SyntheticSources(told, torch.device("cpu")).training(number)
