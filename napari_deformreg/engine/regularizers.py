"""Smoothness terms of a velocity field, in mm, with their analytic gradients.

Each is a mean over voxels of a penalty on finite differences D v: value = mean rho(D v), gradient = D^T rho'(D v) / N.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..settings import RegularizerName
from ..space import Grid

Regularizer = Callable[[Float[Tensor, "1 3 i j k"], Grid], tuple[float, Tensor]]

_CORNER_MM = 1e-3
"""Where the absolute value is rounded off: far below any difference that matters (mm per mm)."""


def _difference(field: Tensor, axis: int) -> Tensor:
    """Forward differences along a tensor axis; one entry shorter."""
    n = field.shape[axis]
    return field.narrow(axis, 1, n - 1) - field.narrow(axis, 0, n - 1)


def _difference_adjoint(values: Tensor, axis: int) -> Tensor:
    """Transpose of `_difference`."""
    shape = list(values.shape)
    shape[axis] += 1
    out = values.new_zeros(shape)
    out.narrow(axis, 1, shape[axis] - 1).add_(values)
    out.narrow(axis, 0, shape[axis] - 1).sub_(values)
    return out


def _millimeters(grid: Grid, like: Tensor) -> Tensor:
    return torch.tensor(grid.spacing, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)


def _active_axes(grid: Grid, shortest: int) -> list[int]:
    return [a for a in range(3) if grid.shape[a] >= shortest]


def _no_regularizer(velocity: Tensor, grid: Grid) -> tuple[float, Tensor]:
    return 0.0, torch.zeros_like(velocity)


def diffusion_l2(velocity_vox: Float[Tensor, "1 3 i j k"], grid: Grid) -> tuple[float, Tensor]:
    """Mean of |grad v|^2, unit-free (mm per mm).

    References
    ----------
    Horn and Schunck 1981, doi 10.1016/0004-3702(81)90024-2; Fischer and Modersitzki 2002, doi 10.1023/A:1015225119438.
    """
    scale = _millimeters(grid, velocity_vox)
    v = velocity_vox * scale
    voxels = v[0, 0].numel()
    value, gradient = 0.0, torch.zeros_like(v)
    for axis in _active_axes(grid, 2):
        slope = _difference(v, axis + 2) / float(grid.spacing[axis])
        value += float(slope.square().sum()) / voxels
        gradient += _difference_adjoint(slope, axis + 2) * (2 / voxels / float(grid.spacing[axis]))
    return value, gradient * scale


def diffusion_l1(velocity_vox: Float[Tensor, "1 3 i j k"], grid: Grid) -> tuple[float, Tensor]:
    """Mean of |dv_a/dx_b| summed over a and b (rounded off at zero): lets motion change abruptly, as at sliding surfaces.

    References
    ----------
    Vishnevskiy et al. 2017, doi 10.1109/TMI.2016.2610583 (anisotropic total variation, equation 4).
    """
    scale = _millimeters(grid, velocity_vox)
    v = velocity_vox * scale
    voxels = v[0, 0].numel()
    value, gradient = 0.0, torch.zeros_like(v)
    for axis in _active_axes(grid, 2):
        slope = _difference(v, axis + 2) / float(grid.spacing[axis])
        length = (slope.square() + _CORNER_MM**2).sqrt()
        value += float((length - _CORNER_MM).sum()) / voxels
        gradient += _difference_adjoint(slope / length, axis + 2) / (voxels * float(grid.spacing[axis]))
    return value, gradient * scale


def bending(velocity_vox: Float[Tensor, "1 3 i j k"], grid: Grid) -> tuple[float, Tensor]:
    """Mean of the squared second derivatives (mixed ones twice) times the squared mean spacing, which makes it unit-free.

    References
    ----------
    Rueckert et al. 1999, doi 10.1109/42.796284, equation 4.
    """
    scale = _millimeters(grid, velocity_vox)
    v = velocity_vox * scale
    voxels = v[0, 0].numel()
    unit = float(grid.spacing.mean()) ** 2
    value, gradient = 0.0, torch.zeros_like(v)
    for a, b in itertools.combinations_with_replacement(_active_axes(grid, 3), 2):
        step = float(grid.spacing[a] * grid.spacing[b])
        times = (1 if a == b else 2) * unit
        second = _difference(_difference(v, a + 2), b + 2) / step
        value += times * float(second.square().sum()) / voxels
        gradient += _difference_adjoint(_difference_adjoint(second, b + 2), a + 2) * (2 * times / (voxels * step))
    return value, gradient * scale


REGULARIZERS: dict[RegularizerName, Regularizer] = {
    "none": _no_regularizer,
    "diffusion_l2": diffusion_l2,
    "diffusion_l1": diffusion_l1,
    "bending": bending,
}
"""Name in the settings -> (velocity in voxels, grid) -> value and derivative by the velocity in voxels."""

if set(REGULARIZERS) != set(get_args(RegularizerName)):  # a table and its Literal must not drift apart
    raise AssertionError("REGULARIZERS and RegularizerName must name the same terms.")
