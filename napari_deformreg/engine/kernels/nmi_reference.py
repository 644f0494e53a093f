"""Plain-torch twin of the compiled joint histogram; never stores a table of voxels by bins."""

from __future__ import annotations

import torch
from torch import Tensor

from .nmi_cpu import MARGIN


def _bin(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    position = MARGIN + values.clamp(0, 1) * (bins - 2 * MARGIN - 1)
    low = position.long().clamp_max(bins - 2 - MARGIN)
    return low, position - low


def _spline(x: Tensor) -> list[Tensor]:
    y = 1 - x
    return [y**3 / 6, 2 / 3 - x**2 + x**3 / 2, 2 / 3 - y**2 + y**3 / 2, x**3 / 6]


def _spline_slope(x: Tensor) -> list[Tensor]:
    y = 1 - x
    return [-(y**2) / 2, -2 * x + 1.5 * x**2, 2 * y - 1.5 * y**2, x**2 / 2]


def joint_histogram(moved: Tensor, fixed: Tensor, weight: Tensor, bins: int) -> Tensor:
    """Twin of `nmi_cpu.joint_histogram` on (1, 1, i, j, k) tensors."""
    a, x = _bin(fixed.flatten(), bins)
    b, y = _bin(moved.flatten(), bins)
    table = torch.zeros(bins * bins, dtype=torch.float64, device=moved.device)
    w = weight.flatten()
    for row, share in ((a, (1 - x) * w), (a + 1, x * w)):
        for step, spline in enumerate(_spline(y)):
            table.index_add_(0, row * bins + b + (step - 1), (share * spline).double())
    return table.view(bins, bins)


def through_histogram(moved: Tensor, fixed: Tensor, weight: Tensor, slope: Tensor) -> Tensor:
    """Twin of `nmi_cpu.through_histogram` on (1, 1, i, j, k) tensors."""
    bins = len(slope)
    a, x = _bin(fixed.flatten(), bins)
    b, y = _bin(moved.flatten(), bins)
    table = slope.float().flatten()
    out = torch.zeros_like(x)
    for row, share in ((a, 1 - x), (a + 1, x)):
        for step, spline in enumerate(_spline_slope(y)):
            out += share * spline * table[row * bins + b + (step - 1)]
    out = out.view(moved.shape) * weight * (bins - 2 * MARGIN - 1)
    return torch.where((moved < 0) | (moved > 1), torch.zeros_like(out), out)
