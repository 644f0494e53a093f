"""The sample data that ship with the package: written from the phantom, and read back."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import InputError
from ..io import WRITERS, atomic_file, read_transform, write_labels, write_landmarks, write_transform
from ..phantom import PhantomPair, head_pair, slice_pair
from ..space import TransformChain, Volume
from .inputs import AnyPath, InputPaths
from .judged_run import Outcome

SampleName = Literal["head", "head_t2", "slice"]

SAMPLES: dict[SampleName, tuple[str, str, str]] = {
    "head": ("head", "moving", "Whole head, T1-like, two people and scanners (3-D)"),
    "head_t2": ("head", "moving_t2", "Whole head, T1-like to T2-like (3-D)"),
    "slice": ("slice", "moving", "Axial brain slice, T1-like (2-D)"),
}
"""Sample pair -> its files' prefix, its moving image, and one line for people."""


@dataclass(frozen=True)
class SamplePair:
    """One of the sample pairs.

    Attributes
    ----------
    paths : InputPaths
        Images, landmarks and labels.
    fixed_to_moving, moving_to_fixed : Path
        The true transforms.
    title : str
        One line for people.
    """

    paths: InputPaths
    fixed_to_moving: Path
    moving_to_fixed: Path
    title: str

    def truth(self) -> TransformChain:
        """Read the true fixed_to_moving."""
        return read_transform(self.fixed_to_moving)


def sample_pair(name: SampleName = "head", folder: AnyPath | None = None) -> SamplePair:
    """Find a sample pair among the package's data, or in a folder that `write_samples` filled.

    Raises
    ------
    InputError
        If there is no such pair.
    """
    if name not in SAMPLES:
        raise InputError(f"There is no sample pair {name!r}. Known pairs: {', '.join(SAMPLES)}.")
    prefix, moving, title = SAMPLES[name]
    base = Path(str(files("napari_deformreg"))) / "sample_data" if folder is None else Path(folder)

    def at(stem: str, suffix: str = ".nii.gz") -> Path:
        return base / f"{prefix}_{stem}{suffix}"

    paths = InputPaths(
        fixed=at("fixed"), moving=at(moving),
        fixed_landmarks=at("fixed_landmarks", ".csv"), moving_landmarks=at("moving_landmarks", ".csv"),
        fixed_labels=at("fixed_labels"), moving_labels=at("moving_labels"),
    )  # fmt: skip
    return SamplePair(paths, at("true_fixed_to_moving", ".h5"), at("true_moving_to_fixed", ".h5"), title)


def truth_error_text(outcome: Outcome, pair: SamplePair) -> str:
    """Tell in one line how well a registration recovered the true transform, over the voxels that bear a label."""
    labels = outcome.inputs.fixed_labels
    if labels is None:
        raise InputError("The truth is compared over labeled voxels; expected inputs with fixed labels.")
    points = labels.grid.voxel_to_world(np.argwhere(labels.data > 0).astype(np.float64))
    true, found = pair.truth().map(points), outcome.result.fixed_to_moving.map(points)
    before, after = np.linalg.norm(points - true, axis=1), np.linalg.norm(found - true, axis=1)
    return (
        f"Against the true transform, over {len(points)} labeled voxels: mean {after.mean():.2f} mm, "
        f"95 % {np.percentile(after, 95):.2f} mm (before: {before.mean():.1f} and {np.percentile(before, 95):.1f} mm)."
    )


def write_samples(folder: AnyPath) -> None:
    """Make the sample data again: the same files, bit by bit, as those in the package.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    base = Path(folder)
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to the folder {base}: {error.strerror}. Choose another one.") from error
    _write_pair(base, "head", head_pair())
    _write_pair(base, "slice", slice_pair())


def _write_pair(base: Path, prefix: str, pair: PhantomPair) -> None:
    images = {"fixed": pair.fixed, "moving": pair.moving} | {volume.name: volume for volume in pair.other_moving}
    for stem, volume in images.items():
        _write_whole_numbers(base / f"{prefix}_{stem}.nii.gz", volume)
    write_labels(base / f"{prefix}_fixed_labels.nii.gz", pair.fixed_labels)
    write_labels(base / f"{prefix}_moving_labels.nii.gz", pair.moving_labels)
    write_landmarks(base / f"{prefix}_fixed_landmarks.csv", pair.fixed_landmarks)
    write_landmarks(base / f"{prefix}_moving_landmarks.csv", pair.moving_landmarks)
    write_transform(base / f"{prefix}_true_fixed_to_moving.h5", pair.fixed_to_moving)
    write_transform(base / f"{prefix}_true_moving_to_fixed.h5", pair.moving_to_fixed)
    for side, labels in (("fixed", pair.fixed_labels), ("moving", pair.moving_labels)):
        with atomic_file(base / f"{prefix}_{side}_labels.tsv") as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([("index", "name"), *sorted(labels.label_names.items())])


def _write_whole_numbers(path: Path, volume: Volume) -> None:
    WRITERS[".nii.gz"](path, volume.data.astype(np.int16), volume.grid)
