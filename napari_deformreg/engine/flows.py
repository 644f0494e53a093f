"""Several stationary flows one after the other.

phi = exp(v_1) o exp(v_2) o ... : each flow after the first registers the moving image as the flows before it have carried it. The velocity
of one stationary flow is the same all along a path; composing flows lets it change on the way (a velocity that is piecewise constant in
time), which reaches deformations that no single one does, while each stays a diffeomorphism with its own inverse.

References
----------
Beg et al. 2005, doi 10.1023/B:VISI.0000043755.93987.aa: deformations as flows of a velocity that changes with time; Christensen et al.
1996, doi 10.1109/83.536892: going on from the carried image when one transform has come to its end.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..space import AffineTransform, DisplacementField, Grid, LabelMap, LandmarkPairs
from .prepare import PADDING_FRACTION, padded_grid, pulled
from .sampling import compose, integrate, resize_field
from .tensors import Placed, to_array


def flow_displacement(velocities: list[Tensor], shape: tuple[int, int, int], full: bool = True) -> Tensor:
    """Return the displacement of exp(v_1) o exp(v_2) o ... on a lattice of this shape, in its voxels; the last flow acts first.

    Each flow is integrated in full, on that lattice, or on its velocity's own and then brought to that lattice.
    """
    total = _integrated(velocities[0], shape, 1.0, full)
    for velocity in velocities[1:]:
        total = compose(total, _integrated(velocity, shape, 1.0, full))
    return total


def inverse_displacement(velocities: list[Tensor], shape: tuple[int, int, int], full: bool = True) -> Tensor:
    """Return the displacement of the inverse, ... o exp(-v_2) o exp(-v_1)."""
    total = _integrated(velocities[0], shape, -1.0, full)
    for velocity in velocities[1:]:
        total = compose(_integrated(velocity, shape, -1.0, full), total)
    return total


def _integrated(velocity: Tensor, shape: tuple[int, int, int], sign: float, full: bool) -> Tensor:
    if full:
        return integrate(resize_field(velocity, shape), sign)
    return resize_field(integrate(velocity, sign), shape)


def _carrying_lattice(grid: Grid) -> tuple[Grid, tuple[int, int, int]]:
    """Return the fixed grid with the padding that all levels will want (coarse ones round it up by a voxel of theirs), and the padding."""
    pads = [round(PADDING_FRACTION * n) + 4 if n > 1 else 0 for n in grid.shape]
    padding = (pads[0], pads[1], pads[2])
    return padded_grid(grid, padding), padding


def _beyond(displacement: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Continue a displacement past its rim, where it stays what it is at the rim."""
    i, j, k = padding
    return torch.nn.functional.pad(displacement, (k, k, j, j, i, i), mode="replicate")


def carried_image(moving: Placed, fixed: Grid, affine: AffineTransform, velocities: list[Tensor]) -> Placed:
    """Pull the moving image through the affine and the flows so far, onto the fixed grid and beyond its rim."""
    lattice, padding = _carrying_lattice(fixed)
    return pulled(moving, lattice, affine, _beyond(flow_displacement(velocities, fixed.shape), padding))


def carried_labels(moving: LabelMap, fixed: Grid, affine: AffineTransform, velocities: list[Tensor]) -> LabelMap:
    """Likewise for labels, nearest neighbor; 0 outside."""
    lattice, padding = _carrying_lattice(fixed)
    displacement = to_array(_beyond(flow_displacement(velocities, fixed.shape), padding)).reshape(-1, 3)
    at = np.indices(lattice.shape).reshape(3, -1).T + displacement
    voxels = np.rint(moving.grid.world_to_voxel(affine.map(lattice.voxel_to_world(at)))).astype(int)
    size = np.array(moving.grid.shape)
    inside = ((voxels >= 0) & (voxels < size)).all(axis=1)
    found = moving.data[tuple(np.clip(voxels, 0, size - 1).T)]
    return LabelMap(np.where(inside, found, 0).astype(moving.data.dtype).reshape(lattice.shape), lattice, moving.name, moving.label_names)


def carried_landmarks(pairs: LandmarkPairs, fixed: Grid, affine: AffineTransform, velocities: list[Tensor]) -> LandmarkPairs:
    """Carry the moving landmarks to where the carried image shows them (world mm of the fixed grid)."""
    millimeters = to_array(inverse_displacement(velocities, fixed.shape)) @ fixed.affine[:3, :3].T
    back = DisplacementField(fixed, np.ascontiguousarray(millimeters))
    return LandmarkPairs(pairs.names, pairs.fixed_points, back.map(affine.inverse().map(pairs.moving_points)))

