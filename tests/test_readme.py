"""The README says what the code does: tables, file suffixes, result files, commands, the Python example."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from napari_deformreg.cli import main
from napari_deformreg.io import LANDMARK_SUFFIXES, READERS, RESULT_FILES, TRANSFORM_READERS, write_image, write_landmarks
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_equal_the_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "readme_tables.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix", sorted({*READERS, *TRANSFORM_READERS, *LANDMARK_SUFFIXES}))
def test_every_readable_suffix_is_named(suffix: str) -> None:
    assert f"`{suffix}`" in README


@pytest.mark.parametrize("name", sorted(RESULT_FILES))
def test_every_result_file_is_explained(name: str) -> None:
    table = README.split("**The result folder**", 1)[1].split("\n## ", 1)[0]
    assert f"`{name}`" in table


PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the README's examples name, in the current folder."""
    pair = small_pair((24, 24, 24))
    write_image(tmp_path / "fixed.nii.gz", pair.fixed)
    write_image(tmp_path / "moving.nii.gz", pair.moving)
    write_landmarks(tmp_path / "moving.csv", pair.moving_landmarks)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_python_examples_run_and_are_short(block: str, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(block.strip().splitlines()) < 10
    exec(block, {})
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_settings_examples_are_accepted() -> None:
    examples = re.findall(r"`(\{.*?\})`", README)
    assert examples
    for example in examples:
        given, settings = json.loads(example), json.loads(Settings.from_json(example).to_json())
        assert settings["preset"] == given["preset"]


COMMANDS = ["register", "apply", "apply-points", "evaluate", "review", "view", "demo", "phantom", "train", "train-samples", "export-model"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    section = README.split("## Command line", 1)[1].split("\n## ", 1)[0]
    assert f"deformreg {command}" in section
    assert {option for option in options if option not in section} == set()


def test_readme_names_no_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    ([a-z][a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    named = set(re.findall(r"(?:^ +|`)deformreg ([a-z][a-z-]+)", README, re.MULTILINE))
    assert len(named) > 5
    assert named <= known
