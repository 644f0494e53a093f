"""What there is to draw: gathered from a fresh outcome, or read from a result folder. No layer is touched here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeformregError
from ..io import open_result_folder, read_image, read_label_names, read_labels, read_landmarks, split_volume_suffix
from ..io import result_folder as names
from ..qa import Foreground, fixed_foreground
from ..result import RegistrationResult
from ..space import AffineTransform, DisplacementField, LabelMap, Landmarks, Volume
from ..workflow import InputPaths, Outcome, read_result
from .contrast import contrast_limits, hounsfield_window

_ROW_FEATURES = {"tre_before_mm": "tre_before_mm", "tre_after_mm": "tre_after_mm", "inverse_residual_mm": "residual_mm"}


@dataclass(frozen=True, eq=False)
class MovedPoints:
    """Moving points carried into fixed space.

    Attributes
    ----------
    landmarks : Landmarks
        RAS+ mm.
    features : mapping
        Columns of the layer's table, one value a point: ``residual_mm`` and, for pairs, ``tre_before_mm`` and ``tre_after_mm``.
    """

    landmarks: Landmarks
    features: dict[str, Sequence[Any]]


@dataclass(frozen=True, eq=False)
class ResultPicture:
    """Everything of a result that can be drawn.

    Attributes
    ----------
    fixed : Volume or None
        None when it could not be found again.
    displacement, affine
        fixed_to_moving: first the displacement on the fixed grid, then the affine.
    jacobian : Volume
        Determinant; what lies in a fold region is drawn in the color of folds.
    report : mapping
        Content of report.json.
    foreground : Foreground or None
        Where most of the report's numbers are taken.
    structures : dict of int to str
        The labels that occur in `fixed_labels`, with their names.
    """

    fixed: Volume | None
    moved: Volume
    displacement: DisplacementField
    affine: AffineTransform
    jacobian: Volume
    folds: LabelMap
    report: dict[str, Any]
    moving_before: Volume | None = None
    fixed_labels: LabelMap | None = None
    moved_labels: LabelMap | None = None
    fixed_landmarks: Landmarks | None = None
    moved_points: MovedPoints | None = None
    foreground: Foreground | None = None
    structures: dict[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = field(default=())

    @property
    def window(self) -> tuple[float, float] | None:
        """One window to judge all images in, if they are on one scale: what the run compared, or that of a CT."""
        limits = self.report.get("provenance", {}).get("settings", {}).get("intensity_range")
        if limits is not None:
            return float(limits[0]), float(limits[1])
        windows = [hounsfield_window(volume.data) for volume in (self.fixed, self.moved) if volume is not None]
        return None if None in windows else windows[0]

    @property
    def moving_limits(self) -> tuple[float, float]:
        """Contrast of moved, and of moving before: the same, so that before and after differ by the registration alone."""
        return self.window or contrast_limits(self.moved.data)


def picture_of_outcome(outcome: Outcome) -> ResultPicture:
    """Gather what a fresh outcome has to show."""
    inputs, result, report = outcome.inputs, outcome.result, outcome.report.to_mapping()
    return ResultPicture(
        fixed=inputs.fixed,
        moved=outcome.moved,
        displacement=result.displacement,
        affine=result.affine,
        jacobian=outcome.jacobian,
        folds=LabelMap(outcome.folds.labels, inputs.fixed.grid, "folds"),
        report=report,
        moving_before=outcome.moving_before,
        fixed_labels=inputs.fixed_labels,
        moved_labels=outcome.moved_labels,
        fixed_landmarks=inputs.fixed_landmarks,
        moved_points=_moved_points(report, result, inputs.moving_landmarks),
        foreground=fixed_foreground(inputs.fixed, inputs.fixed_mask),
        structures=_structures(inputs.fixed_labels),
    )


def picture_of_folder(folder: str | Path, paths: InputPaths | None = None) -> ResultPicture:
    """Read what a result folder has to show; inputs that are not where they were are left out, with a notice.

    Parameters
    ----------
    folder : path
        The result folder.
    paths : InputPaths, optional
        Where the inputs are; as noted in the folder when left out.

    Raises
    ------
    InputError
        If it is not a result folder.
    FileFormatError
        If a file in it is damaged.
    """
    opened = open_result_folder(folder)
    result = read_result(folder)
    finder = _Finder(_input_files(opened.report, paths))
    moved = read_image(opened.path / names.MOVED, allow_constant=True)
    moved_labels, carried = opened.file(names.MOVED_LABELS), opened.file(names.MOVING_LANDMARKS_IN_FIXED)
    points = None if carried is None else _with_features(read_landmarks(carried), opened.report)
    fixed = finder.image("fixed")
    if fixed is not None and fixed.grid != moved.grid:
        finder.notices.append(f"{fixed.name} lies on another grid than the result; it is not shown.")
        fixed = None
    fixed_labels = finder.labels("fixed_labels")
    return ResultPicture(
        fixed=fixed,
        moved=replace(moved, name="moved"),
        displacement=result.displacement,
        affine=result.affine,
        jacobian=read_image(opened.path / names.JACOBIAN_DETERMINANT, allow_constant=True),
        folds=read_labels(opened.path / names.FOLDS),
        report=dict(opened.report),
        moving_before=_before(finder.image("moving"), moved),
        fixed_labels=fixed_labels,
        moved_labels=finder.named(None if moved_labels is None else read_labels(moved_labels)),
        fixed_landmarks=finder.landmarks("fixed_landmarks"),
        moved_points=points,
        foreground=_foreground(fixed, finder.labels("fixed_mask")),
        structures=_structures(fixed_labels),
        notices=tuple(finder.notices),
    )


class _Finder:
    """Reads the inputs of an older run, as far as they can still be found; collects notices on the way."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.notices: list[str] = []
        self._names: dict[int, str] | None = None

    def image(self, role: str) -> Volume | None:
        """Read an image."""
        found: Volume | None = self._read(role, lambda path: read_image(*split_volume_suffix(path)))
        return found

    def labels(self, role: str) -> LabelMap | None:
        """Read a label map."""
        found: LabelMap | None = self._read(role, lambda path: read_labels(*split_volume_suffix(path)))
        return self.named(found)

    def named(self, labels: LabelMap | None) -> LabelMap | None:
        """Give a label map the names of the run's table."""
        if labels is None or "label_names" not in self.files:
            return labels
        if self._names is None:
            self._names = self._read("label_names", read_label_names) or {}
        return replace(labels, label_names={**labels.label_names, **self._names})

    def landmarks(self, role: str) -> Landmarks | None:
        """Read landmarks."""
        found: Landmarks | None = self._read(role, read_landmarks)
        return found

    def _read(self, role: str, read: Any) -> Any:
        if role not in self.files:
            return None
        try:
            return read(self.files[role])
        except DeformregError as error:
            self.notices.append(f"The {role.replace('_', ' ')} of this result cannot be shown: {error}")
            return None


def _input_files(report: Mapping[str, Any], paths: InputPaths | None) -> dict[str, str]:
    if paths is not None:
        return {role: str(path) for role, path in vars(paths).items() if path is not None}
    noted = report.get("input_files") or {}
    return {str(role): str(path) for role, path in noted.items()}


def _foreground(fixed: Volume | None, mask: LabelMap | None) -> Foreground | None:
    fits = fixed is not None and mask is not None and mask.grid == fixed.grid
    return None if fixed is None else fixed_foreground(fixed, mask if fits else None)


def _structures(labels: LabelMap | None) -> dict[int, str]:
    return {} if labels is None else {number: labels.name_of(number) for number in labels.labels}


def _before(moving: Volume | None, moved: Volume) -> Volume | None:
    if moving is None:
        return None
    from ..engine import resample

    return resample(moving, moved.grid, AffineTransform.identity())


def _moved_points(report: Mapping[str, Any], result: RegistrationResult, moving: Landmarks | None) -> MovedPoints | None:
    if moving is None:
        return None
    found = result.moving_points_in_fixed(moving.points)
    points = Landmarks(found.points, moving.names)
    return replace(_with_features(points, report), features=_features(points, report) | {"residual_mm": found.residual_mm.tolist()})


def _with_features(points: Landmarks, report: Mapping[str, Any]) -> MovedPoints:
    return MovedPoints(points, _features(points, report))


def _features(points: Landmarks, report: Mapping[str, Any]) -> dict[str, Any]:
    """Find each point's numbers in the report's landmark rows, by name; NaN where it has none."""
    rows = {str(row["name"]): row for row in report.get("landmarks") or ()}
    if not rows:
        return {}
    return {title: [float(rows.get(name, {}).get(key, np.nan)) for name in points.names] for key, title in _ROW_FEATURES.items()}
