"""FreeSurfer's MGH and MGZ."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Shaped

from ..errors import FileFormatError, InputError
from ..space import Grid
from .nifti import GZIP_LEVEL, read_bytes
from .paths import atomic_file
from .raw import RawImage


def read_mgh(path: Path) -> RawImage:
    """Read an MGH or MGZ file.

    Raises
    ------
    FileFormatError
        If it is not MGH, or truncated.
    """
    blob = read_bytes(path)
    if int.from_bytes(blob[:4], "big", signed=True) != 1 or len(blob) < 284:
        raise FileFormatError(f"{path} is not an MGH image (its header says something else). Check the file, or its suffix.")
    try:
        image = nib.MGHImage.from_file_map({"image": nib.FileHolder(fileobj=BytesIO(blob))})
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, ValueError, KeyError, OSError) as error:
        raise FileFormatError(f"{path} has a damaged MGH header ({error}). Convert the original data again.") from error
    shape = image.header.get_data_shape()
    needed = image.header.get_data_offset() + int(np.prod(shape, dtype=object)) * image.header.get_data_dtype().itemsize
    if len(blob) < needed:
        raise FileFormatError(f"{path} is truncated: its header promises {needed} bytes, it has {len(blob)}. Copy or export it again.")
    data = np.asarray(image.dataobj)
    return RawImage(data.reshape((*data.shape[:3], -1), order="F"), np.asarray(image.affine, dtype=np.float64))


def write_mgh(path: Path, data: Shaped[np.ndarray, "i j k"], grid: Grid) -> None:
    """Write an array as MGH, or MGZ when the name ends with .mgz.

    Raises
    ------
    InputError
        If the grid is sheared, which MGH cannot hold.
    """
    if not grid.is_orthogonal:
        raise InputError(f"Cannot write {path}: MGH cannot hold a sheared grid. Write NIfTI instead.")
    kept = data if data.dtype in (np.uint8, np.int16, np.int32, np.float32) else data.astype(np.int32)
    blob = nib.MGHImage(np.asfortranarray(kept), grid.affine).to_bytes()
    packed = gzip.compress(blob, compresslevel=GZIP_LEVEL, mtime=0) if path.name.lower().endswith(".mgz") else blob
    with atomic_file(path) as partial:
        partial.write_bytes(packed)
