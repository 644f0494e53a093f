"""What a window keeps of unsaved work, so that a crash does not take it: one JSON file each, in one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .paths import atomic_file

FORMAT = "deformreg-autosave/1"


def write_autosave(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {path.parent} for unsaved reviews: {error.strerror}. Check its permissions.") from error
    with atomic_file(path) as partial:
        partial.write_text(json.dumps({"format": FORMAT, **content}), encoding="utf-8")


def read_autosaves(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Read all such files of a folder, the newest first; what cannot be read is left out, as nobody can do anything about it."""
    found = []
    for path in sorted(folder.glob("*.json"), key=_age) if folder.is_dir() else ():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("format") == FORMAT:
            found.append((path, content))
    return found


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
