"""ITK's HDF5 transform layout, written and read directly.

ITK itself stores doubles without compression and goes through slow parameter lists; float32 with light compression is a small fraction
of the size and loads in every ITK program, because ITK's reader converts each transform to the precision that was asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from ..errors import FileFormatError, InputError
from ..space import AffineTransform, DisplacementField, Grid, Transform, TransformChain
from ..space.orientation import lps_to_ras, lps_to_ras_affine, lps_to_ras_matrix, ras_to_lps, ras_to_lps_affine
from ..space.slabs import thread_count
from .itk_transforms import affine_parameters, flatten, read_itk_transform
from .paths import atomic_file

CHUNK_BYTES = 1 << 20
"""About the size of a compressed chunk: HDF5's default cache."""

QUANTUM_MM = 2.0**-14
"""Vectors are stored in steps of 0.00006 mm, far below any image's resolution; the zero bits left in the mantissa shrink the file."""


def write_itk_hdf5(path: Path, chain: Transform) -> None:
    """Write a chain as an ITK composite transform (.h5).

    Raises
    ------
    InputError
        If a link is neither an affine nor a displacement field on an orthogonal grid.
    """
    links = flatten(chain)
    for link in links:
        if isinstance(link, DisplacementField) and not link.grid.is_orthogonal:
            raise InputError(f"Cannot write {path}: a displacement field on a sheared grid; resample it onto an orthogonal one first.")
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        _write_text(file, "ITKVersion", "5.4.0")
        _write_text(file, "HDFVersion", h5py.version.hdf5_version)
        _write_text(file, "TransformGroup/0/TransformType", "CompositeTransform_double_3_3")
        for number, link in enumerate(reversed(links), start=1):
            _write_link(file.create_group(f"TransformGroup/{number}"), link)


def read_itk_hdf5(path: Path) -> TransformChain:
    """Read an ITK transform file (.h5); affine transforms and displacement fields directly, other kinds with SimpleITK.

    Raises
    ------
    FileFormatError
        If it is not an ITK transform file, or damaged.
    InputError
        If it holds a kind of transform that is neither linear nor a displacement field.
    """
    try:
        with h5py.File(path, "r") as file:
            if "TransformGroup" not in file:
                raise FileFormatError(f"{path} holds no ITK transform (no TransformGroup in it). Check that it is the right file.")
            links = _read_links(file["TransformGroup"])
    except (OSError, KeyError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise FileFormatError(f"{path} is not an ITK transform file, or truncated ({error}). Export or copy it again.") from error
    return read_itk_transform(path) if links is None else TransformChain(links)


def _read_links(file: Any) -> tuple[AffineTransform | DisplacementField, ...] | None:
    """Read the links in the order in which they are applied; None where SimpleITK has to."""
    groups = [file[str(number)] for number in range(len(file))]
    kinds = [_kind(group) for group in groups]
    composite = bool(kinds) and kinds[0].startswith("CompositeTransform_")
    if composite:
        kinds, groups = kinds[1:], groups[1:]
    readers = [read for read in map(_reader, kinds) if read is not None]
    if len(readers) < len(groups) or not (composite or len(groups) == 1):
        return None
    return tuple(read(group) for read, group in zip(readers, groups, strict=True))[::-1]


def _write_link(group: Any, link: AffineTransform | DisplacementField) -> None:
    if isinstance(link, AffineTransform):
        _write_text(group, "TransformType", "AffineTransform_double_3_3")
        group["TransformFixedParameters"] = np.zeros(3)
        group["TransformParameters"] = affine_parameters(link)
        return
    affine, spacing = ras_to_lps_affine(link.grid.affine), link.grid.spacing
    _write_text(group, "TransformType", "DisplacementFieldTransform_float_3_3")
    group["TransformFixedParameters"] = np.concatenate([link.grid.shape, affine[:3, 3], spacing, (affine[:3, :3] / spacing).ravel()])
    _write_vectors(group, link.displacement_mm)


def _write_vectors(group: Any, displacement_mm: Float[np.ndarray, "i j k 3"]) -> None:
    """Compress slabs of whole slices on several threads (HDF5's own filters use one) and hand them to HDF5 as its ready-made chunks."""
    i, j, k, _ = displacement_mm.shape
    slices = min(max(CHUNK_BYTES // (12 * i * j), 1), k)
    chunk = 3 * i * j * slices
    layout = {"chunks": (chunk,), "shuffle": True, "compression": "gzip", "compression_opts": 1}
    data = group.create_dataset("TransformParameters", shape=(3 * i * j * k,), dtype="<f4", **layout)

    def packed(first: int) -> bytes:
        slab = ras_to_lps(displacement_mm[:, :, first : first + slices].astype("<f4")).transpose(2, 1, 0, 3)
        block = np.zeros(chunk, dtype="<f4")  # HDF5 wants the last chunk whole
        block[: slab.size] = (np.rint(slab / np.float32(QUANTUM_MM)) * np.float32(QUANTUM_MM) + 0).ravel()  # + 0: no negative zeros
        # Run lengths only: as small as zlib's search for repetitions on such data, in half the time.
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_RLE)
        return packer.compress(block.view(np.uint8).reshape(chunk, 4).T.tobytes()) + packer.flush()

    firsts = range(0, k, slices)
    with ThreadPoolExecutor(thread_count()) as pool:
        for first, block in zip(firsts, pool.map(packed, firsts), strict=True):
            data.id.write_direct_chunk((3 * i * j * first,), block)


def _write_text(group: Any, name: str, text: str) -> None:
    group.create_dataset(name, data=[text], dtype=h5py.string_dtype("ascii"))


def _kind(group: Any) -> str:
    value = group["TransformType"][0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _reader(kind: str) -> Callable[[Any], AffineTransform | DisplacementField] | None:
    name, _, rest = kind.partition("_")
    if rest not in ("double_3_3", "float_3_3"):
        return None
    readers: dict[str, Callable[[Any], AffineTransform | DisplacementField]]
    readers = {"AffineTransform": _read_affine, "DisplacementFieldTransform": _read_field}
    return readers.get(name)


def _parameters(group: Any, name: str) -> Float[np.ndarray, "n"]:
    # ITK wrote "Tranform…" until version 4.
    return np.asarray(group[name] if name in group else group[name.replace("Transform", "Tranform")])


def _read_affine(group: Any) -> AffineTransform:
    parameters, center = _parameters(group, "TransformParameters"), _parameters(group, "TransformFixedParameters")[:3]
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:12] + center - matrix[:3, :3] @ center
    return AffineTransform(lps_to_ras_matrix(matrix))


def _read_field(group: Any) -> DisplacementField:
    fixed = _parameters(group, "TransformFixedParameters")
    i, j, k = (int(n) for n in fixed[:3])
    affine = np.eye(4)
    affine[:3, :3] = fixed[9:18].reshape(3, 3) * fixed[6:9]
    affine[:3, 3] = fixed[3:6]
    vectors = _parameters(group, "TransformParameters").astype(np.float32, copy=False).reshape(k, j, i, 3).transpose(2, 1, 0, 3)
    return DisplacementField(Grid((i, j, k), lps_to_ras_affine(affine)), np.ascontiguousarray(lps_to_ras(vectors), dtype=np.float32))
