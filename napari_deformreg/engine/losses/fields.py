"""What a displacement or velocity field should not be: rough, long, folded, or not undone by the field of the other direction.

Fields are (n, d, *spatial) in voxels of their own lattice. With a spacing the terms are those of the field in mm; without one a voxel
counts as 1 mm along every axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..differentiable import compose
from ..kernels.fold_cpu import corner_offsets
from .common import accumulates_wide, check_field, in_units, sizes, weighted_mean

CORNER = 1e-3
"""Where the absolute value is rounded off: far below any difference that matters (mm per mm)."""

FOLD_MARGIN = 0.1
"""Determinants below it are pushed up."""


def _difference(values: Tensor, axis: int) -> Tensor:
    """Forward differences along a tensor axis; one entry shorter."""
    n = values.shape[axis]
    return values.narrow(axis, 1, n - 1) - values.narrow(axis, 0, n - 1)


def _voxels(vectors: Tensor) -> int:
    """By what a sum over a batch is divided to give the mean over its elements and voxels."""
    return vectors.numel() // vectors.shape[1]


def _slopes(velocity_vox: Tensor, spacing: Sequence[float] | None) -> list[Tensor]:
    """First derivatives along each axis of more than one voxel."""
    size = sizes(spacing, check_field(velocity_vox))
    v = in_units(velocity_vox, size)
    return [_difference(v, axis + 2) / step for axis, step in enumerate(size) if v.shape[axis + 2] > 1]


@accumulates_wide
def diffusion_l2(velocity_vox: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the mean over voxels of |grad v|^2 (forward differences), unit-free: mm per mm.

    Parameters
    ----------
    velocity_vox : (n, d, *spatial) tensor
        Velocity or displacement in voxels.
    spacing : d numbers, optional
        Voxel sizes along the axes; only their ratios matter.

    References
    ----------
    Horn and Schunck 1981, doi 10.1016/0004-3702(81)90024-2; Fischer and Modersitzki 2002, doi 10.1023/A:1015225119438.
    """
    total = velocity_vox.new_zeros(())
    for slope in _slopes(velocity_vox, spacing):
        total = total + slope.square().sum()
    return total / _voxels(velocity_vox)


@accumulates_wide
def diffusion_l1(velocity_vox: Tensor, spacing: Sequence[float] | None = None, corner: float = CORNER) -> Tensor:
    """Return the mean over voxels of sum |dv_a/dx_b|, rounded off at zero: lets motion change abruptly, as at sliding surfaces.

    |x| is taken as sqrt(x^2 + corner^2) - corner.

    Parameters
    ----------
    velocity_vox : (n, d, *spatial) tensor
        Velocity or displacement in voxels.
    spacing : d numbers, optional
        Voxel sizes along the axes; only their ratios matter.
    corner : float
        Where it is rounded off, above 0.

    References
    ----------
    Vishnevskiy et al. 2017, doi 10.1109/TMI.2016.2610583 (anisotropic total variation, equation 4).
    """
    total = velocity_vox.new_zeros(())
    for slope in _slopes(velocity_vox, spacing):
        total = total + ((slope.square() + corner**2).sqrt() - corner).sum()
    return total / _voxels(velocity_vox)


@accumulates_wide
def bending(velocity_vox: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the mean of the squared second derivatives (mixed ones twice) times the squared mean spacing, which makes it unit-free.

    Parameters
    ----------
    velocity_vox : (n, d, *spatial) tensor
        Velocity or displacement in voxels; an axis of fewer than three voxels is left out.
    spacing : d numbers, optional
        Voxel sizes along the axes; only their ratios matter.

    References
    ----------
    Rueckert et al. 1999, doi 10.1109/42.796284, equation 4.
    """
    size = sizes(spacing, check_field(velocity_vox))
    v = in_units(velocity_vox, size)
    unit = (sum(size) / len(size)) ** 2
    total = v.new_zeros(())
    active = [axis for axis in range(len(size)) if v.shape[axis + 2] >= 3]
    for a, b in itertools.combinations_with_replacement(active, 2):
        second = _difference(_difference(v, a + 2), b + 2) / (size[a] * size[b])
        total = total + (1 if a == b else 2) * unit * second.square().sum()
    return total / _voxels(v)


@accumulates_wide
def displacement_magnitude(displacement_vox: Tensor, spacing: Sequence[float] | None = None, weight: Tensor | None = None) -> Tensor:
    """Return the mean over voxels of |u|^2 in mm^2.

    Parameters
    ----------
    displacement_vox : (n, d, *spatial) tensor
        Displacement in voxels.
    spacing : d numbers, optional
        Voxel sizes along the axes.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.

    References
    ----------
    Klein et al. 2010 (elastix, its DisplacementMagnitudePenalty), doi 10.1109/TMI.2009.2035616.
    """
    size = sizes(spacing, check_field(displacement_vox))
    return weighted_mean(in_units(displacement_vox, size).square(), weight).mean()


@accumulates_wide
def inverse_consistency(
    forward_vox: Tensor, backward_vox: Tensor, spacing: Sequence[float] | None = None, weight: Tensor | None = None
) -> Tensor:
    """Return the mean squared distance (mm^2) of points that went there and back from where they were, of both orders.

    L = 1/2 mean |f(x) + b(x + f(x))|^2 + 1/2 mean |b(x) + f(x + b(x))|^2; beyond the lattice a field is continued by its rim.

    Parameters
    ----------
    forward_vox, backward_vox : (n, d, *spatial) tensors
        Displacements on one lattice, fixed to moving and moving to fixed, in voxels.
    spacing : d numbers, optional
        Voxel sizes along the axes.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.

    References
    ----------
    Christensen and Johnson 2001, doi 10.1109/42.932742.
    """
    size = sizes(spacing, check_field(forward_vox))
    misses = (compose(backward_vox, forward_vox), compose(forward_vox, backward_vox))
    first, second = (weighted_mean(in_units(miss, size).square(), weight).mean() for miss in misses)
    return 0.5 * (first + second)


def digital_determinants(displacement_vox: Tensor) -> Tensor:
    """Return the ten (2-D: four) determinants of the digital test at each voxel, each 1 for the identity: (n, 10 or 4, *spatial).

    One fold is one of them at 0 or below. Beyond the rim the displacement is continued by its rim value, as in `space.jacobian`.

    References
    ----------
    Liu et al. 2024, doi 10.1007/s11263-024-02047-1.
    """
    dimensions = check_field(displacement_vox)
    padded = F.pad(displacement_vox, [1] * 2 * dimensions, mode="replicate")
    axes = tuple(range(dimensions))
    edges: dict[tuple[int, ...], Tensor] = {}

    def edge(offset: np.ndarray) -> Tensor:
        """Edge vector from a voxel to its neighbor, after the map."""
        key = tuple(int(step) for step in offset[:dimensions])
        if key not in edges:
            there = padded
            for axis, step in enumerate(key):
                there = there.narrow(axis + 2, 1 + step, displacement_vox.shape[axis + 2])
            straight = torch.tensor(key, dtype=there.dtype, device=there.device).view(1, -1, *[1] * dimensions)
            edges[key] = there - displacement_vox + straight
        return edges[key]

    found = []
    for corner in corner_offsets(axes):
        identity = float(np.linalg.det(corner[:, :dimensions].astype(float)))
        found.append(_determinant([edge(offset) for offset in corner]) / identity)
    return torch.stack(found, dim=1)


def _determinant(rows: list[Tensor]) -> Tensor:
    """Return the determinants of matrices whose rows are the vectors (n, d, *spatial)."""
    a, b = rows[:2]
    if len(rows) == 2:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    triple: Tensor = (a * torch.linalg.cross(b, rows[2], dim=1)).sum(dim=1)
    return triple


@accumulates_wide
def folding_barrier(
    displacement_vox: Tensor, spacing: Sequence[float] | None = None, weight: Tensor | None = None, margin: float = FOLD_MARGIN
) -> Tensor:
    """Return the mean over voxels and determinants of max(0, margin - J)^2; 0 where no determinant of the digital test is below the margin.

    Parameters
    ----------
    displacement_vox : (n, d, *spatial) tensor
        Displacement in voxels.
    spacing : d numbers, optional
        Without effect, because determinants have no unit; here so that all field losses are called alike.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    margin : float
        Smallest determinant that is let be (identity: 1).

    References
    ----------
    Liu et al. 2024, doi 10.1007/s11263-024-02047-1 (the determinants).
    """
    determinants = digital_determinants(displacement_vox)
    return weighted_mean((margin - determinants).clamp_min(0).square(), weight).mean() / determinants.shape[1]
