"""Reviews: of a result folder, and of a transform that any tool made; both end as a result folder with a review in it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileFormatError, SettingsError
from ..io import (
    Convention,
    DescribedTransform,
    atomic_file,
    check_result_folder_target,
    read_described_transforms,
    read_landmarks,
    read_review_files,
    review_entries,
)
from ..io import result_folder as names
from ..result import Control, Step, TransformFile, TransformOrigin
from ..settings import Settings
from ..space import TransformChain
from .folder import evaluate_folder_steps, write_outcome
from .foreign import result_of_transform
from .inputs import AnyPath, InputPaths, check_inputs, read_inputs
from .judged_run import Outcome, evaluating, within
from .review_writing import outcome_pictures, write_consistency, write_review

if TYPE_CHECKING:
    from ..qa import Review, Tolerances


@dataclass(frozen=True)
class ForeignTransform:
    """A transform from any tool, in files.

    Attributes
    ----------
    files : tuple of path
        In the order in which fixed points go through them: as `antsApplyTransforms -t` and `greedy -r` list them.
    inverse_files : tuple of path
        The other direction, in the order in which moving points go through them; computed when left out.
    convention : str
        What the components of a displacement image are; `auto`: what the file says.
    made_by : str
        The tool.
    driving_landmarks : path, optional
        Fixed landmarks that drove the registration: they must not judge it.
    """

    files: tuple[AnyPath, ...]
    inverse_files: tuple[AnyPath, ...] = ()
    convention: Convention = "auto"
    made_by: str = "another tool"
    driving_landmarks: AnyPath | None = None


Reviewing = Generator[Step, Control | None, tuple[Outcome, "Review"]]
Amend = Callable[["Review"], "Review"]


def review_transform_steps(
    paths: InputPaths, transform: ForeignTransform, folder: AnyPath, tolerances: Tolerances | None = None, amend: Amend | None = None
) -> Reviewing:
    """Judge a transform that any tool made, and write the same folder as a registration, with a review in it.

    Parameters
    ----------
    paths : InputPaths
        The images, and what judges: landmarks, labels, masks.
    transform : ForeignTransform
        The transform's files.
    folder : path
        Where to write; an older result there is replaced, unless somebody has judged it.
    tolerances : Tolerances, optional
        What to judge by; TG-132's Table III when left out.
    amend : function, optional
        Changes the review before it is written, e.g. adds a verdict.

    Raises
    ------
    InputError
        If a file cannot be used, they do not belong together, or the folder may not be written.
    """
    check_result_folder_target(folder)
    yield Step("read", message="reading the images")
    inputs = check_inputs(read_inputs(paths), Settings())
    yield Step("read", message="reading the transform", fraction=0.1)
    chain, described = read_described_transforms(transform.files, transform.convention)
    backward: TransformChain | None = None
    told: list[DescribedTransform] = []
    if transform.inverse_files:
        backward, told = read_described_transforms(transform.inverse_files, transform.convention)
    steps = result_of_transform(chain, inputs.fixed.grid, backward)
    result = yield from within(steps, 0.15, 0.4)
    origin = TransformOrigin(transform.made_by, tuple(map(_file, described)), _inverse_words(told, result.provenance.notices))
    noted = () if transform.driving_landmarks is None else _points(transform.driving_landmarks)
    result = replace(result, provenance=replace(result.provenance, origin=origin, driving_points_mm=noted))
    outcome = yield from within(evaluating(inputs, result), 0.4, 0.85)
    yield Step("write", message=f"writing {Path(folder)}", fraction=0.85)
    review = _amended(review_outcome(outcome, tolerances), amend)
    write_outcome(outcome, folder, paths, review)
    yield Step("write", message="done", fraction=1.0, seconds_left=0.0)
    return outcome, review


def _amended(review: Review, amend: Amend | None) -> Review:
    return review if amend is None else amend(review)


def _file(described: DescribedTransform) -> TransformFile:
    return TransformFile(described.name, described.sha256, described.convention)


def _inverse_words(told: list[DescribedTransform], notices: tuple[str, ...]) -> str:
    if told:
        return "from " + ", ".join(f"{part.name} ({part.convention})" for part in told)
    return "computed here from the transform, so that it tells whether there is an inverse, not whether the tool's own one is right"


def _points(path: AnyPath) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in read_landmarks(path).points)


def review_folder_steps(
    folder: AnyPath, tolerances: Tolerances | None = None, paths: InputPaths | None = None, amend: Amend | None = None
) -> Reviewing:
    """Judge a result folder and write a review into it; what a person wrote into an older review is kept.

    Parameters
    ----------
    folder : path
        The result folder; its other files stay as they are.
    tolerances : Tolerances, optional
        What to judge by; those of the older review, else TG-132's, when left out.
    paths : InputPaths, optional
        The inputs; those noted in report.json when left out.
    amend : function, optional
        Changes the review before it is written, e.g. adds a verdict.

    Raises
    ------
    InputError
        If it is not a result folder, or the inputs are unknown or gone.
    """
    older = read_review(folder)
    outcome = yield from within(evaluate_folder_steps(folder, paths), 0.0, 0.85)
    yield Step("write", message="writing the review", fraction=0.85)
    review = review_outcome(outcome, tolerances or (None if older is None else older.tolerances))
    if older is not None:
        kept = ("reviewer", "verdict", "comment", "signed", "snapshots", "session")
        review = review.model_copy(update={name: getattr(older, name) for name in kept})
    review = _amended(review, amend)
    save_review(folder, review, outcome)
    yield Step("write", message="done", fraction=1.0, seconds_left=0.0)
    return outcome, review


def review_outcome(outcome: Outcome, tolerances: Tolerances | None = None) -> Review:
    """Grade an outcome; nothing is measured again."""
    from ..qa import build_review

    return build_review(outcome.report, tolerances)


def save_review(folder: AnyPath, review: Review, outcome: Outcome | None = None) -> None:
    """Write a review into its result folder: JSON, page, PDF and snapshots together, or nothing.

    Parameters
    ----------
    folder : path
        The result folder; an older review in it is replaced.
    review : Review
        With the pictures of its snapshots.
    outcome : Outcome, optional
        For all pictures of the page and the map of the inverse consistency; without it the page shows the folder's preview.

    Raises
    ------
    InputError
        If it is not a result folder, or cannot be written to; it is then as it was.
    """
    preview = Path(folder) / names.PREVIEW
    with review_entries(Path(folder)) as partial:
        if outcome is None:
            write_review(partial, review, {"preview": preview.read_bytes()} if preview.is_file() else {})
        else:
            write_review(partial, review, outcome_pictures(outcome))
            write_consistency(partial, outcome)


def read_review(folder: AnyPath) -> Review | None:
    """Read the review of a result folder, with its snapshots; None where it has none.

    Raises
    ------
    FileFormatError
        If it is damaged.
    """
    from ..qa import Review

    found = read_review_files(Path(folder))
    if found is None:
        return None
    review = Review.from_json(found[0])
    if len(found[1]) != len(review.snapshots):
        raise FileFormatError(
            f"{Path(folder) / names.SNAPSHOTS} holds {len(found[1])} pictures, review.json tells of {len(review.snapshots)}. "
            "Restore the missing files, or delete review.json to start again."
        )
    pictures = (snapshot.model_copy(update={"png": png}) for snapshot, png in zip(review.snapshots, found[1], strict=True))
    return review.with_snapshots(tuple(pictures))


def read_tolerances(path: AnyPath) -> Tolerances:
    """Read tolerances from a JSON file.

    Raises
    ------
    SettingsError
        If it cannot be read, or a value in it cannot be used.
    """
    from ..qa import Tolerances

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read the tolerances {path}: {error}. Expected JSON, such as --write-tolerances gives.") from error
    return Tolerances.from_json(text)


def write_tolerances(path: AnyPath, tolerances: Tolerances) -> None:
    """Write tolerances as JSON, to be edited.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(tolerances.to_json() + "\n", encoding="utf-8")
