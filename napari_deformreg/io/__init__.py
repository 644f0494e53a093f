"""Files <-> things placed in the world: the only room that opens files. Everything that comes out is RAS+ mm.

To add a format: a file with ``read_…`` and ``write_…``, and a row in the tables below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

from ..errors import FileFormatError
from ..space import Grid, LabelMap, Landmarks, Transform, TransformChain, Volume
from .described_transforms import Convention, DescribedTransform, read_described_transform, read_described_transforms
from .displacement_images import read_itk_field, read_nifti_field
from .elastix_points import read_elastix_points, write_elastix_points
from .elastix_transforms import read_text_transform
from .itk_hdf5 import read_itk_hdf5, write_itk_hdf5
from .itk_images import read_itk_image, read_picture, write_itk_image, write_picture
from .itk_transforms import read_itk_transform, write_itk_matrix, write_itk_transform
from .label_names import names_beside, read_label_names
from .landmark_pairs import WeightedPairs, read_bigwarp, read_pairs, write_bigwarp, write_pairs
from .landmarks_csv import CoordinateSystem, read_landmark_table, write_fcsv, write_landmark_table
from .markups_json import read_markups, write_markups
from .mgh import read_mgh, write_mgh
from .nifti import read_nifti, write_nifti
from .pair_lists import ImageFile, PairFiles, image_groups, read_pair_list
from .paths import atomic_file, existing_file, split_volume_suffix, suffix_of
from .raw import RawImage, to_labels, to_volume
from .result_folder import RESULT_FILES, REVIEW_FILES, ResultFolder, atomic_folder, check_result_folder_target, open_result_folder
from .review_folder import ReviewFiles, read_review_files, review_entries, write_review_files

_Row = TypeVar("_Row")

READERS: dict[str, Callable[[Path], RawImage]] = {
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".hdr": read_nifti,
    ".hdr.gz": read_nifti,
    ".img": read_nifti,
    ".img.gz": read_nifti,
    ".mgh": read_mgh,
    ".mgz": read_mgh,
    ".mha": read_itk_image,
    ".mhd": read_itk_image,
    ".nrrd": read_itk_image,
    ".nhdr": read_itk_image,
    ".png": read_picture,
    ".jpg": read_picture,
    ".jpeg": read_picture,
    ".tif": read_picture,
    ".tiff": read_picture,
}
"""Image suffix -> its reader."""

WRITERS: dict[str, Callable[[Path, Shaped[np.ndarray, "i j k"], Grid], None]] = {
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    ".mgh": write_mgh,
    ".mgz": write_mgh,
    ".mha": write_itk_image,
    ".nrrd": write_itk_image,
}
"""Image suffix -> its writer; one file each, so that a write is whole or not at all."""

COLOR_WRITERS = {".png": write_picture, ".tif": write_picture, ".tiff": write_picture}
"""Picture suffix -> the writer of colors with opacity; JPEG has none."""

TRANSFORM_READERS: dict[str, Callable[[Path], TransformChain]] = {
    ".h5": read_itk_hdf5,
    ".hdf5": read_itk_hdf5,
    ".tfm": read_itk_transform,
    ".txt": read_text_transform,
    ".mat": read_itk_transform,
    ".nii": read_nifti_field,
    ".nii.gz": read_nifti_field,
    ".mha": read_itk_field,
    ".mhd": read_itk_field,
    ".nrrd": read_itk_field,
    ".nhdr": read_itk_field,
}
"""Transform suffix -> its reader."""

TRANSFORM_WRITERS: dict[str, Callable[[Path, Transform], None]] = {
    ".h5": write_itk_hdf5,
    ".hdf5": write_itk_hdf5,
    ".tfm": write_itk_transform,
    ".txt": write_itk_transform,
    ".mat": write_itk_matrix,
}
"""Transform suffix -> its writer."""

LANDMARK_READERS: dict[str, Callable[[Path], Landmarks]] = {
    ".csv": read_landmark_table,
    ".tsv": read_landmark_table,
    ".fcsv": read_landmark_table,
    ".mrk.json": read_markups,
    ".pts": read_elastix_points,
    ".txt": read_elastix_points,
}
"""Landmark suffix -> its reader."""

LANDMARK_WRITERS: dict[str, Callable[[Path, Landmarks], None]] = {
    ".fcsv": write_fcsv,
    ".mrk.json": write_markups,
    ".pts": write_elastix_points,
    ".txt": write_elastix_points,
}
"""Landmark suffix -> its writer, where that is no table."""

LANDMARK_SUFFIXES = tuple(LANDMARK_READERS)
"""Suffixes of landmark files."""

__all__ = [
    "COLOR_WRITERS", "LANDMARK_READERS", "LANDMARK_SUFFIXES", "LANDMARK_WRITERS", "READERS", "RESULT_FILES", "REVIEW_FILES",
    "TRANSFORM_READERS", "TRANSFORM_WRITERS", "WRITERS", "Convention", "DescribedTransform", "ImageFile", "PairFiles", "ResultFolder",
    "ReviewFiles", "WeightedPairs", "atomic_file", "atomic_folder", "check_result_folder_target", "image_groups", "open_result_folder",
    "read_bigwarp", "read_colors", "read_described_transform", "read_described_transforms", "read_image", "read_label_names", "read_labels",
    "read_landmarks", "read_pair_list", "read_pairs", "read_review_files", "read_transform", "review_entries", "split_volume_suffix",
    "suffix_of", "write_bigwarp", "write_colors", "write_image", "write_labels", "write_landmarks", "write_pairs", "write_review_files",
    "write_transform",
]  # fmt: skip


def read_image(path: str | os.PathLike[str], volume: int | None = None, *, allow_constant: bool = False) -> Volume:
    """Read a scalar image of any supported format and place it in the world (RAS+ mm).

    Parameters
    ----------
    path : path
        The file; its suffix names the format (see `READERS`).
    volume : int, optional
        Which volume (or component) to take from a file that holds several, from 0.
    allow_constant : bool
        Accept an image without contrast: right for maps that the package itself wrote.

    Raises
    ------
    FileFormatError
        If the file is not what its suffix says, or truncated.
    InputError
        If there is no file, or its content cannot be used as one scalar image.
    """
    file = existing_file(path)
    return to_volume(_row(READERS, file, "read")(file), file, volume, allow_constant)


def read_colors(path: str | os.PathLike[str]) -> tuple[Volume, ...]:
    """Read the channels of a color image, each placed in the world: red, green, blue, perhaps opacity. Of any other image: none.

    Raises
    ------
    FileFormatError
        If the file is not what its suffix says, or truncated.
    InputError
        If there is no file, or its content cannot be used.
    """
    file = existing_file(path)
    raw = _row(READERS, file, "read")(file)
    return tuple(to_volume(raw, file, n, True) for n in range(raw.data.shape[3])) if raw.has_colors else ()


def write_colors(path: str | os.PathLike[str], colors: Sequence[Volume]) -> None:
    """Write red, green, blue and opacity of a slice as a picture, 8 bits where they fit; the suffix names the format (see `COLOR_WRITERS`).

    Its pixels are the voxels of the grid; its place in the world is not kept.
    """
    values = np.stack([channel.data for channel in colors], axis=-1).round()
    kind: type[np.uint8 | np.uint16] = np.uint8 if values.max() <= np.iinfo(np.uint8).max else np.uint16
    _row(COLOR_WRITERS, Path(path), "write")(Path(path), values.clip(0, np.iinfo(kind).max).astype(kind))


def read_labels(path: str | os.PathLike[str], volume: int | None = None) -> LabelMap:
    """Read a map of whole numbers (structures or a mask) and place it in the world (RAS+ mm).

    Names come from the file itself (3D Slicer's .seg.nrrd) or from a table beside it that has its name (``<name>.tsv``, ``.csv``,
    ``.ctbl``, ``.lut`` or ``.label``; see `read_label_names`).

    Parameters
    ----------
    path : path
        The file; its suffix names the format (see `READERS`).
    volume : int, optional
        Which volume (or component) to take from a file that holds several, from 0.

    Raises
    ------
    FileFormatError
        If the file is not what its suffix says, or truncated.
    InputError
        If there is no file, or its content is not one map of whole numbers.
    """
    file = existing_file(path)
    labels = to_labels(_row(READERS, file, "read")(file), file, volume)
    return labels if labels.label_names else replace(labels, label_names=names_beside(file))


def write_image(path: str | os.PathLike[str], volume: Volume) -> None:
    """Write an image as float32; the suffix names the format (see `WRITERS`)."""
    _row(WRITERS, Path(path), "write")(Path(path), volume.data, volume.grid)


def write_labels(path: str | os.PathLike[str], labels: LabelMap) -> None:
    """Write a label map with the smallest integer type that holds it; the suffix names the format (see `WRITERS`)."""
    low, high = int(labels.data.min()), int(labels.data.max())
    kinds = (np.uint8, np.int16, np.int32)
    kind = next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    _row(WRITERS, Path(path), "write")(Path(path), labels.data.astype(kind), labels.grid)


def read_landmarks(path: str | os.PathLike[str]) -> Landmarks:
    """Read named points of any supported format (see `LANDMARK_READERS`), RAS+ mm; what has another suffix is read as a table.

    Raises
    ------
    FileFormatError
        If the file is not what its suffix says; names the line.
    InputError
        If there is no file, no point, or a name occurs twice.
    """
    file = existing_file(path)
    suffix = suffix_of(file, LANDMARK_READERS)
    return LANDMARK_READERS.get(suffix or "", read_landmark_table)(file)


def write_landmarks(
    path: str | os.PathLike[str], landmarks: Landmarks, *, coordinate_system: CoordinateSystem = "RAS",
    columns: Mapping[str, Sequence[object]] | None = None,
) -> None:
    """Write named points; the suffix names the format (see `LANDMARK_WRITERS`), CSV where it names none.

    Parameters
    ----------
    path : path
        Where to write.
    landmarks : Landmarks
        The points, RAS+ mm.
    coordinate_system : str
        RAS or LPS, for CSV; the other formats have their own, which they state.
    columns : mapping, optional
        More columns by name for CSV, one value a point; the other formats have no room for them.
    """
    suffix = suffix_of(path, LANDMARK_WRITERS)
    if suffix is None:
        write_landmark_table(path, landmarks, coordinate_system=coordinate_system, columns=columns)
    else:
        LANDMARK_WRITERS[suffix](Path(path), landmarks)


def read_transform(path: str | os.PathLike[str]) -> TransformChain:
    """Read a transform of world points: an ITK transform file, or a displacement field image (see `TRANSFORM_READERS`).

    Returns
    -------
    TransformChain
        In RAS+ mm; its first link is applied first.

    Raises
    ------
    FileFormatError
        If the file is not what its suffix says, or damaged.
    InputError
        If there is no file, or it holds a transform that is neither linear nor a displacement field.
    """
    file = existing_file(path)
    return _row(TRANSFORM_READERS, file, "read")(file)


def write_transform(path: str | os.PathLike[str], chain: Transform) -> None:
    """Write affine transforms and displacement fields as an ITK transform file (see `TRANSFORM_WRITERS`; .h5 suits best).

    Raises
    ------
    InputError
        If the format cannot hold it.
    """
    _row(TRANSFORM_WRITERS, Path(path), "write")(Path(path), chain)


def _row(table: Mapping[str, _Row], path: Path, verb: str) -> _Row:
    suffix = suffix_of(path, table)
    if suffix is None:
        dicom = " Convert DICOM first, for example with dcm2niix." if verb == "read" else ""
        raise FileFormatError(f"Cannot {verb} {path}: its suffix is unknown. Expected one of {', '.join(table)}.{dicom}")
    return table[suffix]
