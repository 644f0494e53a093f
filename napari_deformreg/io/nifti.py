"""NIfTI-1 and NIfTI-2, single files and pairs (RAS+ mm, like the package's world)."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped

from ..errors import FileFormatError, InputError
from ..space import Grid
from .paths import atomic_file
from .raw import RawImage

NOTICEABLE_VOX = 0.1
"""sform and qform that place a corner this far apart are worth a notice; rounding of float32 headers stays far below."""

GZIP_LEVEL = 1
"""Images hardly shrink further at higher levels, but take several times as long."""

_MILLIMETERS = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_XYZ_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacking gzip (told by its content, not by its name).

    Raises
    ------
    FileFormatError
        If the file is empty, or its gzip stream is truncated or damaged.
    """
    blob = path.read_bytes()
    if not blob:
        raise FileFormatError(f"{path} is empty (0 bytes). Copy or export it again.")
    if blob[:2] != b"\x1f\x8b":
        return blob
    try:
        return gzip.decompress(blob)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"{path} is truncated or damaged (gzip: {error}). Copy or export it again.") from error


def read_nifti(path: Path) -> RawImage:
    """Read a NIfTI-1 or NIfTI-2 file, or a pair of .hdr and .img.

    Raises
    ------
    FileFormatError
        If it is not NIfTI, or truncated.
    """
    image = load_nifti(path)
    data = stored_array(image, path)
    kind: Literal["volumes", "components"] = "components" if data.ndim == 5 and data.shape[3] == 1 and data.shape[4] > 1 else "volumes"
    if data.dtype.fields is not None:  # RGB24 and RGBA32 come as records of bytes
        data, kind = np.stack([data[name] for name in data.dtype.names or ()], axis=-1), "components"
    affine, notices = nifti_affine(image.header, path)
    shape = (*data.shape[:3], 1, 1)[:3]
    # Not from the header: nibabel clears the scaling there once the image is loaded.
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    return RawImage(data.reshape((*shape, -1), order="F"), affine, kind, slope, intercept, notices)


def load_nifti(path: Path) -> Any:
    """Return nibabel's image of a NIfTI file that is held in memory (no file stays open).

    Raises
    ------
    FileFormatError
        If it is not NIfTI.
    """
    header_path, image_path = _pair(path)
    blob = read_bytes(header_path)
    kind = _class_of(blob, single=header_path == image_path)
    if kind is None:
        raise FileFormatError(f"{path} is not a NIfTI image (its header says something else). Check the file, or its suffix.")
    holders = {"header": nib.FileHolder(fileobj=BytesIO(blob))}
    holders["image"] = holders["header"] if header_path == image_path else nib.FileHolder(fileobj=BytesIO(read_bytes(image_path)))
    try:
        return kind.from_file_map(holders)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, ValueError, KeyError, OSError) as error:
        raise FileFormatError(f"{path} has a damaged NIfTI header ({error}). Convert the original data again.") from error


def stored_array(image: Any, path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the stored numbers of a NIfTI image, not scaled.

    Raises
    ------
    FileFormatError
        If the file holds fewer bytes than its header promises.
    """
    header, proxy = image.header, image.dataobj
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    if not shape or min(shape) < 1:
        raise InputError(f"{path} is empty (shape {shape}); expected voxels.")
    stream = image.file_map["image"].fileobj
    needed = int(proxy.offset) + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if stream.getbuffer().nbytes < needed:
        raise FileFormatError(
            f"{path} is truncated: its header promises {needed} bytes, it has {stream.getbuffer().nbytes}. Copy or export it again."
        )
    return np.asarray(proxy.get_unscaled())


def nifti_affine(header: Any, path: Path) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """Return the voxel to RAS+ mm affine and what is to be said about it: sform if its code is set, else qform."""
    notices = []
    sform = header.get_sform() if int(header["sform_code"]) > 0 else None
    qform = _qform(header) if int(header["qform_code"]) > 0 else None
    affine = sform if sform is not None else qform
    if affine is None:
        affine = header.get_base_affine()
        notices.append(f"{path.name} does not say how it lies in the world (neither sform nor qform); left-right may be swapped.")
    elif sform is not None and qform is not None:
        apart = _corner_distance_vox(sform, qform, header.get_data_shape())
        if apart > NOTICEABLE_VOX:
            notices.append(f"{path.name}: sform and qform differ by up to {apart:.2g} voxels; the sform was used.")
    affine = _with_third_axis(np.array(affine, dtype=np.float64), len(header.get_data_shape()))
    unit = _XYZ_UNITS.get(int(header["xyzt_units"]) & 7, "unknown")
    if _MILLIMETERS[unit] != 1.0:
        affine[:3] *= _MILLIMETERS[unit]
        notices.append(f"{path.name} is given in units of a {unit}; it was converted to mm.")
    return affine, tuple(notices)


def write_nifti(path: Path, data: Shaped[np.ndarray, "i j k"], grid: Grid) -> None:
    """Write an array as NIfTI-1 with sform and qform set, in mm; gzip when the name ends with .gz."""
    largest = np.iinfo(np.int16).max  # NIfTI-1 counts voxels in 16 bits
    kind = nib.Nifti1Image if max(data.shape) <= largest else nib.Nifti2Image
    image = kind(np.asfortranarray(data), grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1 if grid.is_orthogonal else 0)
    blob = image.to_bytes()
    packed = gzip.compress(blob, compresslevel=GZIP_LEVEL, mtime=0) if path.name.lower().endswith(".gz") else blob
    with atomic_file(path) as partial:
        partial.write_bytes(packed)


def _pair(path: Path) -> tuple[Path, Path]:
    """Return header file and image file; the same one for a single file."""
    name = path.name
    packed = name[-3:] if name.lower().endswith(".gz") else ""
    stem, suffix = name[: len(name) - len(packed) - 4], name[len(name) - len(packed) - 4 : len(name) - len(packed)]
    if suffix.lower() not in (".hdr", ".img"):
        return path, path
    both = []
    for wanted in (".hdr", ".img"):
        if suffix.lower() == wanted:
            both.append(path)
            continue
        fitting = [path.with_name(stem + w + p) for w in (wanted, wanted.upper()) for p in (packed, "", ".gz")]
        found = [candidate for candidate in fitting if candidate.is_file()]
        if not found:
            raise FileFormatError(f"{path} is one half of a pair; expected {fitting[0].name} beside it.")
        both.append(found[0])
    return both[0], both[1]


def _class_of(blob: bytes, single: bool) -> Any:
    """Tell nibabel's class by the magic bytes; None for anything else (ANALYZE too, whose orientation nobody knows)."""
    if blob[344:347] in (b"n+1", b"ni1") and 348 in (int.from_bytes(blob[:4], "little"), int.from_bytes(blob[:4], "big")):
        return nib.Nifti1Image if single else nib.Nifti1Pair
    if blob[4:7] in (b"n+2", b"ni2") and 540 in (int.from_bytes(blob[:4], "little"), int.from_bytes(blob[:4], "big")):
        return nib.Nifti2Image if single else nib.Nifti2Pair
    return None


def _qform(header: Any) -> Float[np.ndarray, "4 4"] | None:
    try:
        return np.asarray(header.get_qform())
    except (ValueError, nib.spatialimages.HeaderDataError):  # not a unit quaternion
        return None


def _with_third_axis(affine: Float[np.ndarray, "4 4"], dimensions: int) -> Float[np.ndarray, "4 4"]:
    """Give a 2-D image whose header leaves the third axis out one of 1 mm, perpendicular to its plane."""
    if dimensions <= 2 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), np.finfo(float).tiny)
    return affine


def _corner_distance_vox(first: Float[np.ndarray, "4 4"], second: Float[np.ndarray, "4 4"], shape: tuple[int, ...]) -> float:
    full = (*shape, 1, 1)[:3]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in full], [1.0], indexing="ij")).reshape(4, -1)
    apart = np.linalg.norm(((first - second) @ ends)[:3], axis=0).max()
    spacing = np.linalg.norm(first[:3, :3], axis=0)
    return float(apart / max(spacing[np.array(full) > 1].min(initial=np.inf), 1e-9))
