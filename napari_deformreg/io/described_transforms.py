"""Transforms that other tools made, with what is assumed about their numbers said in words.

The same bytes mean different things to different tools: the components of a displacement may be LPS or RAS mm or voxels, a text file of
4 x 4 numbers may be anybody's. What a file says of itself is believed; what it does not say must be told.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..errors import FileFormatError, InputError
from ..space import AffineTransform, DisplacementField, Grid, TransformChain
from ..space.orientation import lps_to_ras, lps_to_ras_matrix
from .displacement_images import DISPLACEMENT_VECTOR, VECTOR, read_itk_field
from .elastix_transforms import files_before, is_elastix_transform, read_elastix_transform
from .itk_hdf5 import read_itk_hdf5
from .itk_transforms import read_itk_transform
from .nifti import load_nifti, nifti_affine, stored_array
from .paths import existing_file, suffix_of

Convention = Literal["auto", "lps", "ras", "voxel"]

_UNITS = {"lps": "LPS mm", "ras": "RAS mm", "voxel": "voxels along the array axes (i, j, k)"}

_NIFTI, _ITK_FIELDS = (".nii", ".nii.gz"), (".mha", ".mhd", ".nrrd", ".nhdr")
_HDF5, _TEXT = (".h5", ".hdf5"), (".tfm", ".txt", ".mat")


@dataclass(frozen=True, eq=False)
class DescribedTransform:
    """A transform from a file, and how it was understood.

    Attributes
    ----------
    chain : TransformChain
        In RAS+ mm.
    name : str
        The file's.
    sha256 : str
        Of its bytes.
    convention : str
        What its numbers were taken for, in words.
    """

    chain: TransformChain
    name: str
    sha256: str
    convention: str


def read_described_transforms(
    paths: Sequence[str | os.PathLike[str]], convention: Convention = "auto"
) -> tuple[TransformChain, list[DescribedTransform]]:
    """Read files in the order in which fixed points go through them, as `antsApplyTransforms -t` and `greedy -r` list them.

    ``[FILE,1]`` is the inverse of an affine, as ANTs writes it: it keeps no file of its own for that.

    Returns
    -------
    chain, described
        The whole, and each file.

    Raises
    ------
    InputError
        If there is none, or one cannot be used.
    """
    if not paths:
        raise InputError("Expected at least one transform file; got none.")
    described = [_perhaps_inverted(str(path), convention) for path in paths]
    return TransformChain(tuple(link for part in described for link in part.chain.transforms)), described


def _perhaps_inverted(words: str, convention: Convention) -> DescribedTransform:
    found = re.fullmatch(r"\[(.+),\s*([01])\]", words)
    if found is None:
        return read_described_transform(words, convention)
    described = read_described_transform(found[1], convention)
    if found[2] == "0":
        return described
    links = [link.inverse() for link in reversed(described.chain.transforms) if isinstance(link, AffineTransform)]
    if len(links) != len(described.chain.transforms):
        raise InputError(f"{words}: only an affine can be inverted so; expected the tool's own inverse of the displacement as a file.")
    return replace(described, chain=TransformChain(tuple(links)), convention=f"{described.convention}; inverted, as told")


def read_described_transform(path: str | os.PathLike[str], convention: Convention = "auto") -> DescribedTransform:
    """Read a transform of any supported format, and say how it was understood.

    Parameters
    ----------
    path : path
        The file.
    convention : str
        What the components of a displacement image are; `auto`: what the file says. ITK transform files need no telling.

    Raises
    ------
    FileFormatError
        If it is not what its suffix says, or damaged.
    InputError
        If there is no file, or it does not say how its numbers are meant and nobody told.
    """
    file = existing_file(path)
    suffix = suffix_of(file, (*_NIFTI, *_ITK_FIELDS, *_HDF5, *_TEXT))
    if suffix in _NIFTI:
        chain, words = _nifti_field(file, convention)
    elif suffix in _ITK_FIELDS:
        chain, words = _itk_field(file, convention)
    elif suffix in _HDF5:
        chain, words = read_itk_hdf5(file), "ITK transform file: LPS mm by definition"
    elif suffix in _TEXT:
        chain, words = _text(file, convention)
    else:
        known = ", ".join((*_HDF5, *_TEXT, *_NIFTI, *_ITK_FIELDS))
        raise FileFormatError(f"Cannot read {file} as a transform: its suffix is unknown. Expected one of {known}.")
    return DescribedTransform(chain, file.name, hashlib.sha256(file.read_bytes()).hexdigest(), words)


def _nifti_field(path: Path, convention: Convention) -> tuple[TransformChain, str]:
    image = load_nifti(path)
    vectors = _vectors(stored_array(image, path), path)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) != (1.0, 0.0):
        vectors = vectors * np.float32(slope) + np.float32(intercept)
    intent = int(image.header["intent_code"])
    said = {DISPLACEMENT_VECTOR: "ras", VECTOR: "lps"}.get(intent)
    if convention == "auto" and said is None:
        raise InputError(
            f"{path} has intent code {intent}, which does not say how its vectors are meant. Choose one: --convention lps (ANTs, ITK, "
            "greedy), ras (3D Slicer) or voxel (networks such as VoxelMorph)."
        )
    meant = str(said) if convention == "auto" else convention
    affine, _ = nifti_affine(image.header, path)
    grid = Grid((vectors.shape[0], vectors.shape[1], vectors.shape[2]), affine)
    source = f"by its intent code {intent}" if convention == "auto" else _told(meant, said, f"intent code {intent} says")
    return TransformChain((DisplacementField(grid, _in_ras(vectors, meant, grid)),)), f"displacement in {_UNITS[meant]}, {source}"


def _vectors(data: np.ndarray, path: Path) -> Float[np.ndarray, "i j k 3"]:
    """Give the vectors of an array (i, j, k, 1, 3) or (i, j, k, 3); two components are those of a slice."""
    components = data.shape[-1] if data.ndim in (4, 5) else 0
    single = data.ndim == 4 or (data.ndim == 5 and data.shape[3] == 1)
    if not single or components not in (2, 3) or (components == 2 and data.shape[2] != 1):
        raise FileFormatError(f"{path} has shape {data.shape}; a displacement field in NIfTI has shape (i, j, k, 1, 3) or (i, j, k, 3).")
    vectors = np.ascontiguousarray(data.reshape((*data.shape[:3], components)), dtype=np.float32)
    return vectors if components == 3 else np.concatenate([vectors, np.zeros_like(vectors[..., :1])], axis=-1)


def _itk_field(path: Path, convention: Convention) -> tuple[TransformChain, str]:
    chain = read_itk_field(path)
    if convention in ("auto", "lps"):
        return chain, "displacement in LPS mm, as ITK writes this format"
    field = chain.transforms[0]
    assert isinstance(field, DisplacementField)
    stored = np.asarray(lps_to_ras(field.displacement_mm))  # the reader took them for LPS; this is its exact inverse
    words = f"displacement in {_UNITS[convention]}, {_told(convention, 'lps', 'the format usually means')}"
    return TransformChain((DisplacementField(field.grid, _in_ras(stored, convention, field.grid)),)), words


def _told(meant: str, said: str | None, who: str) -> str:
    return "as told" if said in (None, meant) else f"as told (although {who} {_UNITS[str(said)]})"


def _in_ras(vectors: Float[np.ndarray, "i j k 3"], meant: str, grid: Grid) -> Float[np.ndarray, "i j k 3"]:
    if meant == "lps":
        vectors = lps_to_ras(vectors)
    elif meant == "voxel":
        vectors = vectors @ grid.affine[:3, :3].T.astype(np.float32)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _text(path: Path, convention: Convention) -> tuple[TransformChain, str]:
    matrix = _matrix_of_text(path)
    if matrix is None:
        if is_elastix_transform(path):
            return read_elastix_transform(path), _elastix_words(path)
        return read_itk_transform(path), "ITK transform file: LPS mm by definition"
    if convention == "lps":
        return TransformChain((AffineTransform(lps_to_ras_matrix(matrix)),)), "4 x 4 matrix between LPS worlds, fixed to moving, as told"
    words = "4 x 4 matrix between RAS worlds, fixed to moving, as greedy and c3d write it (not for FSL's matrices, which look alike)"
    return TransformChain((AffineTransform(matrix),)), words


def _elastix_words(path: Path) -> str:
    before = files_before(path)
    first = f", after {' and '.join(before)} as it says itself" if before else ""
    return f"elastix's transform parameters: LPS mm by definition{first}"


def _matrix_of_text(path: Path) -> Float[np.ndarray, "4 4"] | None:
    """Read sixteen plain numbers with the last row 0 0 0 1; None if the file is anything else."""
    try:
        words = path.read_text(encoding="ascii").split()
    except (UnicodeDecodeError, OSError):
        return None
    if len(words) != 16:
        return None
    try:
        matrix = np.array(words, dtype=np.float64).reshape(4, 4)
    except ValueError:
        return None
    return matrix if np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6) else None
