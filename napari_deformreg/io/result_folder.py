"""The result folder: the names in it, writing it whole or not at all, opening it again.

A run must write nothing but the names of `RESULT_FILES`: a folder with anything else is taken for the user's own and never replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InputError
from . import paths

MOVED = "moved.nii.gz"
FIXED_TO_MOVING = "fixed_to_moving.h5"
MOVING_TO_FIXED = "moving_to_fixed.h5"
JACOBIAN_DETERMINANT = "jacobian_determinant.nii.gz"
FOLDS = "folds.nii.gz"
MOVED_LABELS = "moved_labels.nii.gz"
MOVING_LANDMARKS_IN_FIXED = "moving_landmarks_in_fixed.csv"
LANDMARKS = "landmarks.csv"
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
SETTINGS = "settings.json"
PREVIEW = "preview.png"
INVERSE_CONSISTENCY = "inverse_consistency.nii.gz"
REVIEW_JSON = "review.json"
REVIEW_HTML = "review.html"
REVIEW_PDF = "review.pdf"
SNAPSHOTS = "snapshots"

REVIEW_FILES = frozenset({INVERSE_CONSISTENCY, REVIEW_JSON, REVIEW_HTML, REVIEW_PDF, SNAPSHOTS})
"""What a review adds."""

RESULT_FILES = REVIEW_FILES | frozenset(
    {
        MOVED, FIXED_TO_MOVING, MOVING_TO_FIXED, JACOBIAN_DETERMINANT, FOLDS, MOVED_LABELS, MOVING_LANDMARKS_IN_FIXED, LANDMARKS,
        REPORT_JSON, REPORT_HTML, SETTINGS, PREVIEW,
    }
)  # fmt: skip
"""Everything that a result folder may hold."""

_NEEDED = (FIXED_TO_MOVING, REPORT_JSON, SETTINGS)


@dataclass(frozen=True)
class ResultFolder:
    """A finished result on disk.

    Attributes
    ----------
    path : Path
        The folder.
    report, settings : mapping
        Content of report.json and settings.json.
    """

    path: Path
    report: Mapping[str, Any]
    settings: Mapping[str, Any]

    def file(self, name: str) -> Path | None:
        """Return the path of one of `RESULT_FILES`, or None if this result has none."""
        if name not in RESULT_FILES:
            raise InputError(f"A result folder has no {name!r}; it may hold {', '.join(sorted(RESULT_FILES))}.")
        found = self.path / name
        return found if found.is_file() else None


def check_result_folder_target(path: str | os.PathLike[str]) -> None:
    """Refuse a place where a result folder may not be put; worth calling before a long run.

    Raises
    ------
    InputError
        If a file is there, or a folder that is neither empty nor an older result, or a result that somebody has judged.
    """
    paths.check_result_target(path, RESULT_FILES, SETTINGS)
    _check_nobody_judged(Path(path))


def _check_nobody_judged(folder: Path) -> None:
    """Refuse to replace a folder whose review bears a person's work."""
    file = folder / REVIEW_JSON
    if not file.is_file():
        return
    try:
        review = json.loads(file.read_text(encoding="utf-8"))
        judged = any(review.get(key) for key in ("reviewer", "comment", "snapshots", "signed"))
    except (OSError, ValueError, AttributeError):
        judged = True
    if judged:
        raise InputError(
            f"Cannot replace the folder {folder}: it holds a review that somebody worked on ({REVIEW_JSON}). "
            "Choose another folder, or move that one away."
        )


@contextmanager
def atomic_folder(path: str | os.PathLike[str], replaces_review: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes the place of `path` only when the block ends without an error.

    An older result is replaced as a whole; any other folder that is not empty is left alone, and so is a result that somebody has judged,
    unless the new one brings the review along (`replaces_review`).

    Raises
    ------
    InputError
        If the place is taken, or cannot be written to.
    """
    if not replaces_review:
        check_result_folder_target(path)
    with paths.replaced_folder(path, RESULT_FILES, SETTINGS) as partial:
        yield partial


def open_result_folder(path: str | os.PathLike[str]) -> ResultFolder:
    """Open a result folder; images and transforms are read later, by their paths.

    Raises
    ------
    InputError
        If it is not one.
    FileFormatError
        If report.json or settings.json is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            f"There is no result folder {folder}. Check the name, or make one with `deformreg register FIXED MOVING --out {folder}`."
        )
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} is not a result folder: it has no {', no '.join(missing)}. Expected a folder that `deformreg register` wrote."
        )
    return ResultFolder(folder, _mapping(folder / REPORT_JSON), _mapping(folder / SETTINGS))


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not valid JSON ({error}). Repeat the registration, or restore the file.") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} holds a JSON {type(content).__name__}; expected an object. Restore the file.")
    return content
