"""ITK transform files (LPS+ mm): .h5, .tfm, .txt and .mat, as SimpleITK, ANTs and 3D Slicer exchange them.

An ITK composite applies the transform that was added last first; our chains apply the first one first.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float

from ..errors import FileFormatError, InputError
from ..space import AffineTransform, DisplacementField, Grid, Transform, TransformChain
from ..space.orientation import lps_to_ras, lps_to_ras_affine, lps_to_ras_matrix, ras_to_lps, ras_to_lps_matrix
from .itk_images import itk_affine, place, reason, voxels
from .paths import atomic_file


def read_itk_transform(path: Path) -> TransformChain:
    """Read an ITK transform file; 2-D transforms are lifted to the plane z = 0.

    Raises
    ------
    FileFormatError
        If it is not a transform file, or damaged.
    InputError
        If it holds a kind of transform that is neither linear nor a displacement field.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise FileFormatError(f"{path} is not an ITK transform file, or damaged ({reason(error)}). Export it again.") from error
    return TransformChain(tuple(link_from_itk(part, path) for part in _parts(transform)))


def write_itk_transform(path: Path, chain: Transform) -> None:
    """Write a chain with SimpleITK as text (.tfm, .txt), which suits linear ones.

    Raises
    ------
    InputError
        If ITK cannot hold it.
    """
    parts = [to_itk(part) for part in flatten(chain)]
    whole = parts[0] if len(parts) == 1 else _composite(parts)
    with atomic_file(path) as partial:
        try:
            sitk.WriteTransform(whole, str(partial))
        except RuntimeError as error:
            raise InputError(f"Cannot write {path}: {reason(error)}. Write .h5, which holds every chain.") from error


def write_itk_matrix(path: Path, chain: Transform) -> None:
    """Write one affine with SimpleITK (.mat, as ANTs keeps them).

    Raises
    ------
    InputError
        If it is more than that.
    """
    links = flatten(chain)
    if len(links) != 1 or not isinstance(links[0], AffineTransform):
        raise InputError(f"Cannot write {path}: .mat holds one affine; got {len(links)} transforms. Write .h5, which holds every chain.")
    write_itk_transform(path, links[0])


def flatten(transform: Transform) -> tuple[AffineTransform | DisplacementField, ...]:
    """Return the links of a chain of chains in the order in which they are applied.

    Raises
    ------
    InputError
        If a link is neither an affine nor a displacement field.
    """
    if isinstance(transform, TransformChain):
        return tuple(link for part in transform.transforms for link in flatten(part))
    if isinstance(transform, AffineTransform | DisplacementField):
        return (transform,)
    raise InputError(f"Cannot write a {type(transform).__name__}; expected affine transforms and displacement fields.")


def affine_parameters(transform: AffineTransform) -> Float[np.ndarray, "12"]:
    """Return ITK's parameters of an affine around the origin: the matrix row by row, then the translation, LPS+ mm."""
    matrix = ras_to_lps_matrix(transform.matrix)
    return np.concatenate([matrix[:3, :3].ravel(), matrix[:3, 3]])


def to_itk(transform: AffineTransform | DisplacementField) -> Any:
    """Return the SimpleITK transform that carries the same points, in LPS+ mm."""
    if isinstance(transform, AffineTransform):
        affine = sitk.AffineTransform(3)
        affine.SetParameters(affine_parameters(transform).tolist())
        return affine
    vectors = ras_to_lps(transform.displacement_mm.astype(np.float64)).transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    place(image, transform.grid)
    return sitk.DisplacementFieldTransform(image)


def field_from_itk_image(image: Any) -> DisplacementField:
    """Return the displacement field of a vector image whose components are LPS+ mm, as ITK understands it."""
    vectors = voxels(image)
    if vectors.shape[-1] == 2:
        vectors = np.concatenate([vectors, np.zeros_like(vectors[..., :1])], axis=-1)
    shape = vectors.shape
    grid = Grid((shape[0], shape[1], shape[2]), lps_to_ras_affine(itk_affine(image)))
    return DisplacementField(grid, np.ascontiguousarray(lps_to_ras(vectors.astype(np.float32)), dtype=np.float32))


def _composite(parts: list[Any]) -> Any:
    composite = sitk.CompositeTransform(3)
    for part in reversed(parts):
        composite.AddTransform(part)
    return composite


def _parts(transform: Any) -> list[Any]:
    """Return the links of an ITK transform in the order in which they are applied."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform.Downcast()]
    composite = sitk.CompositeTransform(transform)
    links = [composite.GetNthTransform(n) for n in range(composite.GetNumberOfTransforms())]
    return [part for link in reversed(links) for part in _parts(link)]


def link_from_itk(transform: Any, path: Path) -> AffineTransform | DisplacementField:
    """Return a linear transform or a displacement field of ITK's as a link of a chain, RAS+ mm."""
    if transform.IsLinear():
        return AffineTransform(lps_to_ras_matrix(_linear_matrix(transform)))
    if transform.GetTransformEnum() == sitk.sitkDisplacementField:
        return field_from_itk_image(sitk.DisplacementFieldTransform(transform).GetDisplacementField())
    raise InputError(
        f"{path} holds a {transform.GetName()}; expected linear transforms and displacement fields. "
        "Convert it to a displacement field first (SimpleITK.TransformToDisplacementField)."
    )


def _linear_matrix(transform: Any) -> Float[np.ndarray, "4 4"]:
    """Probe a linear transform of any kind with the origin and the unit vectors."""
    dimension = transform.GetDimension()
    origin = np.array(transform.TransformPoint([0.0] * dimension))
    matrix = np.eye(4)
    matrix[:dimension, 3] = origin
    for axis, unit in enumerate(np.eye(dimension)):
        matrix[:dimension, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    return matrix
