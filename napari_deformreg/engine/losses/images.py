"""How unlike the moved image is to the fixed one; lower is better. Images are (n, c, *spatial) with intensities in about [0, 1]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..kernels import cpu, reference
from .common import accumulates_wide, check_pair, weighted_mean

LNCC_RADIUS_VOX = 3
"""Windows of seven voxels an axis."""

LNCC_EPSILON = 2e-4
"""Variance added to both windows' variances, for intensities in [0, 1]: a standard deviation of 0.014, about the noise of a flat
background, which therefore does not correlate, and well below the contrast of tissues (0.1 and more)."""

SMALLEST_VARIANCE = 1e-6
"""Keeps a constant image from being divided by zero."""


class _BoxSum(torch.autograd.Function):
    """Sums over windows, zero outside; its own transpose, hence its own derivative."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        if data.device.type == "cpu" and data.dtype == torch.float32:
            return torch.from_numpy(cpu.box_sum(data.detach().contiguous().numpy(), radius))
        return reference.box_sum(data[None], radius)[0]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _BoxSum.apply(slopes[0], ctx.radius), None  # type: ignore[no-untyped-call]


def box_sum(data: Tensor, radius: int) -> Tensor:
    """Sum (n, c, i, j) or (n, c, i, j, k) over windows of 2 radius + 1 voxels along each axis, zero outside."""
    spatial = data.shape[2:]
    flat = data.reshape(-1, *(spatial if len(spatial) == 3 else (1, *spatial)))
    summed: Tensor = _BoxSum.apply(flat, radius)  # type: ignore[no-untyped-call]
    return summed.view(data.shape)


@accumulates_wide
def lncc(
    fixed: Tensor, moved: Tensor, weight: Tensor | None = None, radius_vox: int = LNCC_RADIUS_VOX, epsilon: float = LNCC_EPSILON
) -> Tensor:
    """Return minus the mean squared correlation of the windows around each voxel; -1 for identical images with structure everywhere.

    L = -sum w c^2 / (v_f v_m) / sum w, with c, v_f and v_m a window's covariance and variances (each variance plus epsilon times the
    window's voxels). A window counts the voxels it has inside the image; one may reach beyond the weight, its center decides.

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        Channels count alike.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    radius_vox : int
        The windows have 2 radius + 1 voxels an axis.
    epsilon : float
        Variance below which a window hardly counts.

    References
    ----------
    Avants et al. 2008, doi 10.1016/j.media.2007.06.004, equation 5.
    """
    check_pair(fixed, moved, weight)
    count = box_sum(torch.ones_like(fixed[:1, :1]), radius_vox)
    # The fixed image's sums by themselves: where it needs no gradient, theirs are not summed back.
    sf, sff = box_sum(torch.cat([fixed, fixed * fixed], dim=1), radius_vox).chunk(2, dim=1)
    sm, smm, sfm = box_sum(torch.cat([moved, moved * moved, fixed * moved], dim=1), radius_vox).chunk(3, dim=1)
    covariance = sfm - sf * sm / count
    fixed_variance = (sff - sf * sf / count).clamp_min(0) + epsilon * count
    moved_variance = (smm - sm * sm / count).clamp_min(0) + epsilon * count
    squared = covariance.square() / (fixed_variance * moved_variance)
    return -(weighted_mean(squared, weight) / fixed.shape[1]).mean()


@accumulates_wide
def ncc(fixed: Tensor, moved: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return minus Pearson's correlation over all voxels, -cov(f, m) / sqrt(var(f) var(m)): -1 to 1.

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        Each channel is correlated by itself; they count alike.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.

    References
    ----------
    Hill et al. 2001, doi 10.1088/0031-9155/46/3/201.
    """
    check_pair(fixed, moved, weight)
    f, m = (_centered(image, weight) for image in (fixed, moved))
    parts = torch.stack([f * m, f * f, m * m], dim=2).flatten(1, 2)
    covariance, fixed_variance, moved_variance = _channel_means(parts, weight).view(len(f), -1, 3).unbind(dim=-1)
    return -(covariance / ((fixed_variance + SMALLEST_VARIANCE) * (moved_variance + SMALLEST_VARIANCE)).sqrt()).mean()


@accumulates_wide
def mse(fixed: Tensor, moved: Tensor, weight: Tensor | None = None, normalize: bool = False) -> Tensor:
    """Return the mean squared difference, sum w (f - m)^2 / sum w, over all channels.

    Parameters
    ----------
    fixed, moved : (n, c, *spatial) tensors
        Images or features.
    weight : (n, 1, *spatial) tensor, optional
        How much each voxel counts.
    normalize : bool
        Whether to divide by the fixed image's (weighted) variance, as the optimizer does: unrelated images then come out near 2.

    References
    ----------
    Hill et al. 2001, doi 10.1088/0031-9155/46/3/201.
    """
    check_pair(fixed, moved, weight)
    value = _channel_means((fixed - moved).square(), weight)
    if normalize:
        value = value / _channel_means(_centered(fixed, weight).square(), weight).clamp_min(SMALLEST_VARIANCE)
    return value.mean()


def _channel_means(values: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted mean over the voxels of each channel, (n, c)."""
    n, c = values.shape[:2]
    repeated = None if weight is None else weight.expand(n, *weight.shape[1:]).repeat_interleave(c, dim=0)
    return weighted_mean(values.reshape(n * c, 1, *values.shape[2:]), repeated).view(n, c)


def _centered(image: Tensor, weight: Tensor | None) -> Tensor:
    return image - _channel_means(image, weight).view(*image.shape[:2], *[1] * (image.dim() - 2))
