"""A synthetic pair as inputs in memory and as files."""

from __future__ import annotations

from pathlib import Path

from napari_deformreg.io import write_image, write_labels, write_landmarks
from napari_deformreg.phantom import PhantomPair
from napari_deformreg.workflow import InputPaths, Inputs


def inputs_of(pair: PhantomPair) -> Inputs:
    """Take images, landmarks and labels."""
    return Inputs(pair.fixed, pair.moving, pair.fixed_landmarks, pair.moving_landmarks, pair.fixed_labels, pair.moving_labels)


def write_inputs(inputs: Inputs, folder: Path) -> InputPaths:
    """Write a case's inputs as files named by their role, and tell where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for role, value in vars(inputs).items():
        if value is None:
            continue
        if "landmarks" in role:
            write_landmarks(paths.setdefault(role, folder / f"{role}.csv"), value)
        elif "labels" in role or "mask" in role:
            write_labels(paths.setdefault(role, folder / f"{role}.nii.gz"), value)
        else:
            write_image(paths.setdefault(role, folder / f"{role}.nii.gz"), value)
    return InputPaths(**paths)


def write_pair(pair: PhantomPair, folder: Path) -> InputPaths:
    """Write a pair's images, landmarks and labels."""
    return write_inputs(inputs_of(pair), folder)
