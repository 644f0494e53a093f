"""RAS <-> LPS and array-axis orientation: the only sign flips of the package.

The package's world is RAS+ (x grows to the patient's right, y to anterior, z to superior). ITK, ANTs, elastix and DICOM use LPS+:
the first two components have the other sign. Both points and vectors change by the same diagonal matrix, which is its own inverse.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped

from .grid import Grid

_SIGNS = np.array([-1.0, -1.0, 1.0])
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def _flipped(vectors: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    array = np.asarray(vectors)
    kind = array.dtype if np.issubdtype(array.dtype, np.floating) else np.dtype(np.float64)
    return np.asarray(array * _SIGNS.astype(kind))


def ras_to_lps(vectors: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Turn RAS+ points or vectors into LPS+ ones (mm); float32 stays float32."""
    return _flipped(vectors)


def lps_to_ras(vectors: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Turn LPS+ points or vectors into RAS+ ones (mm); float32 stays float32."""
    return _flipped(vectors)


def ras_to_lps_matrix(matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Turn a world-to-world matrix between RAS+ spaces into the one between LPS+ spaces."""
    return np.asarray(_FLIP @ matrix @ _FLIP)


def lps_to_ras_matrix(matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Turn a world-to-world matrix between LPS+ spaces into the one between RAS+ spaces."""
    return np.asarray(_FLIP @ matrix @ _FLIP)


def ras_to_lps_affine(affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Turn a voxel-to-RAS+ affine into a voxel-to-LPS+ one."""
    return np.asarray(_FLIP @ affine)


def lps_to_ras_affine(affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Turn a voxel-to-LPS+ affine into a voxel-to-RAS+ one."""
    return np.asarray(_FLIP @ affine)


def axis_codes(grid: Grid) -> str:
    """Tell where each array axis points, by its nearest anatomical direction, e.g. ``"LIA"``."""
    return "".join(str(code) for code in nib.orientations.aff2axcodes(grid.affine))


def reorient(data: Shaped[np.ndarray, "i j k *rest"], grid: Grid, codes: str = "RAS") -> tuple[Shaped[np.ndarray, "a b c *rest"], Grid]:
    """Permute and flip array axes so that they point along `codes`; no voxel moves in the world, vectors stay as they are.

    Parameters
    ----------
    data : (i, j, k, ...) array
        Anything sampled on `grid`; trailing axes are kept.
    grid : Grid
        Where its voxels lie.
    codes : str
        Wanted direction of each array axis, e.g. ``"RAS"``.

    Returns
    -------
    data, grid
        A view of the same voxels in the new axis order and the grid that places them.
    """
    now = nib.orientations.io_orientation(grid.affine)
    change = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(tuple(codes)))
    turned = nib.orientations.apply_orientation(data, change)
    affine = grid.affine @ nib.orientations.inv_ornt_aff(change, grid.shape)
    return turned, Grid(turned.shape[:3], affine)
