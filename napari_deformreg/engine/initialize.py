"""The training-free coarse search for motion that is too large for a gradient to find.

Over a few levels, coarse to fine, the moving image is warped by what is known so far, both images are described by MIND-SSC, every
displacement of a small set of labels is tried at every control point, and the best labels that agree with their neighbors make an update
of a stationary velocity. Searching from both sides and keeping what the two searches have in common makes the update invertible.

References
----------
Siebert, Hansen, Heinrich: Fast 3D registration with accurate optimisation and little learning for Learn2Reg 2021 (ConvexAdam),
doi 10.1007/978-3-030-97281-3_25: coupled convex steps on a cost volume, symmetric fields.
Heinrich, Papież, Schnabel, Handels: Non-parametric discrete registration with convex optimisation, WBIR 2014,
doi 10.1007/978-3-319-08554-8_6.
Zhang et al.: VoxelOpt, MICCAI 2025: few labels at many levels instead of many labels at one.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..result import Control, Step
from ..settings import Settings
from ..space import Grid
from ..space.jacobian import digital_fold_mask
from .features import mind_ssc
from .kernels import search_cpu, search_reference
from .pyramid import at_grid
from .sampling import box_sum, compose, integrate, resize_field, smooth, warp, zero_field
from .tensors import Placed, to_array

LATTICES = {2: (24, 48, 96, 192), 3: (24, 48, 96, 96)}
"""Voxels along the longest axis of the levels' lattices, by the image's dimensions. A second pass over the finest lattice of a volume gains
more than a finer one would (brain Dice .675 to .690), in the same time."""

BLOCKS = (1, 2, 2, 2)
"""Voxels of each level from one control point to the next."""

FINE_REACH = 2
"""Voxels that the labels of a level reach (the coarsest level reaches farther where more is asked for)."""

DILATION_VOX = 1
"""Distance of the descriptor's neighbors: the closest describe best where edges of two contrasts lie side by side."""

COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Growing pull of the chosen labels towards the smoothed field, per squared voxel (ConvexAdam's; its costs are of the same size)."""

STAY = 0.03
"""Pull of the first choice of labels towards staying, per squared voxel: where all labels cost the same nothing moves."""

SYMMETRY_STEPS = 10
"""Each step halves what the two directions disagree about."""

ROUGHNESS_WEIGHT = 0.8
"""What a mean squared displacement gradient of 1 costs, in units of the feature distance at the start. Between unlike images a search
finds accidental matches: it gained 0.2 at a roughness of 1 and more on ultrasound and MR, but 0.1 to 0.5 at 0.05 to 0.3 on pairs that
match (brains, livers, lungs)."""

SMOOTHINGS_VOX = (0.0, 0.8, 1.6, 3.2, 6.4)
"""Standard deviations, in control voxels, with which an update that does not pay is smoothed before it is given up."""

LARGEST_REACH = 5
"""Voxels of the coarsest lattice that a label reaches at most, a fifth of the image: 500 labels, a cost volume of about 30 MB."""


@dataclass(frozen=True)
class SearchLevel:
    """One level of the search.

    Attributes
    ----------
    grid : Grid
        Lattice of the features; each axis has block m + 1 voxels or one.
    labels : (n, 3) integer array
        Displacements that are tried, in voxels of `grid`.
    block : int
        Voxels from one control point to the next.
    """

    grid: Grid
    labels: Int[np.ndarray, "n 3"]
    block: int

    @property
    def control_grid(self) -> Grid:
        """Lattice of the control points; its corners are those of `grid`."""
        return self.grid.resized(_shape(tuple((n - 1) // self.block + 1 for n in self.grid.shape)))

    @property
    def unit(self) -> Float[np.ndarray, "3"]:
        """Length of a voxel along each axis, relative to the shortest."""
        spacing = self.grid.spacing[np.array(self.grid.shape) > 1]
        return np.asarray(self.grid.spacing / spacing.min())


def _shape(numbers: tuple[int, ...]) -> tuple[int, int, int]:
    return numbers[0], numbers[1], numbers[2]


def _lattice(grid: Grid, spacing_mm: float, block: int) -> Grid:
    """Return a lattice of about this spacing whose axes have block m + 1 voxels, never finer than the image."""
    shape = []
    for n, spacing in zip(grid.shape, grid.spacing, strict=True):
        intervals = (n - 1) * spacing / max(spacing_mm, spacing) / block
        shape.append(1 if n == 1 else block * max(round(intervals), 1) + 1)
    return grid.resized(_shape(tuple(shape)))


def _labels(grid: Grid, reach_mm: float) -> Int[np.ndarray, "n 3"]:
    """Return the displacements within an ellipsoid of this reach, in voxels; along each axis at least one voxel."""
    radius = [max(1, math.floor(reach_mm / spacing + 0.5)) if n > 1 else 0 for n, spacing in zip(grid.shape, grid.spacing, strict=True)]
    axes = [np.arange(-r, r + 1) for r in radius]
    labels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    distance = ((labels / (np.array(radius) + 0.5)) ** 2).sum(axis=1)
    # The first of two equal costs wins: nearest first, so that nothing moves without a reason.
    order = np.argsort(distance, kind="stable")
    return np.asarray(labels[order][distance[order] <= 1])


def search_levels(grid: Grid, reach_mm: float) -> list[SearchLevel]:
    """Choose lattices and labels so that all levels together reach `reach_mm`."""
    extent = max((n - 1) * spacing for n, spacing in zip(grid.shape, grid.spacing, strict=True))
    spacings = [extent / size for size in LATTICES[2 if grid.is_2d else 3]]
    finer = sum(FINE_REACH * spacing for spacing in set(spacings[1:]))  # a second pass over a lattice corrects, it need not reach
    reaches = [FINE_REACH * spacing for spacing in spacings]
    reaches[0] = min(max(reaches[0], reach_mm - finer), LARGEST_REACH * spacings[0])
    levels = []
    for spacing, reach, block in zip(spacings, reaches, BLOCKS, strict=True):
        lattice = _lattice(grid, spacing, block)
        levels.append(SearchLevel(lattice, _labels(lattice, reach), block))
    return levels


def _matching_cost(fixed: Placed, moving: Placed, level: SearchLevel) -> Float[Tensor, "1 n a b c"]:
    """Return the mean squared feature difference of each label around each control point."""
    assert fixed.weight is not None
    assert moving.weight is not None
    if fixed.device.type == "cpu":
        parts = [part[0].numpy() for part in (fixed.data, moving.data, fixed.weight, moving.weight)]
        arrays = search_cpu.matching_cost(parts[0], parts[1], parts[2][0], parts[3][0], level.labels, level.block)
        cost, known = torch.from_numpy(arrays[0])[None], torch.from_numpy(arrays[1])[None]
    else:
        cost, known = search_reference.matching_cost(fixed.data, moving.data, fixed.weight, moving.weight, level.labels, level.block)
    for _ in range(2):
        cost, known = box_sum(cost, 1), box_sum(known, 1)
    # Labels that leave the field of view know little; they are drawn to the mean cost, which favors nothing.
    mean = cost.sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp_min(1e-6)
    prior = 0.1 * known.amax().clamp_min(1e-6)
    return (cost + prior * mean) / (known + prior)


def _coupled_minimum(cost: Tensor, level: SearchLevel, flow: Tensor, coupling: float) -> Tensor:
    if cost.device.type == "cpu":
        field = search_cpu.coupled_minimum(cost[0].numpy(), level.labels, flow[0].numpy(), coupling, level.unit)
        return torch.from_numpy(field)[None]
    return search_reference.coupled_minimum(cost, level.labels, flow, coupling, level.unit)


def _average(field: Tensor) -> Tensor:
    """Smooth by the mean over 3 voxels an axis, the rim repeated."""
    return smooth(field, (0.8, 0.8, 0.8))


def _one_way(fixed: Placed, moving: Placed, level: SearchLevel) -> Float[Tensor, "1 3 a b c"]:
    """Search from fixed to moving; returns a displacement in voxels of the control lattice."""
    cost = _matching_cost(fixed, moving, level)
    flow = torch.zeros((1, 3, *cost.shape[2:]), device=cost.device)
    flow = _average(_coupled_minimum(cost, level, flow, STAY))
    for coupling in COUPLINGS:
        flow = _average(_coupled_minimum(cost, level, flow, coupling))
    return flow / level.block


def _both_ways(fixed: Placed, moving: Placed, level: SearchLevel) -> Float[Tensor, "1 3 a b c"]:
    """Search from both sides and return the displacement that both agree on."""
    there, back = _one_way(fixed, moving, level), _one_way(moving, fixed, level)
    for _ in range(SYMMETRY_STEPS):
        there, back = 0.5 * (there - (compose(back, there) - there)), 0.5 * (back - (compose(there, back) - back))
    return there


def _updated(velocity: Tensor, update: Tensor) -> Tensor:
    """Return the velocity whose integral is closest to exp(velocity) after the displacement `update`."""
    target = compose(integrate(velocity), update)
    velocity = velocity + update
    for _ in range(3):
        velocity = velocity + _average(compose(integrate(velocity, -1.0), target))
    return velocity


def _has_folds(velocity: Tensor) -> bool:
    """Whether the integral has a digital fold on its lattice, or nearly so."""
    return bool(digital_fold_mask(to_array(integrate(velocity)), 0.05).any())


def unfolded(velocity: Float[Tensor, "1 3 i j k"]) -> Tensor | None:
    """Return a velocity as smooth as it must be not to fold on its lattice, or None if no smoothing helps."""
    for sigma in SMOOTHINGS_VOX:
        smoothed = smooth(velocity, (sigma, sigma, sigma))
        if not _has_folds(smoothed):
            return smoothed
    return None


def _roughness(velocity: Tensor, grid: Grid) -> float:
    """Return the mean squared norm of the gradient of the displacement exp(v), mm per mm."""
    spacing = torch.tensor(grid.spacing, dtype=velocity.dtype, device=velocity.device).view(1, 3, 1, 1, 1)
    displacement_mm = integrate(velocity) * spacing
    axes = [axis for axis in range(3) if grid.shape[axis] > 1]
    slopes = [displacement_mm.diff(dim=2 + axis) / float(grid.spacing[axis]) for axis in axes]
    return sum(float(slope.square().sum(dim=1).mean()) for slope in slopes)


def _described(image: Placed) -> Placed:
    weight = torch.ones_like(image.data) if image.weight is None else image.weight
    return Placed(mind_ssc(image.data, dilation=DILATION_VOX), image.grid, weight)


def _moved(moving: Placed, velocity: Tensor) -> Placed:
    """Warp an image by the integral of a velocity on any lattice with the same corners."""
    field = resize_field(integrate(velocity), moving.grid.shape)
    data, _, inside = warp(moving.data, field, np.eye(4))
    if moving.weight is not None:
        inside = inside * warp(moving.weight, field, np.eye(4))[0]
    return Placed(data, moving.grid, inside)


def _distance(fixed: Placed, moved: Placed) -> float:
    """Return the mean squared difference of features where both are known."""
    assert fixed.weight is not None
    assert moved.weight is not None
    weight = fixed.weight * moved.weight
    difference = (fixed.data - moved.data).square().sum(dim=1, keepdim=True)
    return float((weight * difference).sum() / weight.sum().clamp_min(1e-6))


@dataclass(frozen=True, eq=False)
class _Judge:
    """Decides on the finest lattice whether a velocity pays: feature distance, relative to the start, plus roughness."""

    fixed: Placed
    moving: Placed
    start: float

    @classmethod
    def of(cls, fixed: Placed, moving: Placed, zero: Tensor) -> _Judge:
        described = _described(fixed)
        return cls(described, moving, max(_distance(described, _described(_moved(moving, zero))), 1e-6))

    def energy(self, velocity: Tensor, grid: Grid) -> float:
        """Return 1 for no motion (0 between identical images); less for one that pays."""
        distance = _distance(self.fixed, _described(_moved(self.moving, velocity)))
        return distance / self.start + ROUGHNESS_WEIGHT * _roughness(velocity, grid)

    def better(self, best: Tensor, lowest: float, candidate: Tensor, grid: Grid) -> tuple[Tensor, float]:
        """Return the candidate, as smooth as it must be to pay and not to fold, and its energy; else what was best before."""
        for sigma in SMOOTHINGS_VOX:
            smoothed = smooth(candidate, (sigma, sigma, sigma))
            if _has_folds(smoothed):
                continue
            energy = self.energy(smoothed, grid)
            if energy < lowest:
                return smoothed, energy
        return best, lowest


def coarse_search_steps(
    fixed: Placed, moving: Placed, settings: Settings, *, reach_mm: float
) -> Generator[Step, Control | None, Float[Tensor, "1 3 i j k"]]:
    """Search for a stationary velocity v such that moving(exp(v)(x)) looks like fixed(x).

    Parameters
    ----------
    fixed, moving : Placed
        Single-channel images of about [0, 1] on one and the same lattice (the moving one already pulled through the affine); weights mark
        masks and the field of view.
    settings : Settings
        The run's settings.
    reach_mm : float
        Largest motion looked for, in mm.

    Yields
    ------
    Step
        One a level; its loss is the feature distance, relative to the start, plus roughness.

    Returns
    -------
    velocity : (1, 3, i, j, k) tensor
        In voxels of `fixed.grid`; zero where the search found nothing better.
    """
    levels = search_levels(fixed.grid, reach_mm)
    images = [(at_grid(fixed, levels[-1].grid), at_grid(moving, levels[-1].grid))]
    for level in reversed(levels[:-1]):
        images.insert(0, (at_grid(images[0][0], level.grid), at_grid(images[0][1], level.grid)))
    judge = _Judge.of(images[-1][0], images[-1][1], zero_field(levels[-1].control_grid, fixed.device))
    best = zero_field(levels[0].control_grid, fixed.device)
    lowest = judge.energy(best, levels[0].control_grid)
    for number, (level, (fixed_image, moving_image)) in enumerate(zip(levels, images, strict=True)):
        best = resize_field(best, level.control_grid.shape)
        update = _both_ways(_described(fixed_image), _described(_moved(moving_image, best)), level)
        best, lowest = judge.better(best, lowest, _updated(best, update), level.control_grid)
        sent = yield Step("search", number, len(levels), 1, 1, loss=lowest, message="Looking for large motion")
        if sent is Control.FINISH_NOW:
            break
    return resize_field(best, fixed.grid.shape)
