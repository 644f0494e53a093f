"""One place solved again: a velocity within a window, driven by the images and by landmark pairs.

With phi the present map and psi = exp(W v), the new map is phi o psi: W is 0 beyond the radius, so psi is the identity there, and psi is a
diffeomorphism of the window onto itself. What is minimized is S(fixed, carried o psi) + R(u + W v) + lambda mean_n |psi(p_n) - s_n|^2, with
u the present displacement, carried the moving image as the present map shows it, and s_n the place that phi carries to the n-th moving
landmark. Steps alternate between two blocks of the unknowns: the images' (`LevelOptimizer`, its force smoothed and scaled) and the
landmarks' (a spline through what is missing, which moves a landmark's surroundings with it, where the derivative of the distance alone
would only prick one voxel).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...settings import Settings
from ...space import Box, Grid
from ...space.box import distance_mm
from ..kernels import cpu
from ..optimize import LevelOptimizer, Term
from ..prepare import LevelPair
from ..pyramid import at_grid, level_grid
from ..sampling import integrate, resize, resize_field
from ..tensors import Placed
from .fields import composed
from .window import LEAST_WINDOW, SPLINE_REACHES, Spline, window_of

MOST_VOXELS = 250_000
"""Voxels at most on which the images are compared: a ball of 25 mm in a 1 mm image has 140 000 in its box, within half a second."""

COARSE_SHARE = 0.5
"""Part of the steps that is taken on the coarse level, at twice the spacing."""

VELOCITY_SPACING = 2.0
"""Spacing of the velocity's lattice in units of the images': it is smooth, and composing it costs more than all else."""

POINT_LOSS = 0.02
"""Weight of a squared voxel of landmark distance where image and points count the same: local correlations differ by some hundredths."""

HIT_MM = 0.02
"""A landmark that is missed by less is hit."""

SPLINE_PASSES = 4
"""How often the spline takes up what is missing; a velocity's end is not quite where it points, each pass leaves a tenth."""


Change = Callable[[float], tuple[Float[np.ndarray, "3 i j k"], Float[np.ndarray, "3 i j k"]]]
"""Part of a change -> the displacement after it, and that of the inverse of the flow that it amounts to; both on the box's voxels."""


@dataclass(frozen=True, eq=False)
class Pulls:
    """Landmarks that take part: where they are in fixed space and where they should be carried to, before the present map.

    Attributes
    ----------
    points, targets : (n, 3) float array
        p_n and s_n, RAS+ mm of the fixed image.
    weights : (n,) float array
        How much each counts.
    """

    points: Float[np.ndarray, "n 3"]
    targets: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def none(cls) -> Pulls:
        """Return no landmarks."""
        return cls(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


@dataclass(frozen=True, eq=False)
class Place:
    """What is solved again: a box of the fixed grid, the window in it, and the landmarks that take part.

    Attributes
    ----------
    grid : Grid
        Of the box.
    window : (i, j, k) float32 array
        W at every voxel of the box.
    reach_mm : float
        About how far the window reaches; the splines' kernels are as wide.
    pulls : Pulls
        Those where the window is large enough.
    at_points : (n,) float array
        W there.
    """

    box: Box
    grid: Grid
    window: Float[np.ndarray, "i j k"]
    reach_mm: float
    pulls: Pulls
    at_points: Float[np.ndarray, "n"]

    @classmethod
    def ball(cls, box: Box, whole: Grid, centers: Float[np.ndarray, "n 3"], radius_mm: float, pulls: Pulls) -> Place:
        """Take what lies within a radius of any of some world points."""
        grid = box.grid(whole)
        apart = np.linalg.norm(pulls.points[:, None] - centers[None], axis=-1).min(axis=1) if len(pulls) else np.zeros(0)
        return cls._of(box, grid, window_of(distance_mm(grid, centers), radius_mm), radius_mm, pulls, window_of(apart, radius_mm))

    @classmethod
    def region(cls, box: Box, whole: Grid, window: Float[np.ndarray, "i j k"], reach_mm: float, pulls: Pulls) -> Place:
        """Take any window in a box."""
        grid = box.grid(whole)
        inside = grid.contains(pulls.points)
        nearest = np.clip(np.rint(grid.world_to_voxel(pulls.points)), 0, np.array(box.shape) - 1).astype(int)
        return cls._of(box, grid, window, reach_mm, pulls, np.where(inside, window[tuple(nearest.T)], 0.0))

    @classmethod
    def _of(
        cls, box: Box, grid: Grid, window: Float[np.ndarray, "i j k"], reach_mm: float, pulls: Pulls, at_points: Float[np.ndarray, "n"]
    ) -> Place:
        used = np.flatnonzero(at_points >= LEAST_WINDOW)
        kept = Pulls(pulls.points[used], pulls.targets[used], pulls.weights[used])
        return cls(box, grid, window, reach_mm, kept, np.asarray(at_points[used], dtype=np.float64))

    def missing_mm(self, grid: Grid, displacement_vox: Float[np.ndarray, "3 i j k"]) -> Float[np.ndarray, "n 3"]:
        """Return what each landmark still lacks to its target, world mm; the displacement lies on a lattice over the box."""
        voxels = grid.world_to_voxel(self.pulls.points)
        return np.asarray(self.pulls.targets - grid.voxel_to_world(voxels + _sampled(displacement_vox, voxels)))

    def holds(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Tell which world points lie between voxel centers of the box, where its displacement can be read."""
        return self.grid.contains(points, margin_vox=0.0)

    def landed(self, displacement_vox: Float[np.ndarray, "3 i j k"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry world points through a displacement on the box's voxels; where they land, in its voxels."""
        voxels = self.grid.world_to_voxel(points)
        return np.asarray(voxels + _sampled(displacement_vox, voxels))


@dataclass(frozen=True, eq=False)
class Lattice:
    """A lattice of a velocity over a place: the window on it, and the splines through the landmarks, their kernels so many radii wide."""

    place: Place
    grid: Grid
    window: Float[Tensor, "1 1 i j k"]
    spline: Spline | None
    reach: float

    @classmethod
    def over(cls, place: Place, grid: Grid, reach: float = SPLINE_REACHES[0]) -> Lattice:
        """Prepare one."""
        window = resize(torch.from_numpy(place.window)[None, None], grid.shape)
        spline = Spline.at(grid, place.pulls.points, place.at_points, reach * place.reach_mm) if len(place.pulls) else None
        return cls(place, grid, window, spline, reach)

    def pull(self, missing_mm: Float[np.ndarray, "n 3"], part: float) -> Tensor:
        """Return the change of the velocity (without the window) that takes up a part of what is missing."""
        assert self.spline is not None  # asked for only where there are landmarks
        vectors = missing_mm @ self.grid.world_to_voxel_matrix[:3, :3].T
        return torch.from_numpy(self.spline.through(part * vectors * self.place.pulls.weights[:, None]))[None]

    def flow(self, velocity: Tensor) -> Float[np.ndarray, "3 i j k"]:
        """Integrate a velocity (without the window) on this lattice; its displacement in voxels."""
        return np.ascontiguousarray(integrate(velocity * self.window)[0].numpy())

    def full_flow(self, velocity: Tensor, sign: float = 1.0) -> Float[np.ndarray, "3 i j k"]:
        """Integrate a velocity on the box's own voxels, under the window as it is there: exactly nothing moves beyond it."""
        full = resize_field(velocity, self.place.box.shape) * torch.from_numpy(self.place.window)[None, None]
        return np.ascontiguousarray(integrate(full, sign)[0].numpy())


def _sampled(field: Float[np.ndarray, "3 i j k"], voxels: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Interpolate a field at a few places, as all kernels do: linearly, its rim repeated."""
    at = np.ascontiguousarray(voxels.T.reshape(3, -1, 1, 1), dtype=np.float32)
    index = np.zeros_like(at)
    index[0, :, 0, 0] = np.arange(len(voxels))
    inner = at - index
    return np.asarray((cpu.compose(np.ascontiguousarray(field), inner) - inner)[:, :, 0, 0].T)


def spline_velocity(lattice: Lattice, start: Tensor | None = None, passes: int = SPLINE_PASSES) -> Tensor:
    """Return the velocity (without the window) whose flow carries each landmark to its target, by splines alone."""
    velocity = torch.zeros((1, 3, *lattice.grid.shape)) if start is None else start
    for _ in range(passes if lattice.spline is not None else 0):
        velocity = velocity + lattice.pull(lattice.place.missing_mm(lattice.grid, lattice.flow(velocity)), 1.0)
    return velocity


def hit_velocity(lattice: Lattice, velocity: Tensor) -> Tensor:
    """Take up what the landmarks still lack on the box's own voxels."""
    for _ in range(SPLINE_PASSES if lattice.spline is not None else 0):
        missing = lattice.place.missing_mm(lattice.place.grid, lattice.full_flow(velocity))
        if np.abs(missing).max() < HIT_MM:
            break
        velocity = velocity + lattice.pull(missing, 1.0)
    return velocity


def flowing(present: Float[np.ndarray, "3 i j k"], velocity: Tensor, lattice: Lattice) -> Change:
    """Return what parts of a velocity (without the window) make of the present displacement."""

    def change(part: float) -> tuple[np.ndarray, np.ndarray]:
        return composed(present, lattice.full_flow(part * velocity)), lattice.full_flow(part * velocity, -1.0)

    return change


def point_weight(points_weight: float) -> float:
    """Return the weight lambda of a squared voxel of distance, from 0 (trust the image) over `POINT_LOSS` (even) up to 100 times that."""
    return POINT_LOSS * min(points_weight / max(1 - points_weight, 1e-2), 100.0)


def pull_part(points_weight: float) -> float:
    """Return which part of what is missing the landmarks take up in each step: their block's step size."""
    return points_weight**2


def refined_velocity(
    fixed: Placed, carried: Placed, place: Place, grids: list[Grid], settings: Settings, points_weight: float, steps: int,
    present: Float[np.ndarray, "3 i j k"],
) -> tuple[Tensor, Lattice]:
    """Minimize over images and points, coarse to fine; the velocity (without the window) and its lattice.

    Parameters
    ----------
    fixed, carried : Placed
        The fixed image in the box and the moving one as the present map carries it there.
    grids : list of Grid, coarse to fine
        On which the images are compared, with the box's corners.
    present : (3, i, j, k) array
        The displacement by which `carried` is carried, in the box's voxels.
    """
    near = torch.from_numpy((place.window > 0).astype(np.float32))[None, None]
    inside = replace(fixed, weight=near if fixed.weight is None else near * fixed.weight)
    solved: tuple[Tensor, Lattice] | None = None
    for grid, count in zip(grids, _step_counts(steps, len(grids)), strict=True):
        lattice = Lattice.over(place, velocity_grid(grid), SPLINE_REACHES[0] if solved is None else solved[1].reach)
        pair = LevelPair(at_grid(inside, grid), at_grid(carried, grid), (0, 0, 0))
        there = resize_field(torch.from_numpy(present)[None], lattice.grid.shape)
        base = torch.zeros((1, 3, *lattice.grid.shape)) if solved is None else resize_field(solved[0], lattice.grid.shape)
        terms: list[tuple[float, Term]] = [(point_weight(points_weight), _distance_term(place, grid))] if len(place.pulls) else []
        optimizer = LevelOptimizer(pair, base, settings, terms, lattice.window, there)
        if solved is None and len(place.pulls):
            lattice, optimizer.velocity = _best_start(optimizer, lattice)
        solved = _one_level(optimizer, lattice, points_weight, count), lattice
    assert solved is not None  # there is at least one level
    return solved


def _best_start(optimizer: LevelOptimizer, lattice: Lattice) -> tuple[Lattice, Tensor]:
    """Choose by images and points how wide the splines are, and whether to start from them or from what is there."""
    place, grid = lattice.place, lattice.grid
    lattices = [lattice, *(Lattice.over(place, grid, reach) for reach in SPLINE_REACHES if reach != lattice.reach)]
    starts = [spline_velocity(one) for one in lattices]
    losses = [optimizer.evaluate(start)[0] for start in starts]
    best = int(np.argmin(losses))
    nothing = torch.zeros_like(starts[best])
    return lattices[best], nothing if optimizer.evaluate(nothing)[0] <= losses[best] else starts[best]


def _one_level(optimizer: LevelOptimizer, lattice: Lattice, points_weight: float, steps: int) -> Tensor:
    """Take the steps of one level."""
    for _ in range(steps):
        optimizer.step()
        if lattice.spline is not None and points_weight > 0:
            missing = lattice.place.missing_mm(lattice.grid, lattice.flow(optimizer.velocity))
            optimizer.velocity = optimizer.velocity + lattice.pull(missing, pull_part(points_weight))
    return optimizer.finish()


def _distance_term(place: Place, grid: Grid) -> Term:
    """Return the points' part of what is minimized, in squared voxels of the images; its block of unknowns is the splines'."""
    unit = float(np.exp(np.log(grid.spacing[np.array(grid.shape) > 1]).mean()))
    total = max(float(place.pulls.weights.sum()), 1e-9)

    def term(displacement: Tensor) -> tuple[float, Tensor]:
        missing = place.missing_mm(grid, np.ascontiguousarray(displacement[0].numpy())) / unit
        return float(place.pulls.weights @ np.square(missing).sum(axis=1)) / total, torch.zeros_like(displacement)

    return term


def _step_counts(steps: int, levels: int) -> list[int]:
    coarse = int(steps * COARSE_SHARE) // max(levels - 1, 1)
    return [coarse] * (levels - 1) + [steps - coarse * (levels - 1)]


def image_grids(box: Box, whole: Grid, levels: int = 2) -> list[Grid]:
    """Choose the grids on which the images are compared, coarse to fine, all with the box's corners."""
    grid = box.grid(whole)
    finest, spacing = grid, float(grid.spacing[np.array(grid.shape) > 1].min())
    while np.prod(finest.shape) > MOST_VOXELS:
        spacing *= 1.05
        finest = level_grid(grid, spacing)
    coarse = level_grid(grid, 2 * spacing)
    return [finest] if levels == 1 or min(n for n in coarse.shape if n > 1) < 8 else [coarse, finest]


def velocity_grid(grid: Grid) -> Grid:
    """Choose the velocity's lattice for a grid of the images."""
    spacing = VELOCITY_SPACING * float(grid.spacing[np.array(grid.shape) > 1].min())
    return level_grid(grid, spacing)
