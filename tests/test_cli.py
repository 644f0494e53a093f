"""The command line: exit codes, one line for mistakes, whole results or none, progress, interrupts."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from cases import write_pair
from test_workflow import QUICK

from napari_deformreg import __version__
from napari_deformreg.cli import USER_MISTAKE, ProgressLine, main, registration, step_text
from napari_deformreg.cli.closed_pipe import CLOSED_PIPE, quiet_at_closed_pipe
from napari_deformreg.engine.models import build_model
from napari_deformreg.engine.models.weights import save_model
from napari_deformreg.io import RESULT_FILES, REVIEW_FILES, read_image, read_landmarks
from napari_deformreg.phantom import PhantomPair, small_pair
from napari_deformreg.result import Step
from napari_deformreg.workflow import InputPaths, read_result


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return small_pair((24, 22, 20), seed=21)


@pytest.fixture(scope="module")
def files(pair: PhantomPair, tmp_path_factory: pytest.TempPathFactory) -> InputPaths:
    return write_pair(pair, tmp_path_factory.mktemp("cli") / "files")


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "quick.json"
    path.write_text(QUICK.to_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(files: InputPaths, settings_file: Path) -> Path:
    out = Path(files.fixed).parents[1] / "out"
    words = [
        "register", files.fixed, files.moving, "--out", out, "--settings", settings_file, "--seed", 3, "--quiet",
        "--fixed-landmarks", files.fixed_landmarks, "--moving-landmarks", files.moving_landmarks,
        "--fixed-labels", files.fixed_labels, "--moving-labels", files.moving_labels, "--fixed-mask", files.fixed_labels,
    ]  # fmt: skip
    assert run(*words) == 0
    return out


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_register_writes_the_whole_folder(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == RESULT_FILES - REVIEW_FILES
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert settings["seed"] == 3
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["input_files"]["fixed_mask"].endswith("fixed_labels.nii.gz")


def test_register_prints_the_report_and_progress_goes_to_stderr(
    files: InputPaths, settings_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("register", files.fixed, files.moving, "--out", tmp_path / "out", "--settings", settings_file, "--device", "cpu") == 0
    out, err = capsys.readouterr()
    assert "Correlation" in out
    assert str(tmp_path / "out") in out
    lines = err.splitlines()
    assert lines[0].startswith("  0 %")
    assert any("refine" in line and "loss" in line for line in lines)
    assert "\r" not in err, "a log is no terminal"


def test_a_networks_file_is_used_and_told(files: InputPaths, settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network gives no motion worth taking; the report names it, its file's sha256, and what each start was worth."""
    checksum = save_model(build_model({"name": "unet", "encoder": [2, 2], "decoder": [2, 2]}), tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    words = ["register", files.fixed, files.moving, "--out", "out", "--settings", settings_file, "--model", "mine.safetensors", "--quiet"]
    assert run(*words) == 0
    start = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["provenance"]["start"]
    assert set(start["losses"]) >= {"none", "network mine"}
    assert start["losses"][start["chosen"]] == min(start["losses"].values())
    assert start["model_sha256"] == checksum
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert start["text"] in page
    assert "network mine" in start["text"]
    settings = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))
    assert settings["model"] == str(tmp_path / "mine.safetensors")
    again = read_result(tmp_path / "out").provenance.start
    assert again is not None
    assert (again.text, again.model_sha256) == (start["text"], checksum)


def test_color_pictures_are_registered_and_the_report_says_how(settings_file: Path, tmp_path: Path) -> None:
    """A section and the same one 4 pixels on, differently stained: background is 0 in what is compared, and the shift is found."""
    rows, columns = np.indices((48, 64))
    for name, x, stain in (("fixed.png", 32, (60, 190, 90)), ("moving.jpg", 36, (150, 160, 190))):
        dark = np.exp(-(((rows - 24) / 9) ** 2) - ((columns - x) / 12) ** 2)
        sitk.WriteImage(sitk.GetImageFromArray((245 - dark[..., None] * stain).astype(np.uint8), isVector=True), str(tmp_path / name))
    out = tmp_path / "out"
    assert run("register", tmp_path / "fixed.png", tmp_path / "moving.jpg", "--out", out, "--settings", settings_file, "--quiet") == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    notices = " ".join(report["provenance"]["notices"])
    for name in ("fixed.png", "moving.jpg"):
        assert f"{name} is a color image" in notices
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "ITU-R BT.709" in page
    found = read_result(out).fixed_to_moving.map(np.array([[-32.0, -24.0, 0.0]]))
    np.testing.assert_allclose(found, [[-36.0, -24.0, 0.0]], atol=0.7)
    one = tmp_path / "one"
    words = ["register", f"{tmp_path / 'fixed.png'}@1", f"{tmp_path / 'moving.jpg'}@1", "--out", one, "--settings", settings_file]
    assert run(*words, "--quiet") == 0
    assert "color image" not in (one / "report.html").read_text(encoding="utf-8")


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no command": ([], "COMMAND"),
    "unknown command": (["warp"], "invalid choice: 'warp'"),
    "unknown option": (["register", "{fixed}", "{moving}", "--out", "{out}", "--metric", "mi"], "--metric"),
    "no out": (["register", "{fixed}", "{moving}"], "--out"),
    "no file": (["register", "{fixed}", "nothing.nii.gz", "--out", "{out}"], "nothing.nii.gz"),
    "not an image": (["register", "{fixed}", "{points}", "--out", "{out}"], "suffix"),
    "unknown preset": (["register", "{fixed}", "{moving}", "--out", "{out}", "--preset", "foot"], "invalid choice: 'foot'"),
    "two settings": (["register", "{fixed}", "{moving}", "--out", "{out}", "--preset", "generic", "--settings", "x"], "not allowed with"),
    "no settings file": (["register", "{fixed}", "{moving}", "--out", "{out}", "--settings", "no.json"], "no.json"),
    "unknown model": (["register", "{fixed}", "{moving}", "--out", "{out}", "--model", "brains"], "There is no model 'brains'"),
    "a model that is none": (["register", "{fixed}", "{moving}", "--out", "{out}", "--model", "{points}"], "expected safetensors"),
    "bad seed": (["register", "{fixed}", "{moving}", "--out", "{out}", "--seed", "-4"], "seed"),
    "landmarks of one side": (["register", "{fixed}", "{moving}", "--out", "{out}", "--fixed-landmarks", "{points}"], "without moving"),
    "taken folder": (["register", "{fixed}", "{moving}", "--out", "{files}"], "neither empty nor an older result"),
    "volume that is not there": (["register", "{fixed}@7", "{moving}", "--out", "{out}"], "no volume 7"),
    "apply without a transform": (["apply", "{points}", "{moving}", "--like", "{fixed}", "--out", "{out}.nii.gz"], "suffix"),
    "apply to an unknown format": (["apply", "{h5}", "{moving}", "--like", "{fixed}", "--out", "{out}.xyz"], ".xyz"),
    "points without a header": (["apply-points", "{h5}", "{fixed}", "--out", "{out}.csv"], "landmarks"),
    "evaluate nothing": (["evaluate", "{files}"], "not a result folder"),
    "evaluate several with one truth": (["evaluate", "a", "b", "--fixed-labels", "{fixed}"], "one result folder at a time"),
    "view nothing": (["view", "{files}"], "not a result folder"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_mistakes_end_with_2_and_one_line(
    mistake: str, files: InputPaths, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = MISTAKES[mistake]
    places = {
        "fixed": files.fixed, "moving": files.moving, "points": files.fixed_landmarks, "out": tmp_path / "out",
        "files": Path(files.fixed).parent, "h5": folder / "fixed_to_moving.h5",
    }  # fmt: skip
    assert main([word.format(**places) for word in words] + (["--quiet"] if words[:1] == ["register"] else [])) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("deformreg: ")
    assert expected in err
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_no_json_name_the_trouble(files: InputPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text('{"refine": {"similarity": "ssd"}}', encoding="utf-8")
    assert run("register", files.fixed, files.moving, "--out", tmp_path / "out", "--settings", tmp_path / "bad.json") == 2
    assert "refine.similarity" in capsys.readouterr().err


def test_version_and_help_name_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    for word, expected in (("--version", __version__), ("--help", "register")):
        with pytest.raises(SystemExit) as stop:
            main([word])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


def test_volume_of_a_4d_file_is_taken(files: InputPaths, settings_file: Path, folder: Path, tmp_path: Path) -> None:
    moving = nib.load(files.moving)
    data = np.stack([np.zeros(moving.shape, np.float32), moving.get_fdata(dtype=np.float32)], -1)
    nib.save(nib.Nifti1Image(data, moving.affine), tmp_path / "both.nii.gz")
    image, out = f"{tmp_path / 'both.nii.gz'}@1", tmp_path / "moved.nii.gz"
    assert run("apply", folder / "fixed_to_moving.h5", image, "--like", files.fixed, "--out", out) == 0
    assert np.allclose(read_image(tmp_path / "moved.nii.gz").data, read_image(folder / "moved.nii.gz").data, atol=0.05)


def test_apply_labels_keeps_whole_numbers(files: InputPaths, folder: Path, tmp_path: Path) -> None:
    words = ["apply", folder / "fixed_to_moving.h5", files.moving_labels, "--like", files.fixed, "--out", tmp_path / "l.nii.gz", "--labels"]
    assert run(*words) == 0
    ours, theirs = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (tmp_path / "l.nii.gz", folder / "moved_labels.nii.gz"))
    assert ours.dtype == np.uint8
    assert (ours != theirs).mean() < 1e-3


def test_apply_points_equals_transform_point(files: InputPaths, folder: Path, tmp_path: Path) -> None:
    transform = folder / "fixed_to_moving.h5"
    assert run("apply-points", transform, files.fixed_landmarks, "--out", tmp_path / "there.csv") == 0
    flip = np.array([-1.0, -1.0, 1.0])
    points = read_landmarks(str(files.fixed_landmarks)).points * flip
    expected = np.array([sitk.ReadTransform(str(transform)).TransformPoint(point) for point in points.tolist()]) * flip
    assert np.abs(read_landmarks(tmp_path / "there.csv").points - expected).max() < 1e-3
    assert run("apply-points", transform, tmp_path / "there.csv", "--inverse", "--out", tmp_path / "back.csv") == 0
    assert np.abs(read_landmarks(tmp_path / "back.csv").points * flip - points).max() < 1e-3


def test_evaluate_prints_reports_a_table_and_a_csv(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stamp = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run("evaluate", folder, f"{folder}/", "--csv", tmp_path / "all.csv") == 0
    out = capsys.readouterr().out
    assert out.count("Target registration error (mean)") == 2
    assert "TRE mm" in out
    header, *rows = (tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()
    assert header == "folder,name,before,value,unit,domain,n"
    assert sum(",tre_mm_mean," in row for row in rows) == 2
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == stamp


def test_structures_have_names_everywhere(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = json.loads((folder / "report.json").read_text(encoding="utf-8"))["structures"][0]["label"]
    table = tmp_path / "lut.txt"
    table.write_text(f"{label} The-First 1 2 3 0\n", encoding="utf-8")
    assert run("evaluate", folder, "--label-names", table, "--csv", tmp_path / "all.csv") == 0
    assert f"{folder},dice," in (tmp_path / "all.csv").read_text(encoding="utf-8")
    assert ",The-First," in (tmp_path / "all.csv").read_text(encoding="utf-8")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert run("review", copy, "--label-names", table, "--quiet") == 0
    assert "Dice overlap: The-First" in capsys.readouterr().out
    assert "The-First" in (copy / "review.html").read_text(encoding="utf-8")


def test_evaluate_takes_inputs_that_have_moved(files: InputPaths, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", folder, "--fixed", files.fixed, "--moving", files.moving) == 0
    out = capsys.readouterr().out
    assert "Correlation" in out
    assert "Target registration error" not in out, "no landmarks were named"


def test_view_hands_the_folder_to_the_window(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(registration, "import_module", lambda name: SimpleNamespace(view_result=opened.append, name=name))
    assert run("view", folder) == 0
    assert opened == [str(folder)]


def test_view_without_qt_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ImportError("No Qt bindings could be found")

    monkeypatch.setattr(registration, "import_module", missing)
    assert run("view", folder) == 2
    assert "napari-deformreg[all]" in capsys.readouterr().err


def test_demo_registers_the_slice_and_knows_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--sample", "slice", "--no-view", "--quiet", "--out", tmp_path / "demo", "--device", "cpu") == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("Against the true transform"))
    assert float(line.split("mean ")[1].split(" mm")[0]) < 1.5
    assert f"deformreg view {tmp_path / 'demo'}" in out
    assert (tmp_path / "demo" / "report.html").exists()


def test_interrupt_leaves_nothing_behind(files: InputPaths, tmp_path: Path) -> None:
    # Steps so small that the loss falls through all of them: none of the levels ends early.
    slow = QUICK.changed(refine={"steps": (2000, 2000, 2000), "tolerance": 0.0, "step_size_vox": 0.0005}).to_json()
    (tmp_path / "slow.json").write_text(slow, encoding="utf-8")
    out = tmp_path / "there" / "out"
    words = ["register", files.fixed, files.moving, "--out", out, "--settings", tmp_path / "slow.json"]
    # Programs started in the background of a script inherit that Ctrl-C is ignored; this one is to hear it wherever the tests run.
    heard = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = f"{heard}from napari_deformreg.cli import main\nsys.exit(main({[str(word) for word in words]!r}))"
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert running.stderr is not None
        seen = [running.stderr.readline()]
        while seen[-1] and "refine" not in seen[-1]:
            seen.append(running.stderr.readline())
        assert "refine" in seen[-1], seen
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert time.monotonic() - began < 20
    assert stderr.splitlines()[-1] == "deformreg: cancelled; nothing was written."
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_goes_away() -> None:
    screen = Terminal()
    line = ProgressLine(screen)
    for number in range(1, 4):
        line.show(Step("refine", level=number, levels=4, index=number, count=60, loss=-0.5, fraction=number / 4, seconds_left=12.0))
    shown = screen.getvalue()
    assert "\n" not in shown
    assert shown.split("\r")[1].strip() == "25 %  refine  level 2/4  step 1/60  loss -0.5000  12 s left"
    line.end()
    assert screen.getvalue().endswith("\r")
    quiet = Terminal()
    ProgressLine(quiet, quiet=True).show(Step("refine"))
    assert quiet.getvalue() == ""


def test_step_without_numbers_shows_its_message() -> None:
    assert step_text(Step("read", message="reading")) == "  0 %  read  reading"


@pytest.mark.parametrize("streams", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("command", ["review", "--help", "mistake"])
def test_it_ends_quietly_when_nobody_reads_on(folder: Path, command: str, streams: str) -> None:
    words = {"review": ["review", str(folder)], "--help": ["register", "--help"], "mistake": ["evaluate", str(folder / "nothing")]}[command]
    reader, writer = os.pipe()
    os.close(reader)
    out, err = (writer if streams in (name, "both") else subprocess.PIPE for name in ("stdout", "stderr"))
    code = "import sys; from napari_deformreg.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run([sys.executable, "-c", code, *words], stdout=out, stderr=err, text=True, check=False)
    os.close(writer)
    ends = {  # argparse itself lets a help that nobody reads end well
        "review": (CLOSED_PIPE,), "--help": (0, CLOSED_PIPE), "mistake": (CLOSED_PIPE,) if streams != "stdout" else (USER_MISTAKE,),
    }  # fmt: skip
    assert ended.returncode in ends[command]
    said = f"{ended.stdout or ''}{ended.stderr or ''}"
    assert not any(word in said for word in ("Traceback", "BrokenPipe", "Exception ignored")), said


def test_another_broken_pipe_is_an_error_as_before() -> None:
    with pytest.raises(BrokenPipeError, match="a helper's"), quiet_at_closed_pipe():
        raise BrokenPipeError("a helper's")
