"""What a registration starts from: files, things, and the checks between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from ..errors import InputError, SettingsError
from ..io import read_image, read_label_names, read_labels, read_landmarks, split_volume_suffix
from ..settings import Settings
from ..space import AffineTransform, Grid, LabelMap, LandmarkPairs, Landmarks, Volume

AnyPath = str | PathLike[str]

LANDMARK_MARGIN_VOX = 1.5
"""A landmark may lie a voxel outside the voxel bodies (half a voxel from the centers): people click on rims, and tables are rounded."""


LEAST_START_PAIRS = 3
"""Landmark pairs that place one image to another."""


@dataclass(frozen=True)
class InputPaths:
    """The files of one case; an image as ``FILE@N`` is volume N (from 0) of a 4-D file; `label_names` is for the labels of both sides."""

    fixed: AnyPath
    moving: AnyPath
    fixed_landmarks: AnyPath | None = None
    moving_landmarks: AnyPath | None = None
    fixed_labels: AnyPath | None = None
    moving_labels: AnyPath | None = None
    fixed_mask: AnyPath | None = None
    moving_mask: AnyPath | None = None
    label_names: AnyPath | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything one registration starts from.

    Landmarks and labels judge the result; they drive it only where the settings give them a weight. Of each pair the moving one may come
    alone: it is carried to fixed space. Masks tell where the images count.
    """

    fixed: Volume
    moving: Volume
    fixed_landmarks: Landmarks | None = None
    moving_landmarks: Landmarks | None = None
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    fixed_mask: LabelMap | None = None
    moving_mask: LabelMap | None = None

    @property
    def landmark_pairs(self) -> LandmarkPairs | None:
        """Landmarks tied by name, where both sides are given.

        Raises
        ------
        InputError
            If the names do not match.
        """
        if self.fixed_landmarks is None or self.moving_landmarks is None:
            return None
        return LandmarkPairs.match(self.fixed_landmarks, self.moving_landmarks)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how the inputs were read and fitted."""
        parts = (self.fixed, self.moving, self.fixed_labels, self.moving_labels, self.fixed_mask, self.moving_mask)
        return tuple(notice for part in parts if part is not None for notice in part.notices)


def read_inputs(paths: InputPaths) -> Inputs:
    """Read the files of one case.

    Raises
    ------
    InputError
        If a file is missing or cannot be used.
    """
    names = {} if paths.label_names is None else read_label_names(paths.label_names)
    return Inputs(
        fixed=_image(paths.fixed),
        moving=_image(paths.moving),
        fixed_landmarks=None if paths.fixed_landmarks is None else read_landmarks(paths.fixed_landmarks),
        moving_landmarks=None if paths.moving_landmarks is None else read_landmarks(paths.moving_landmarks),
        fixed_labels=_structures(paths.fixed_labels, names),
        moving_labels=_structures(paths.moving_labels, names),
        fixed_mask=_labels(paths.fixed_mask),
        moving_mask=_labels(paths.moving_mask),
    )


def _image(path: AnyPath) -> Volume:
    return read_image(*split_volume_suffix(path))


def _labels(path: AnyPath | None) -> LabelMap | None:
    return None if path is None else read_labels(*split_volume_suffix(path))


def _structures(path: AnyPath | None, names: dict[int, str]) -> LabelMap | None:
    labels = _labels(path)
    return None if labels is None else replace(labels, label_names={**labels.label_names, **names})


def check_inputs(inputs: Inputs, settings: Settings) -> Inputs:
    """Check that the inputs belong together; put labels and masks that lie on another grid onto their image's.

    Returns
    -------
    Inputs
        The same, with all label maps and masks on the grid of their image.

    Raises
    ------
    InputError
        If they do not belong together; says what to do.
    SettingsError
        If the settings ask for landmarks or labels that are not there.
    """
    _check_images(inputs.fixed, inputs.moving)
    _check_pairs(inputs)
    _check_weights(inputs, settings)
    _check_landmarks(inputs.fixed_landmarks, inputs.fixed, "fixed")
    _check_landmarks(inputs.moving_landmarks, inputs.moving, "moving")
    return replace(
        inputs,
        fixed_labels=_fitted(inputs.fixed_labels, inputs.fixed, "fixed labels"),
        moving_labels=_fitted(inputs.moving_labels, inputs.moving, "moving labels"),
        fixed_mask=_filled(_fitted(inputs.fixed_mask, inputs.fixed, "fixed mask"), "fixed mask"),
        moving_mask=_filled(_fitted(inputs.moving_mask, inputs.moving, "moving mask"), "moving mask"),
    )


def _check_images(fixed: Volume, moving: Volume) -> None:
    for volume, role in ((fixed, "fixed"), (moving, "moving")):
        low, high = float(volume.data.min()), float(volume.data.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"The {role} image {volume.name!r} has NaN or infinite voxels; expected finite intensities. Replace them.")
        if low == high:
            raise InputError(f"The {role} image {volume.name!r} is constant (every voxel is {low:g}); there is nothing to align.")
    if fixed.grid.is_2d != moving.grid.is_2d:
        flat, deep = (fixed, moving) if fixed.grid.is_2d else (moving, fixed)
        raise InputError(
            f"{flat.name!r} is a single slice {flat.grid.shape}, {deep.name!r} a volume {deep.grid.shape}; "
            "expected two slices or two volumes. Take the matching slice out of the volume first."
        )


def _check_pairs(inputs: Inputs) -> None:
    for kind, fixed, moving in (
        ("landmarks", inputs.fixed_landmarks, inputs.moving_landmarks),
        ("labels", inputs.fixed_labels, inputs.moving_labels),
    ):
        if fixed is not None and moving is None:
            raise InputError(f"Fixed {kind} were given without moving {kind}; expected a pair. Give both, or only the moving ones.")
    if inputs.landmark_pairs is not None and not len(inputs.landmark_pairs):
        raise InputError("The landmark lists are empty; leave them out, or give at least one pair.")


def _check_weights(inputs: Inputs, settings: Settings) -> None:
    for kind, weight, given in (
        ("landmark", settings.refine.landmark_weight, inputs.landmark_pairs is not None),
        ("label", settings.refine.label_weight, inputs.fixed_labels is not None),
    ):
        if weight > 0 and not given:
            raise SettingsError(f"refine.{kind}_weight is {weight:g}, but no {kind}s of both images were given. Give them, or set it to 0.")
    if settings.affine.start == "landmarks":
        driving = driving_landmarks(inputs, settings)
        count = 0 if driving is None else len(driving)
        if count < LEAST_START_PAIRS:
            raise SettingsError(
                f"affine.start is 'landmarks', which needs at least {LEAST_START_PAIRS} pairs; got {count} that are not held out. "
                "Give more pairs, hold fewer out, or choose another start."
            )


def driving_landmarks(inputs: Inputs, settings: Settings) -> LandmarkPairs | None:
    """Return the pairs that drive a registration: all but those held out, if the settings give them a weight or start from them."""
    pairs = inputs.landmark_pairs
    if pairs is None or (settings.refine.landmark_weight <= 0 and settings.affine.start != "landmarks"):
        return None
    part = settings.held_out
    kept = [n for n in range(len(pairs)) if int((n + 1) * part + 1e-9) == int(n * part + 1e-9)]
    return LandmarkPairs(tuple(pairs.names[n] for n in kept), pairs.fixed_points[kept], pairs.moving_points[kept])


def _check_landmarks(landmarks: Landmarks | None, volume: Volume, role: str) -> None:
    if landmarks is None:
        return
    outside = np.flatnonzero(~volume.grid.contains(landmarks.points, LANDMARK_MARGIN_VOX))
    if not len(outside):
        return
    corners = volume.grid.corners()
    low, high, first = corners.min(0), corners.max(0), landmarks.points[outside[0]]
    raise InputError(
        f"{len(outside)} of {len(landmarks)} {role} landmarks lie outside the {role} image {volume.name!r}: "
        f"{', '.join(landmarks.names[n] for n in outside[:5])}{', …' if len(outside) > 5 else ''}. The first is at {_mm(first)}, the image "
        f"reaches from {_mm(low)} to {_mm(high)}. Expected RAS mm, or columns x_lps,y_lps,z_lps. Are fixed and moving swapped?"
    )


def _mm(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ") mm"


def _fitted(labels: LabelMap | None, volume: Volume, role: str) -> LabelMap | None:
    """Put labels onto the image's grid, nearest voxel, if they lie on another one."""
    if labels is None or labels.grid == volume.grid:
        return labels
    if not _overlap(labels.grid, volume.grid):
        raise InputError(
            f"The {role} {labels.name!r} do not overlap the image {volume.name!r} in the world at all. "
            "Expected them in the space of that image; check that they belong to it."
        )
    from ..engine import resample_labels

    moved = resample_labels(labels, volume.grid, AffineTransform.identity())
    notice = f"The {role} {labels.name!r} lie on another grid {labels.grid.shape}; they were resampled to the image's, nearest voxel."
    return replace(moved, name=labels.name, label_names=labels.label_names, notices=(*labels.notices, notice))


def _overlap(first: Grid, second: Grid) -> bool:
    """Tell whether points spread over one grid lie in the other, tried both ways: one may be much smaller."""
    for inner, outer in ((first, second), (second, first)):
        few = inner.resized((min(inner.shape[0], 24), min(inner.shape[1], 24), min(inner.shape[2], 24)))
        if outer.contains(few.voxel_to_world(few.voxel_indices())).any():
            return True
    return False


def _filled(mask: LabelMap | None, role: str) -> LabelMap | None:
    if mask is not None and not mask.data.any():
        raise InputError(f"The {role} {mask.name!r} is empty: no voxel of its image would count. Leave it out, or give another.")
    return mask
