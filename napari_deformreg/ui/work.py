"""The long work that the window orders, as generators of Steps that need no Qt and can run in a process of their own."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeformregError, FileFormatError, InputError
from ..io import Convention, open_result_folder, read_image
from ..io import result_folder as names
from ..result import Control, Step
from ..settings import Settings
from ..space import Volume
from ..workflow import (
    ForeignTransform,
    InputPaths,
    Inputs,
    Outcome,
    RepairedFold,
    consistency_map,
    describe_model,
    describe_transforms,
    evaluate_folder_steps,
    noted_paths,
    read_review,
    repair_fold,
    review_transform_steps,
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


def reviewing(folder: Path, paths: InputPaths | None = None) -> Generator[Step, Any, tuple[Outcome | None, Review]]:
    """Read the review of a result folder, or make one of its report; measure only where that does not do."""
    from ..qa import build_review

    yield Step("read", message=f"reading {folder.name}")
    known = read_review(folder) or (_review_of_report(folder) if paths is None else None)
    if known is not None:
        return None, known
    yield Step("evaluate", message=f"measuring {folder.name}")
    outcome = yield from evaluate_folder_steps(folder, paths)
    return outcome, build_review(outcome.report)


def _review_of_report(folder: Path) -> Review | None:
    """Grade what report.json says; None if an early version wrote it."""
    from ..qa import build_review

    try:
        return build_review(open_result_folder(folder).report)
    except FileFormatError:
        return None


def describing(files: Sequence[str], inverse_files: Sequence[str], convention: Convention) -> Generator[Step, Any, list[str]]:
    """Say of each file of a transform how it is understood, and how far it moves; as lines of HTML."""
    yield Step("read", message="reading the transform")
    lines = []
    for title, given in (("", files), ("inverse, ", inverse_files)):
        for name, words in describe_transforms(given, convention) if given else ():
            lines.append(f"{title}<b>{escape(name)}</b>: {escape(words)}")
    return lines


def reviewing_transform(paths: InputPaths, transform: ForeignTransform, folder: Path) -> Generator[Step, Control | None, Path]:
    """Review a transform that any tool made; gives the folder that was written."""
    try:
        yield from review_transform_steps(paths, transform, folder)
    except OSError as error:
        raise DeformregError(f"Cannot write {folder}: {error.strerror or error}. Choose another place.") from error
    return folder


def reading_consistency(folder: Path, paths: InputPaths | None = None) -> Generator[Step, Any, Volume]:
    """Read the map of the inverse consistency error (mm) of a result folder; measure it where the folder has none."""
    yield Step("read", message=f"reading {folder.name}")
    known = open_result_folder(folder).file(names.INVERSE_CONSISTENCY)
    if known is not None:
        return read_image(known, allow_constant=True)
    return consistency_map((yield from evaluate_folder_steps(folder, paths)))


def saving_review(
    folder: Path, review: Review, outcome: Outcome | None, paths: InputPaths | None, whole: bool, source: Path | None
) -> Generator[Step, Any, Path]:
    """Write a review into its result folder; `whole`: with the result, from memory or else from the folder `source`."""
    if outcome is None and source is not None and not (source / names.INVERSE_CONSISTENCY).is_file():
        outcome = yield from _measured(source, paths)
    yield Step("write", message=f"writing {folder}")
    try:
        if whole and outcome is not None:
            write_outcome(outcome, folder, paths or _noted(source), review)
        else:
            if whole and source is not None and source != folder:
                shutil.copytree(source, folder)
            save_review(folder, review, outcome)
    except OSError as error:
        raise DeformregError(f"Cannot write {folder}: {error.strerror or error}. Choose another place.") from error
    return folder


def _measured(folder: Path, paths: InputPaths | None) -> Generator[Step, Any, Outcome | None]:
    """Measure a folder for the pictures and the map of its first review; None if its images are gone: it then has what it has."""
    try:
        return (yield from evaluate_folder_steps(folder, paths))
    except InputError:
        return None


def _noted(folder: Path | None) -> InputPaths | None:
    try:
        return None if folder is None else noted_paths(folder)
    except InputError:
        return None


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
