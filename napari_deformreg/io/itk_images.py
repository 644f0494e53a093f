"""Images that SimpleITK reads and writes (LPS+ mm): MetaImage, NRRD, and pictures as one slice."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Shaped, UInt8, UInt16

from ..errors import FileFormatError, InputError
from ..space import Grid
from ..space.orientation import lps_to_ras_affine, ras_to_lps_affine
from .label_names import names_of_segments
from .paths import atomic_file
from .raw import RawImage


def load_itk_image(path: Path) -> Any:
    """Read a file with SimpleITK.

    Raises
    ------
    FileFormatError
        If it is not an image, or truncated.
    """
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise FileFormatError(
            f"{path} cannot be read: it is not a {path.suffix[1:].upper()} image, or truncated ({reason(error)}). Copy or export it again."
        ) from error


def read_itk_image(path: Path) -> RawImage:
    """Read a MetaImage or NRRD file; a 2-D one becomes one slice."""
    image = load_itk_image(path)
    affine = lps_to_ras_affine(itk_affine(image))
    return RawImage(
        voxels(image),
        affine,
        "components" if image.GetNumberOfComponentsPerPixel() > 1 else "volumes",
        label_names=names_of_segments({key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}),
    )


def read_picture(path: Path) -> RawImage:
    """Read a PNG, JPEG or TIFF picture as one slice (pages of a TIFF as slices); 1 mm unless the file names a resolution.

    Raises
    ------
    FileFormatError
        If it is not a picture, or truncated.
    """
    raw = read_itk_image(path)
    if path.suffix.lower() in (".jpg", ".jpeg") and not _jpeg_is_whole(path.read_bytes()):
        raise FileFormatError(f"{path} is truncated: the JPEG has no end. Copy or export it again.")
    spacing = np.linalg.norm(raw.affine[:3, :3], axis=0)
    if np.allclose(spacing, 1.0):
        notice = f"{path.name} names no resolution; a pixel was taken as 1 mm."
    else:
        notice = f"{path.name}: a pixel is {spacing[0]:.4g} x {spacing[1]:.4g} mm by the resolution in the file."
    return RawImage(raw.data, raw.affine, raw.kind, notices=(notice,))


def write_itk_image(path: Path, data: Shaped[np.ndarray, "i j k"], grid: Grid) -> None:
    """Write an array as a compressed MetaImage or NRRD file."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    place(image, grid)
    with atomic_file(path) as partial:
        try:
            sitk.WriteImage(image, str(partial), useCompression=True, compressionLevel=1)
        except RuntimeError as error:
            raise InputError(f"Cannot write {path}: {reason(error)}.") from error


def write_picture(path: Path, colors: UInt8[np.ndarray, "i j k c"] | UInt16[np.ndarray, "i j k c"]) -> None:
    """Write the colors of a slice as a PNG or TIFF picture: i to the right, j down.

    Raises
    ------
    InputError
        If they are no slice, or the file cannot be written.
    """
    if colors.shape[2] != 1:
        raise InputError(f"A picture has one slice; got {colors.shape[2]}. Write .nii.gz instead, for one gray value.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(colors[:, :, 0].swapaxes(0, 1)), isVector=True)
    with atomic_file(path) as partial:
        try:
            sitk.WriteImage(image, str(partial))
        except RuntimeError as error:
            raise InputError(f"Cannot write {path}: {reason(error)}.") from error


def place(image: Any, grid: Grid) -> None:
    """Give a SimpleITK image the origin, spacing and direction of a grid.

    Raises
    ------
    InputError
        If the grid is sheared, which ITK's readers refuse.
    """
    if not grid.is_orthogonal:
        raise InputError("ITK formats cannot hold a sheared grid; resample onto an orthogonal one, or write NIfTI.")
    affine = ras_to_lps_affine(grid.affine)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())


def itk_affine(image: Any) -> Float[np.ndarray, "4 4"]:
    """Return the voxel to LPS+ mm affine of a SimpleITK image of 2, 3 or 4 dimensions."""
    dimensions = image.GetDimension()
    kept = min(dimensions, 3)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(dimensions, dimensions)
    affine = np.eye(4)
    affine[:kept, :kept] = direction[:kept, :kept] * np.array(image.GetSpacing())[:kept]
    affine[:kept, 3] = image.GetOrigin()[:kept]
    return affine


def voxels(image: Any) -> Shaped[np.ndarray, "i j k n"]:
    """Return the voxels of a SimpleITK image of 2, 3 or 4 dimensions, array axes in the order of its index."""
    array = sitk.GetArrayFromImage(image)
    spatial = image.GetDimension()
    order = tuple(range(spatial))[::-1] + tuple(range(spatial, array.ndim))
    array = array.transpose(order)
    if spatial == 2:
        array = array[:, :, None]
    return np.asarray(array[..., None] if array.ndim == 3 else array.reshape(*array.shape[:3], -1))


def reason(error: Exception) -> str:
    """Return the last telling line of ITK's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [re.sub(r"^.*?(ITK ERROR: |\(0x[0-9a-f]+\): )", "", line) for line in lines]
    return re.sub(r"\w+\(0x[0-9a-f]+\): ", "", telling[-1]).rstrip(".") if telling else "no reason given"


def _jpeg_is_whole(blob: bytes) -> bool:
    """Tell whether the last scan is followed by the end marker; libjpeg itself only fills the rest with gray."""
    return blob.find(b"\xff\xd9", max(blob.rfind(b"\xff\xda"), 0)) >= 0
