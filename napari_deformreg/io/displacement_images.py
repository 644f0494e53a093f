"""Displacement fields stored as images: NIfTI by its intent code, MetaImage and NRRD as ITK writes them (LPS+ mm).

In NIfTI the components of the vectors are ambiguous: ANTs and ITK write LPS+ under intent 1007 (vector), 3D Slicer RAS+ under intent 1006
(displacement vector). Anything else is refused, because a guess would mirror the deformation without a word.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InputError
from ..space import DisplacementField, Grid, TransformChain
from ..space.orientation import lps_to_ras
from .itk_images import load_itk_image
from .itk_transforms import field_from_itk_image
from .nifti import load_nifti, nifti_affine, stored_array

DISPLACEMENT_VECTOR, VECTOR = 1006, 1007


def read_nifti_field(path: Path) -> TransformChain:
    """Read a displacement field from NIfTI; intent 1007 means LPS+ components (ANTs, ITK), 1006 RAS+ ones (3D Slicer).

    Raises
    ------
    InputError
        If the image does not hold three components a voxel, or its intent code names neither convention.
    """
    image = load_nifti(path)
    intent = int(image.header["intent_code"])
    data = stored_array(image, path)
    if data.ndim != 5 or data.shape[3:] != (1, 3):
        raise FileFormatError(f"{path} has shape {data.shape}; a displacement field in NIfTI has shape (i, j, k, 1, 3).")
    if intent not in (DISPLACEMENT_VECTOR, VECTOR):
        raise InputError(
            f"{path} has intent code {intent}, which does not say how its vectors are meant; expected 1007 (ANTs and ITK, LPS mm) or "
            "1006 (3D Slicer, RAS mm). Set the code in the header, or export an ITK .h5 transform."
        )
    vectors = np.ascontiguousarray(data[:, :, :, 0, :], dtype=np.float32)
    affine, _ = nifti_affine(image.header, path)
    grid = Grid((data.shape[0], data.shape[1], data.shape[2]), affine)
    return TransformChain((DisplacementField(grid, np.asarray(lps_to_ras(vectors), dtype=np.float32) if intent == VECTOR else vectors),))


def read_itk_field(path: Path) -> TransformChain:
    """Read a displacement field from a MetaImage or NRRD vector image (LPS+ mm components).

    Raises
    ------
    FileFormatError
        If it is not an image of two or three components a voxel (as many as it has dimensions).
    """
    image = load_itk_image(path)
    components, dimensions = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    if components != dimensions or dimensions not in (2, 3):
        raise FileFormatError(
            f"{path} has {components} components a voxel in {dimensions} dimensions; a displacement field has as many of both."
        )
    return TransformChain((field_from_itk_image(image),))
