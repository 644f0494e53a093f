"""The package's front door: names, and what reaching for them loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_deformreg


@pytest.mark.parametrize("name", napari_deformreg.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    thing = getattr(napari_deformreg, name)
    assert name in dir(napari_deformreg)
    assert name == "__version__" or (thing.__doc__ or "").strip()


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="register_fast"):
        napari_deformreg.register_fast  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import napari_deformreg",
        "from napari_deformreg import Settings, Volume, read_image, Inputs, run",
        "import napari_deformreg.cli as c\ntry:\n    c.main(['--help'])\nexcept SystemExit:\n    pass",
        "import napari_deformreg.phantom, napari_deformreg.qa",
    ],
)
def test_neither_torch_nor_qt_is_loaded_before_it_is_needed(code: str) -> None:
    heavy = {"torch", "qtpy", "PyQt6", "PySide6", "napari", "vispy"}
    script = f"{code}\nimport sys\nprint('loaded:', sorted({{name.split('.')[0] for name in sys.modules}} & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("loaded: []")
