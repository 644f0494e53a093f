"""The pairs: a head in 3-D, a slice in 2-D, and quick small ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ..space import AffineTransform, Grid, LabelMap, Landmarks, Transform, TransformChain, Volume
from .head import LABELS, Head
from .render import Anatomy, render, scanned
from .shapes import Triple
from .small import ORGANS, Egg
from .truth import posed, stretch_chain

Contrast = Literal["same", "different"]


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """Two images of one anatomy and the truth between them.

    Attributes
    ----------
    fixed, moving : Volume
        The two scans.
    fixed_labels, moving_labels : LabelMap
        The structures in each, on its own grid.
    fixed_landmarks, moving_landmarks : Landmarks
        The same places in each, RAS+ mm.
    fixed_to_moving, moving_to_fixed : TransformChain
        The true transforms; inverse to each other within 0.05 mm.
    other_moving : tuple of Volume
        The moving anatomy on the moving grid under further contrasts.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: LabelMap
    moving_labels: LabelMap
    fixed_landmarks: Landmarks
    moving_landmarks: Landmarks
    fixed_to_moving: TransformChain
    moving_to_fixed: TransformChain
    other_moving: tuple[Volume, ...] = ()


def head_pair(seed: int = 0, spacing_mm: float = 2.0) -> PhantomPair:
    """Make a whole head seen by two scanners: fixed and moving T1-like, and moving T2-like as `other_moving`.

    Moving lies nodded and turned, on an oblique grid with permuted axes and its own spacing, and is deformed by about as much as
    two people's brains differ (about 10 mm at most).
    """
    rng = np.random.default_rng(seed)
    head = Head.random(rng)
    shape = stretch_chain(rng, count=6, reach_mm=170, length_mm=26, amplitude_mm=4.5, table_mm=4.0)
    turn = Rotation.from_euler("xyz", [11.0, -4.0, 6.0], degrees=True).as_matrix() @ np.diag([1.04, 0.97, 1.02])
    pose = AffineTransform(_matrix(turn, [6.0, 14.0, -9.0]))
    finer = 2.0 / spacing_mm
    fixed_grid = _grid((96, 120, 104), np.diag([-2.0, 2.0, 2.0]) / finer, [0, -8, -8], finer)
    # Array axes to posterior, superior, right, tilted by some degrees: how a sagittal acquisition of a nodded head is stored.
    tilt = Rotation.from_euler("xyz", [7.0, 2.0, -3.0], degrees=True).as_matrix()
    axes = tilt @ np.array([[0, 0, 1.0], [-1, 0, 0], [0, 1, 0]]) * np.array([2.0, 2.0, 2.2]) / finer
    moving_grid = _grid((120, 108, 92), axes, pose.map(np.array([[0, -8.0, -9.0]]))[0], finer)
    return _pair(rng, head, LABELS, shape, pose, (fixed_grid, moving_grid), {"fixed": 0}, {"moving": 1, "moving_t2": 2}, 260.0)


def slice_pair(seed: int = 0) -> PhantomPair:
    """Make two axial slices through the ventricles at 1 mm, deformed and turned within their plane: a true 2-D pair."""
    rng = np.random.default_rng(seed + 1)
    head = Head.random(rng)
    shape = stretch_chain(rng, count=6, reach_mm=150, length_mm=18, amplitude_mm=4.0, table_mm=3.0, planar=True)
    turn = Rotation.from_euler("z", 9.0, degrees=True).as_matrix() @ np.diag([1.03, 0.97, 1.0])
    pose = AffineTransform(_matrix(turn, [7.0, -5.0, 0.0]))
    fixed_grid = _grid((192, 232, 1), np.diag([-1.0, 1.0, 1.0]), [0, -16, SLICE_HEIGHT_MM])
    moving_grid = _grid((208, 240, 1), np.eye(3), [7, -20, SLICE_HEIGHT_MM])
    return _pair(rng, head, LABELS, shape, pose, (fixed_grid, moving_grid), {"fixed": 0}, {"moving": 1}, 260.0)


def small_pair(
    shape: tuple[int, int, int] = (32, 32, 32), seed: int = 0, contrast: Contrast = "same", spacing_mm: float = 4.0
) -> PhantomPair:
    """Make a quick pair for tests: an egg with organs, deformed by about two voxels, turned by 5 degrees.

    Parameters
    ----------
    shape : tuple of int
        Voxels of both grids; a last axis of 1 makes a true 2-D pair.
    seed : int
        Same seed, same pair.
    contrast : {"same", "different"}
        Whether moving is T1-like like fixed, or T2-like.
    spacing_mm : float
        Edge of the cubic voxels.
    """
    rng = np.random.default_rng(seed)
    planar = shape[2] == 1
    radii = 0.4 * spacing_mm * np.array([shape[0], shape[1], min(shape[:2]) if planar else shape[2]])
    egg = Egg.random(rng, tuple(radii.tolist()))
    size = float(min(radii))
    warp = stretch_chain(
        rng, count=2 if planar else 3, reach_mm=3 * size, length_mm=size / 2, amplitude_mm=size / 8, table_mm=size / 12, planar=planar
    )
    pose = AffineTransform(_matrix(Rotation.from_euler("z", 5.0, degrees=True).as_matrix(), [size / 10, -size / 12, 0.0]))
    grids = _grid(shape, np.diag([-1.0, 1.0, 1.0]) * spacing_mm, [0, 0, 0]), _grid(shape, np.eye(3) * spacing_mm, [0, 0, 0])
    names = {1: "shell", 2: "core"} | dict(enumerate(ORGANS, start=3))
    return _pair(rng, egg, names, warp, pose, grids, {"fixed": 0}, {"moving": 1 if contrast == "same" else 2}, 4 * size)


SLICE_HEIGHT_MM = 6.0
"""Axial height of the 2-D pair: through the ventricles, the striatum and the thalamus."""


def _pair(
    rng: np.random.Generator,
    anatomy: Anatomy,
    label_names: dict[int, str],
    warp: tuple[TransformChain, TransformChain],
    pose: AffineTransform,
    grids: tuple[Grid, Grid],
    fixed_scans: dict[str, int],
    moving_scans: dict[str, int],
    shading_mm: float,
) -> PhantomPair:
    """Render both sides: the anatomy's own space is the moving one before its pose; fixed space reaches it through the deformation."""
    fixed_to_moving, moving_to_fixed = posed(*warp, pose)
    fixed = _side(rng, anatomy, grids[0], warp[0], fixed_scans, label_names, shading_mm)
    moving = _side(rng, anatomy, grids[1], pose.inverse(), moving_scans, label_names, shading_mm)
    names, places = _seen_landmarks(anatomy, grids[0])
    return PhantomPair(
        fixed[0][0], moving[0][0], fixed[1], moving[1],
        Landmarks(warp[1].map(places), names), Landmarks(pose.map(places), names),
        fixed_to_moving, moving_to_fixed, tuple(moving[0][1:]),
    )  # fmt: skip


def _seen_landmarks(anatomy: Anatomy, grid: Grid) -> tuple[tuple[str, ...], Float[np.ndarray, "n 3"]]:
    """Return the anatomy's landmarks; for a slice those near its plane, moved into it."""
    names, places = anatomy.landmarks()
    if not grid.is_2d:
        return names, places
    height = grid.center[2]
    near = np.abs(places[:, 2] - height) < 8.0
    flat = places.copy()
    flat[:, 2] = height
    return tuple(n for n, keep in zip(names, near, strict=True) if keep), flat[near]


def _side(
    rng: np.random.Generator,
    anatomy: Anatomy,
    grid: Grid,
    to_anatomy: Transform,
    scans: dict[str, int],
    label_names: dict[int, str],
    shading_mm: float,
) -> tuple[list[Volume], LabelMap]:
    world = grid.voxel_to_world(grid.voxel_indices())
    # In a slice the third spacing is only nominal, so the sharpness goes by the first two.
    rendering = render(anatomy, to_anatomy.map(world), float(grid.spacing[:2].mean()))
    volumes = [
        Volume(scanned(rng, rendering.brightness[:, column], world, grid.shape, shading_mm), grid, name) for name, column in scans.items()
    ]
    present = {n: label_names[n] for n in np.unique(rendering.labels).tolist() if n}
    return volumes, LabelMap(rendering.labels.reshape(grid.shape), grid, "labels", present)


def _matrix(linear: Float[np.ndarray, "3 3"], shift_mm: Triple) -> Float[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, shift_mm
    return matrix


def _grid(shape: tuple[int, int, int], axes: Float[np.ndarray, "3 3"], center_mm: Triple, scale: float = 1.0) -> Grid:
    """Place a grid by its center; `axes` holds one voxel's step along i, j, k in its columns, `scale` multiplies the voxel counts."""
    count = np.array([max(round(n * scale), 1) if n > 1 else 1 for n in shape])
    return Grid(tuple(count.tolist()), _matrix(axes, np.asarray(center_mm) - axes @ ((count - 1) / 2)))
