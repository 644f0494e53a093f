"""Result folders: writing an outcome, and judging a folder again from what it holds."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import FileFormatError, InputError
from ..io import (
    ResultFolder,
    atomic_folder,
    open_result_folder,
    read_transform,
    split_volume_suffix,
    write_image,
    write_labels,
    write_landmarks,
    write_transform,
)
from ..io import result_folder as names
from ..result import Control, Provenance, RegistrationResult, StartChoice, Status, Step, TransformFile, TransformOrigin
from ..settings import Settings
from ..space import AffineTransform, DisplacementField, LabelMap, Landmarks, TransformChain
from .inputs import AnyPath, InputPaths, Inputs, check_inputs, read_inputs
from .judged_run import Outcome, evaluating, finished, within
from .review_writing import outcome_pictures, write_consistency, write_review

if TYPE_CHECKING:
    from ..qa import LandmarkErrors, Review

Link = TypeVar("Link", AffineTransform, DisplacementField)


def write_outcome(outcome: Outcome, folder: AnyPath, paths: InputPaths | None = None, review: Review | None = None) -> None:
    """Write the result folder, whole or not at all.

    Parameters
    ----------
    outcome : Outcome
        What to write.
    folder : path
        Where; an older result there is replaced.
    paths : InputPaths, optional
        Where the inputs came from, noted in report.json so that the result can be viewed and judged again.
    review : Review, optional
        Written into the folder, too; it then replaces an older one, whoever worked on that.

    Raises
    ------
    InputError
        If something else is there, or the place cannot be written to.
    """
    from ..qa import report_html

    inputs, result, report = outcome.inputs, outcome.result, outcome.report
    mapping = {**report.to_mapping(), "input_files": _noted(paths)}
    pictures = outcome_pictures(outcome)
    with atomic_folder(folder, replaces_review=review is not None) as partial:
        write_image(partial / names.MOVED, outcome.moved)
        write_transform(partial / names.FIXED_TO_MOVING, result.fixed_to_moving)
        write_transform(partial / names.MOVING_TO_FIXED, result.moving_to_fixed)
        write_image(partial / names.JACOBIAN_DETERMINANT, outcome.jacobian)
        write_labels(partial / names.FOLDS, LabelMap(outcome.folds.labels, inputs.fixed.grid, "folds"))
        if outcome.moved_labels is not None:
            write_labels(partial / names.MOVED_LABELS, outcome.moved_labels)
        if inputs.moving_landmarks is not None:
            _write_moving_landmarks(partial / names.MOVING_LANDMARKS_IN_FIXED, result, inputs.moving_landmarks)
        if outcome.landmarks is not None:
            _write_errors(partial / names.LANDMARKS, outcome.landmarks)
        (partial / names.SETTINGS).write_text(result.settings.to_json() + "\n", encoding="utf-8")
        (partial / names.REPORT_JSON).write_text(json.dumps(mapping, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (partial / names.REPORT_HTML).write_text(report_html(report, pictures), encoding="utf-8")
        (partial / names.PREVIEW).write_bytes(pictures["preview"])
        if review is not None:
            write_review(partial, review, pictures)
            write_consistency(partial, outcome)


def _write_moving_landmarks(path: Path, result: RegistrationResult, landmarks: Landmarks) -> None:
    found = result.moving_points_in_fixed(landmarks.points)
    columns = {"residual_mm": found.residual_mm.tolist(), "outside_field": found.outside_field.tolist()}
    write_landmarks(path, Landmarks(found.points, landmarks.names), columns=columns)


def _write_errors(path: Path, errors: LandmarkErrors) -> None:
    """Write the fixed landmarks with everything known about each pair beside them."""
    rows = errors.rows()
    own = {"name", "fixed_x", "fixed_y", "fixed_z"}
    columns = {title: [row[title] for row in rows] for title in rows[0] if title not in own}
    write_landmarks(path, Landmarks(errors.pairs.fixed_points, errors.pairs.names), columns=columns)


def _noted(paths: InputPaths | None) -> dict[str, str]:
    """Give the inputs' absolute paths by their role, ``@N`` included."""
    if paths is None:
        return {}
    given = {field.name: getattr(paths, field.name) for field in fields(paths)}
    return {role: _absolute(path) for role, path in given.items() if path is not None}


def _absolute(path: AnyPath) -> str:
    file, volume = split_volume_suffix(path)
    return str(file.resolve()) + ("" if volume is None else f"@{volume}")


def read_result(folder: AnyPath) -> RegistrationResult:
    """Read the registration of a result folder back: the exported transforms, settings and provenance.

    Raises
    ------
    InputError
        If it is not a result folder.
    FileFormatError
        If a file in it is damaged.
    """
    opened = open_result_folder(folder)
    displacement, affine = _links(opened, names.FIXED_TO_MOVING)
    inverse, _ = _links(opened, names.MOVING_TO_FIXED)
    origin = opened.report.get("provenance", {})
    return RegistrationResult(
        affine=affine,
        displacement=displacement,
        inverse_displacement=inverse,
        velocity_vox=None,
        velocity_grid=None,
        status=Status[origin.get("status", {}).get("name", Status.STEPS_USED_UP.name)],
        history=(),
        settings=Settings.from_mapping(dict(opened.settings)),
        provenance=_provenance(origin),
    )


def _links(opened: ResultFolder, name: str) -> tuple[DisplacementField, AffineTransform]:
    file = opened.file(name)
    if file is None:
        raise FileFormatError(f"{opened.path} has no {name}; it is not a whole result folder. Repeat the registration.")
    chain = read_transform(file)
    fields_, affines = _of_kind(chain, DisplacementField), _of_kind(chain, AffineTransform)
    if len(fields_) != 1 or len(affines) != 1:
        raise FileFormatError(f"{file} holds {len(chain.transforms)} transforms; expected one displacement field and one affine.")
    return fields_[0], affines[0]


def _of_kind(chain: TransformChain, kind: type[Link]) -> list[Link]:
    return [link for link in chain.transforms if isinstance(link, kind)]


def _provenance(origin: Mapping[str, Any]) -> Provenance:
    return Provenance(
        version=str(origin.get("version", "")),
        device=str(origin.get("device", "")),
        seconds=dict(origin.get("seconds", {})),
        notices=tuple(origin.get("notices", ())),
        libraries=dict(origin.get("libraries", {})),
        start=_start(origin.get("start")),
        driving_points_mm=_points(origin.get("driving_points_mm")),
        origin=_origin(origin.get("origin")),
    )


def _points(noted: Sequence[Sequence[float]] | None) -> tuple[tuple[float, float, float], ...] | None:
    return None if noted is None else tuple((float(x), float(y), float(z)) for x, y, z in noted)


def _origin(noted: Mapping[str, Any] | None) -> TransformOrigin | None:
    if noted is None:
        return None
    return TransformOrigin(noted["made_by"], tuple(TransformFile(**file) for file in noted["files"]), noted["inverse"])


def _start(noted: Mapping[str, Any] | None) -> StartChoice | None:
    return None if noted is None else StartChoice(noted["chosen"], dict(noted["losses"]), noted["model_sha256"])


def evaluate_folder(folder: AnyPath, paths: InputPaths | None = None) -> Outcome:
    """Run `evaluate_folder_steps` to its end."""
    return finished(evaluate_folder_steps(folder, paths))


def evaluate_folder_steps(folder: AnyPath, paths: InputPaths | None = None) -> Generator[Step, Control | None, Outcome]:
    """Judge a result folder again, from its transforms and the input files.

    Parameters
    ----------
    folder : path
        The result folder; it is not changed.
    paths : InputPaths, optional
        The inputs, e.g. with landmarks that nobody had before; those noted in report.json when left out.

    Raises
    ------
    InputError
        If it is not a result folder, or the inputs are unknown or gone.
    """
    yield Step("read", message=f"reading {Path(folder).name}")
    paths = paths or noted_paths(folder)
    result = read_result(folder)
    inputs = check_inputs(read_inputs(paths), result.settings)
    if inputs.fixed.grid != result.displacement.grid:
        raise InputError(
            f"{paths.fixed} lies on another grid {inputs.fixed.grid.shape} than the result {folder} {result.displacement.grid.shape}. "
            "Give the fixed image of that registration."
        )
    return (yield from within(evaluating(inputs, _without_read_notices(result, inputs)), 0.1, 1.0))


def _without_read_notices(result: RegistrationResult, inputs: Inputs) -> RegistrationResult:
    """Take away what was noted about the images when they were read: judging them again says it again."""
    known = {*inputs.fixed.notices, *inputs.moving.notices}
    notices = tuple(notice for notice in result.provenance.notices if notice not in known)
    return replace(result, provenance=replace(result.provenance, notices=notices))


def noted_paths(folder: AnyPath) -> InputPaths:
    """Tell where the inputs of a result folder were when it was made.

    Raises
    ------
    InputError
        If it does not say.
    """
    noted = open_result_folder(folder).report.get("input_files") or {}
    if not {"fixed", "moving"} <= set(noted):
        raise InputError(f"{folder} does not say where its input images were. Name them with --fixed and --moving.")
    others = {field.name: noted.get(field.name) for field in fields(InputPaths) if field.name not in ("fixed", "moving")}
    return InputPaths(noted["fixed"], noted["moving"], **others)
