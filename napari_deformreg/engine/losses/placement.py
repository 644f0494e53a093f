"""Terms of landmarks and of affine matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import InputError
from ..kernels.reference import sample
from .common import accumulates_wide, check_field, sizes


@accumulates_wide
def landmark_distance(
    displacement_vox: Tensor,
    fixed_landmarks_vox: Tensor,
    moving_landmarks_vox: Tensor,
    spacing: Sequence[float] | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the mean squared distance (mm^2) between carried fixed landmarks and their partners: mean |s (p + u(p) - q)|^2.

    Parameters
    ----------
    displacement_vox : (n, d, *spatial) tensor
        From fixed to moving, in voxels; read linearly at the landmarks, continued by its rim.
    fixed_landmarks_vox, moving_landmarks_vox : (n, p, d) tensors
        Pairs of landmarks in voxels of the field's lattice.
    spacing : d numbers, optional
        Voxel sizes s along the axes; with those of the level in units of their (geometric) mean it is the optimizer's landmark term.
    weight : (n, p) tensor, optional
        How much each pair counts, 0 for those that only fill up a batch.

    References
    ----------
    Sorzano et al. 2005, doi 10.1109/TBME.2005.844030.
    """
    dimensions = check_field(displacement_vox)
    expected = (len(displacement_vox), fixed_landmarks_vox.shape[1], dimensions)
    if fixed_landmarks_vox.shape != expected or moving_landmarks_vox.shape != expected:
        got = f"{tuple(fixed_landmarks_vox.shape)} and {tuple(moving_landmarks_vox.shape)}"
        raise InputError(f"Expected as many fixed as moving landmarks, (n, p, {dimensions}) in voxels of the field; got {got}.")
    places = fixed_landmarks_vox.movedim(2, 1).reshape(*displacement_vox.shape[:2], -1, *[1] * (dimensions - 1)).to(displacement_vox)
    carried = places + sample(displacement_vox, places)
    miss = carried.flatten(2).movedim(1, 2) - moving_landmarks_vox
    squared = (miss * torch.tensor(sizes(spacing, dimensions), dtype=miss.dtype, device=miss.device)).square().sum(dim=2)
    w = torch.ones_like(squared) if weight is None else weight.to(squared)
    total = w.sum(dim=1)
    return ((w * squared).sum(dim=1) / torch.where(total > 0, total, torch.ones_like(total))).mean()


def _from_identity(matrix: Tensor, translation_unit: float) -> Tensor:
    """Matrix minus identity, (n, d, d + 1), its last column in units."""
    rows, columns = matrix.shape[-2:]
    if matrix.dim() != 3 or columns not in (3, 4) or rows not in (columns - 1, columns):
        raise InputError(f"Expected affine matrices (n, d, d + 1) or (n, d + 1, d + 1) with d = 2 or 3; got {tuple(matrix.shape)}.")
    d = columns - 1
    change = matrix[:, :d] - torch.eye(d, columns, dtype=matrix.dtype, device=matrix.device)
    return torch.cat([change[..., :d], change[..., d:] / translation_unit], dim=-1)


@accumulates_wide
def affine_identity_l2(matrix: Tensor, translation_unit: float = 1.0) -> Tensor:
    """Return the squared distance of an affine from the identity, |A - I|^2 + |t|^2 (Frobenius).

    Parameters
    ----------
    matrix : (n, d, d + 1) or (n, d + 1, d + 1) tensor
        Linear part A and translation t.
    translation_unit : float
        In what a translation counts, because A has no unit: for example the extent of the image.

    References
    ----------
    Shen et al. 2019, doi 10.1109/CVPR.2019.00435, the affine network's regularization.
    """
    return _from_identity(matrix, translation_unit).square().flatten(1).sum(dim=1).mean()


@accumulates_wide
def affine_identity_l1(matrix: Tensor, translation_unit: float = 1.0) -> Tensor:
    """Return the absolute distance of an affine from the identity, sum |A - I| + sum |t|.

    Parameters
    ----------
    matrix : (n, d, d + 1) or (n, d + 1, d + 1) tensor
        Linear part A and translation t.
    translation_unit : float
        In what a translation counts, because A has no unit: for example the extent of the image.

    References
    ----------
    Shen et al. 2019, doi 10.1109/CVPR.2019.00435, with absolute values for squares.
    """
    return _from_identity(matrix, translation_unit).abs().flatten(1).sum(dim=1).mean()
