"""How alike two images are under a matrix, with the derivative and curvature by its twelve entries.

Matrices act between local frames: coordinates along an image's own axes, from an anchor in the image, in units of a common radius. World
origins therefore play no part, and all twelve entries have about the same weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..space import Grid
from .features import mind_ssc
from .kernels import affine_cpu
from .sampling import smooth, warp_affine
from .tensors import Placed

Measure = Literal["ncc", "nmi", "mind_ssc"]

OVERLAP_WANTED = 0.5
"""From this part of the smaller image upwards the overlap does not matter; below, the similarity is scaled down, so that a few voxels that
happen to agree cannot win."""

DESCRIPTOR_SMOOTHING_VOX = 0.7
"""Without it, positions between voxels look better (or worse) than those on voxels, and the true position is missed by a quarter voxel."""

NMI_BINS = 32
"""Bins of the joint histogram, the outer ones room for the Parzen window."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The local frames of two images.

    Attributes
    ----------
    fixed_to_world, moving_to_world : (4, 4) arrays
        From local coordinates to RAS+ mm; the columns are the unit vectors of the array axes times `radius_mm`.
    axes : tuple of int
        The array axes along which there is more than one voxel: all three, or the two in the plane of a slice.
    header : (4, 4) array
        From the fixed image's world to the moving one's, by the headers: the identity, or where each image has a world of its own, how
        the headers place these worlds to each other.
    """

    fixed_to_world: Float[np.ndarray, "4 4"]
    moving_to_world: Float[np.ndarray, "4 4"]
    radius_mm: float
    axes: tuple[int, ...]
    header: Float[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))

    def from_world(self, matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """Express a world-to-world matrix between the local frames."""
        return np.asarray(np.linalg.solve(self.moving_to_world, matrix @ self.fixed_to_world))

    def to_world(self, local: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """Express a matrix between the local frames as a world-to-world one."""
        return np.asarray(self.moving_to_world @ local @ np.linalg.inv(self.fixed_to_world))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images at one level, ready to be compared.

    Attributes
    ----------
    fixed, moving : (i, j, k, c) float32 arrays
        Intensities in [0, 1], or descriptors.
    fixed_weight, moving_weight : (i, j, k) float32 arrays
        How much each voxel counts; the moving one is None where all count.
    capacity : float
        The weighted volume of the smaller image, in fixed voxels.
    """

    fixed: Float[np.ndarray, "i j k c"]
    moving: Float[np.ndarray, "a b d c"]
    fixed_weight: Float[np.ndarray, "i j k"]
    moving_weight: Float[np.ndarray, "a b d"] | None
    local_of_fixed: Float[np.ndarray, "4 4"]
    moving_of_local: Float[np.ndarray, "4 4"]
    capacity: float
    measure: Measure
    bins: np.ndarray
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class Score:
    """How alike the images are under one matrix (higher is more alike), and how that changes with its entries.

    Attributes
    ----------
    value : float
        Correlation (-1 to 1) or normalized mutual information - 1 (0 to 1), scaled down where the overlap is small.
    overlap : float
        Common part of the smaller image, 0 to 1.
    gradient, curvature : (12,) and (12, 12) arrays
        By the entries of the matrix's first three rows; the curvature is a positive (Gauss-Newton) one.
    """

    value: float
    overlap: float
    gradient: Float[np.ndarray, "12"]
    curvature: Float[np.ndarray, "12 12"]


def pair_of(fixed: Placed, moving: Placed, frames: Frames, measure: Measure, turn: Float[np.ndarray, "3 3"] | None = None) -> Pair:
    """Bring two images of one level to the form the kernels want.

    Descriptors depend on the directions and the spacing of the voxels they are taken from. With `turn`, the linear part of a matrix between
    the local frames, the moving image is first resampled so that its voxels lie as the fixed ones will.
    """
    volume = float(np.prod(moving.grid.spacing) / np.prod(fixed.grid.spacing))
    count = float(np.prod(moving.grid.shape)) if moving.weight is None else float(moving.weight.sum())
    fixed_weight = np.ones(fixed.grid.shape, np.float32) if fixed.weight is None else _array(fixed.weight)[..., 0]
    if measure == "mind_ssc" and turn is not None:
        moving = _turned(moving, fixed.grid, turn, frames.axes)
    images = [_array(_described(image, measure)) for image in (fixed, moving)]
    return Pair(
        fixed=images[0], moving=images[1], fixed_weight=np.ascontiguousarray(fixed_weight),
        moving_weight=None if moving.weight is None else np.ascontiguousarray(_array(moving.weight)[..., 0]),
        local_of_fixed=np.linalg.solve(frames.fixed_to_world, fixed.grid.affine),
        moving_of_local=moving.grid.world_to_voxel_matrix @ frames.moving_to_world,
        capacity=max(min(float(fixed_weight.sum()), count * volume), 1.0), measure=measure,
        bins=np.rint(2 + images[0][..., 0] * (NMI_BINS - 5)).astype(np.int32),
        spacing_mm=float(fixed.grid.spacing[list(frames.axes)].mean()),
    )  # fmt: skip


def _described(image: Placed, measure: Measure) -> Tensor:
    """Return intensities, or descriptors smoothed so that interpolating them between voxels does not change how strong they are."""
    if measure != "mind_ssc":
        return image.data.clamp(0, 1)
    return smooth(mind_ssc(image.data), (DESCRIPTOR_SMOOTHING_VOX, DESCRIPTOR_SMOOTHING_VOX, DESCRIPTOR_SMOOTHING_VOX))


def _turned(moving: Placed, fixed: Grid, turn: Float[np.ndarray, "3 3"], axes: tuple[int, ...]) -> Placed:
    """Resample the moving image on a lattice with the fixed spacing and the fixed axes as the matrix turns them."""
    left, _, right = np.linalg.svd(turn)
    turn = left @ right
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    scale = (moving.grid.spacing / fixed.spacing)[list(axes)]
    if angle < 3 and scale.min() > 0.8 and scale.max() < 1.25:
        return moving
    direction = moving.grid.direction @ turn
    spacing = np.where([n in axes for n in range(3)], fixed.spacing, moving.grid.spacing)
    corners = (moving.grid.corners() - moving.grid.center) @ np.linalg.inv(direction).T
    shape = [max(1, math.ceil(2 * float(corners[:, n].max()) / spacing[n] - 1e-3) + 1) if n in axes else 1 for n in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = moving.grid.center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    data, inside = warp_affine(Placed(moving.data, moving.grid), grid, np.eye(4))
    weight = inside if moving.weight is None else inside * warp_affine(Placed(moving.weight, moving.grid), grid, np.eye(4))[0]
    return Placed(data, grid, weight)


def similarity(pair: Pair, local: Float[np.ndarray, "4 4"], derivatives: bool = True) -> Score:
    """Compare the images under a matrix between their local frames."""
    matrix = (pair.moving_of_local @ local @ pair.local_of_fixed)[:3]
    compare = _normalized_mutual_information if pair.measure == "nmi" else _correlation
    value, weight, gradient, curvature = compare(pair, matrix, derivatives)
    overlap = weight / pair.capacity
    scale = min(1.0, overlap / OVERLAP_WANTED)
    # matrix = P local Q: the derivative by `local` is P^T G Q^T, and the curvature follows with the Kronecker product.
    chain = np.kron(pair.moving_of_local[:3, :3].T, pair.local_of_fixed)
    return Score(scale * value, overlap, scale * (chain @ gradient), scale * (chain @ curvature @ chain.T))


def _array(tensor: Float[Tensor, "1 c i j k"]) -> Float[np.ndarray, "i j k c"]:
    return np.ascontiguousarray(tensor[0].movedim(0, -1).cpu().numpy(), dtype=np.float32)


_Parts = tuple[float, float, np.ndarray, np.ndarray]


def _correlation(pair: Pair, matrix: Float[np.ndarray, "3 4"], derivatives: bool) -> _Parts:
    """Correlation over the overlap, all channels taken as one sample.

    With F and M brought to mean 0 and variance 1, correlation is 1 - E[(F - M)^2] / 2: its Gauss-Newton curvature is the covariance of
    dM, where the part of dM that only rescales M is taken out.
    """
    sums, gradient, curvature = affine_cpu.moments(
        pair.fixed, pair.fixed_weight, pair.moving, pair.moving_weight, matrix, derivatives
    )
    weight = float(sums[0])
    if weight <= 0:
        return 0.0, 0.0, np.zeros(12), np.zeros((12, 12))
    f, m, ff, fm, mm = sums[1:] / weight
    # Intensities span [0, 1]: a standard deviation of a thousandth is no structure.
    spread_f, spread_m = max(ff - f * f, 1e-6), max(mm - m * m, 1e-6)
    root = np.sqrt(spread_f * spread_m)
    value = (fm - f * m) / root
    plain, with_f, with_m = (gradient / weight).reshape(3, 12)
    covariance_f, covariance_m = with_f - f * plain, with_m - m * plain
    slope = covariance_f / root - value / spread_m * covariance_m
    spread = affine_cpu.curvature_matrix(curvature) / weight - np.outer(plain, plain) - np.outer(covariance_m, covariance_m) / spread_m
    return float(value), weight / pair.fixed.shape[-1], slope, spread / spread_m


def _normalized_mutual_information(pair: Pair, matrix: Float[np.ndarray, "3 4"], derivatives: bool) -> _Parts:
    """(H(F) + H(M)) / H(F, M) - 1 (Studholme et al. 1999, doi 10.1016/S0031-3203(98)00091-0).

    The curvature is the mean square of the samples' slopes, as the Fisher information of a likelihood; mutual information is one.
    """
    args = (pair.fixed_weight, pair.moving.reshape(pair.moving.shape[:3]), pair.moving_weight, matrix)
    counts = affine_cpu.histogram(pair.bins, *args, NMI_BINS)
    weight = float(counts.sum())
    if weight <= 0:
        return 0.0, 0.0, np.zeros(12), np.zeros((12, 12))
    joint = counts / weight
    log_joint, log_f, log_m = (np.log(np.maximum(p, 1e-12)) for p in (joint, joint.sum(1), joint.sum(0)))
    h_f, h_m = -(joint.sum(1) @ log_f), -(joint.sum(0) @ log_m)
    h_joint = max(float(-(joint * log_joint).sum()), 1e-6)
    ratio = float((h_f + h_m) / h_joint)
    if not derivatives:
        return ratio - 1, weight, np.zeros(12), np.zeros((12, 12))
    table = (ratio * (log_joint + 1) - (log_f[:, None] + 1) - (log_m[None] + 1)) / h_joint
    gradient, curvature = affine_cpu.table_derivative(pair.bins, *args, table)
    return ratio - 1, weight, gradient.ravel() / weight, affine_cpu.curvature_matrix(curvature) * (h_joint / weight)
