"""The long work that the window orders, as generators of Steps that need no Qt and can run in a process of their own."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeformregError
from ..io import open_result_folder
from ..result import Control, Step
from ..settings import Settings
from ..workflow import (
    InputPaths,
    Inputs,
    Outcome,
    RepairedFold,
    describe_model,
    evaluate_folder_steps,
    read_review,
    repair_fold,
    run,
    save_review,
    write_outcome,
)
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


def reviewing(folder: Path, paths: InputPaths | None = None, again: bool = False) -> Generator[Step, Any, tuple[Outcome | None, Review]]:
    """Read the review of a result folder; where it has none, or everything is needed, measure it."""
    from ..qa import build_review

    yield Step("read", message=f"reading {folder.name}")
    known = read_review(folder)
    if known is not None and not again:
        return None, known
    yield Step("evaluate", message=f"measuring {folder.name}")
    outcome = yield from evaluate_folder_steps(folder, paths)
    return outcome, known or build_review(outcome.report)


def saving_review(
    folder: Path, review: Review, outcome: Outcome | None, paths: InputPaths | None, whole: bool, source: Path | None
) -> Generator[Step, Any, Path]:
    """Write a review into its result folder; `whole`: with the result, from memory or else from the folder `source`."""
    yield Step("write", message=f"writing {folder}")
    try:
        if whole and outcome is not None:
            write_outcome(outcome, folder, paths, review)
        else:
            if whole and source is not None and source != folder:
                shutil.copytree(source, folder)
            save_review(folder, review, outcome)
    except OSError as error:
        raise DeformregError(f"Cannot write {folder}: {error.strerror or error}. Choose another place.") from error
    return folder


def repairing(
    case: Outcome | Path, paths: InputPaths | None, label: int
) -> Generator[Step, Control | None, tuple[RepairedFold, ResultPicture]]:
    """Repair one fold region of an outcome, or of a result folder, and gather what that has to show."""
    if isinstance(case, Path):
        yield Step("read", message=f"reading {case.name}")
        case = yield from evaluate_folder_steps(case, paths)
    repaired = yield from repair_fold(case, label)
    yield Step("evaluate", message="preparing the layers", fraction=0.99)
    return repaired, picture_of_outcome(repaired.outcome)
