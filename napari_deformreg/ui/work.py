"""The long work that the window orders, as generators of Steps that need no Qt and can run in a process of their own."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeformregError
from ..io import open_result_folder
from ..result import Control, Step
from ..settings import Settings
from ..workflow import InputPaths, Inputs, Outcome, describe_model, evaluate_folder, run, write_outcome
from .pictures import ResultPicture, picture_of_folder, picture_of_outcome

if TYPE_CHECKING:
    from ..qa import Review


def registering(inputs: Inputs, settings: Settings) -> Generator[Step, Control | None, tuple[Outcome, ResultPicture]]:
    """Register, and gather what the outcome has to show."""
    outcome = yield from run(inputs, settings)
    yield Step("evaluate", message="preparing the layers", fraction=0.99)
    return outcome, picture_of_outcome(outcome)


def opening(folder: Path, paths: InputPaths | None = None) -> Generator[Step, Any, tuple[Path, ResultPicture, Settings]]:
    """Read what a result folder has to show."""
    yield Step("read", message=folder.name)
    settings = Settings.from_mapping(dict(open_result_folder(folder).settings))
    return folder, picture_of_folder(folder, paths), settings


def writing(outcome: Outcome, folder: Path, paths: InputPaths | None) -> Generator[Step, Any, Path]:
    """Write a result folder."""
    yield Step("write", message=f"writing {folder}")
    try:
        write_outcome(outcome, folder, paths)
    except OSError as error:
        raise DeformregError(f"Cannot write {folder}: {error.strerror or error}. Choose another place.") from error
    return folder


def checking_model(path: Path) -> Generator[Step, Any, tuple[Path, str]]:
    """Open a network's file and say what it is."""
    yield Step("read", message=path.name)
    return path, describe_model(path)


def reviewing(folder: Path, paths: InputPaths | None = None) -> Generator[Step, Any, tuple[Outcome, Review]]:
    """Measure what a review of a result folder needs."""
    from ..qa import build_review

    yield Step("evaluate", message=f"measuring {folder.name}")
    outcome = evaluate_folder(folder, paths)
    return outcome, build_review(outcome.report)
