from __future__ import annotations

from pathlib import Path

import psutil
import pytest


@pytest.fixture(autouse=True)
def _no_file_left_open(tmp_path: Path):
    """Whoever reads or writes closes: a file left open cannot be replaced on Windows."""
    yield
    left = [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(tmp_path)]
    assert not left
    partial = [path.name for path in tmp_path.rglob("*") if path.name.startswith((".partial-", ".older-"))]
    assert not partial
