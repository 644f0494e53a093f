"""What a displacement or velocity field should not be: rough, long, folded. Fields are (n, d, *spatial) in voxels of their own lattice."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .common import accumulates_wide, check_field, in_units, sizes


def difference(values: Tensor, axis: int) -> Tensor:
    """Forward differences along a tensor axis; one entry shorter."""
    n = values.shape[axis]
    return values.narrow(axis, 1, n - 1) - values.narrow(axis, 0, n - 1)


def _voxels(vectors: Tensor) -> int:
    """Over what sums of a batch are divided to give its mean of means over voxels."""
    return vectors.numel() // vectors.shape[1]


@accumulates_wide
def diffusion_l2(velocity_vox: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Return the mean over voxels of |grad v|^2 (forward differences), unit-free: mm per mm.

    Parameters
    ----------
    velocity_vox : (n, d, *spatial) tensor
        Velocity or displacement in voxels.
    spacing : d numbers, optional
        Voxel sizes along the axes; 1 where none are given. Only their ratios matter.

    References
    ----------
    Horn and Schunck 1981, doi 10.1016/0004-3702(81)90024-2; Fischer and Modersitzki 2002, doi 10.1023/A:1015225119438.
    """
    size = sizes(spacing, check_field(velocity_vox))
    v = in_units(velocity_vox, size)
    total = v.new_zeros(())
    for axis, step in enumerate(size):
        if v.shape[axis + 2] > 1:
            total = total + difference(v, axis + 2).square().sum() / step**2
    return total / _voxels(v)
