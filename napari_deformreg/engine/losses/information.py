"""Mutual information from one joint histogram with Parzen windows; no table of voxels by bins is ever made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..kernels.nmi_cpu import MARGIN
from .common import accumulates_wide, check_pair

NMI_BINS = 32
"""Bins of each image, the usual number (Viola and Wells; Mattes et al.)."""

_SMALLEST = 1e-12
"""Keeps the logarithm of an empty bin finite; times the bin's share it is 0."""


def _bin(values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Lower bin and share of the one above."""
    position = MARGIN + values.clamp(0, 1) * (bins - 2 * MARGIN - 1)
    low = position.detach().long().clamp_max(bins - 2 - MARGIN)
    return low, position - low


def _spline(x: Tensor) -> list[Tensor]:
    """Cubic B-spline weights of the bins low - 1 ... low + 2 at low + x."""
    y = 1 - x
    return [y**3 / 6, 2 / 3 - x**2 + x**3 / 2, 2 / 3 - y**2 + y**3 / 2, x**3 / 6]


def _spline_slope(x: Tensor) -> list[Tensor]:
    y = 1 - x
    return [-(y**2) / 2, -2 * x + 1.5 * x**2, 2 * y - 1.5 * y**2, x**2 / 2]


def _first_bin(a: Tensor, b: Tensor, bins: int) -> Tensor:
    """Flat index, in all histograms of the batch, of each voxel's lower bins."""
    return torch.arange(len(a), device=a.device).view(-1, 1) * bins * bins + a * bins + b


class _Histogram(torch.autograd.Function):
    """Counts voxels (n, voxels) into histograms; keeps the voxels only, not their shares of sixteen bins, for the way back."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moved: Tensor, weight: Tensor, bins: int) -> Tensor:
        ctx.save_for_backward(fixed, moved, weight)
        (a, x), (b, y) = _bin(fixed, bins), _bin(moved, bins)
        first = _first_bin(a, b, bins)
        table = torch.zeros(len(fixed) * bins * bins, dtype=torch.float64, device=fixed.device)
        for row, share in ((0, (1 - x) * weight), (bins, x * weight)):
            for step, spline in enumerate(_spline(y)):
                table.index_add_(0, (first + (row + step - 1)).flatten(), (share * spline).flatten().double())
        return table.view(-1, bins, bins)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        fixed, moved, weight = ctx.saved_tensors
        bins = slope.shape[-1]
        (a, x), (b, y) = _bin(fixed, bins), _bin(moved, bins)
        first, flat = _first_bin(a, b, bins), slope.to(x.dtype).flatten()
        by_fixed, by_moved = torch.zeros_like(x), torch.zeros_like(y)
        splines, spline_slopes = _spline(y), _spline_slope(y)
        for row, share, sign in ((0, 1 - x, -1), (bins, x, 1)):
            for step in range(4):
                here = flat[first + (row + step - 1)]
                if ctx.needs_input_grad[0]:
                    by_fixed.add_(splines[step] * here, alpha=sign)
                by_moved.add_(share * spline_slopes[step] * here)
        scale = weight * (bins - 2 * MARGIN - 1)
        fixed_inside, moved_inside = ((image >= 0) & (image <= 1) for image in (fixed, moved))
        return by_fixed * scale * fixed_inside, by_moved * scale * moved_inside, None, None


def joint_histogram(fixed: Tensor, moved: Tensor, weight: Tensor | None = None, bins: int = NMI_BINS) -> Tensor:
    """Return the weighted joint histograms (n, bins of fixed, bins of moved) in float64, not normalized; autograd can follow.

    Intensities in [0, 1]; beyond, they count at the end and have no derivative. A linear window for the fixed image, a cubic B-spline for
    the moved one. Channels are counted together.
    """
    w = torch.ones_like(fixed) if weight is None else weight.to(fixed).expand_as(fixed)
    table: Tensor = _Histogram.apply(fixed.flatten(1), moved.flatten(1), w.flatten(1), bins)  # type: ignore[no-untyped-call]
    return table


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(_SMALLEST).log()).sum(dim=-1)


def entropies(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entropies (n,) of the fixed image, of the moved one, and of both together, in nats; of an empty histogram 0."""
    total = table.sum(dim=(-2, -1), keepdim=True)
    joint = table / torch.where(total > 0, total, torch.ones_like(total))
    return _entropy(joint.sum(dim=-1)), _entropy(joint.sum(dim=-2)), _entropy(joint.flatten(-2))


def one_minus_normalized(table: Tensor) -> Tensor:
    """Return 1 - (H(F) + H(M)) / H(F, M) of joint histograms (n, bins, bins): (n,); 0 where they are empty."""
    fixed, moved, joint = entropies(table)
    known = joint > _SMALLEST
    return torch.where(known, 1 - (fixed + moved) / torch.where(known, joint, torch.ones_like(joint)), torch.zeros_like(joint))


@accumulates_wide
def nmi(fixed: Tensor, moved: Tensor, weight: Tensor | None = None, bins: int = NMI_BINS) -> Tensor:
    """Return 1 minus normalized mutual information, 1 - (H(F) + H(M)) / H(F, M): between -1 (same) and 0 (unrelated).

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        Intensities in [0, 1].
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    bins : int
        Bins of each image.

    References
    ----------
    Studholme et al. 1999, doi 10.1016/S0031-3203(98)00091-0, equation 8; Parzen windows as in Mattes et al. 2003,
    doi 10.1109/TMI.2003.809072.
    """
    check_pair(fixed, moved, weight)
    return one_minus_normalized(joint_histogram(fixed, moved, weight, bins)).mean().to(moved.dtype)


@accumulates_wide
def mutual_information(fixed: Tensor, moved: Tensor, weight: Tensor | None = None, bins: int = NMI_BINS) -> Tensor:
    """Return minus the mutual information in nats, H(F, M) - H(F) - H(M): between -log(bins) and 0 (unrelated).

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        Intensities in [0, 1].
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    bins : int
        Bins of each image.

    References
    ----------
    Mattes et al. 2003, doi 10.1109/TMI.2003.809072.
    """
    check_pair(fixed, moved, weight)
    first, second, both = entropies(joint_histogram(fixed, moved, weight, bins))
    return (both - first - second).mean().to(moved.dtype)
