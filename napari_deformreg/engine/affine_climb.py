"""Improving a matrix step by step: damped Gauss-Newton on shifts, on turns and shifts, or on all twelve entries."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from .affine_similarity import Frames, Measure, Pair, Score, similarity

Freedom = Literal["shift", "rigid", "affine"]

TOLERANCE_VOX = 0.01
"""A level ends when a step moves the image by less."""


@dataclass(frozen=True, eq=False)
class Best:
    """The best so far, and how far the stage has come.

    Attributes
    ----------
    local : (4, 4) array
        Matrix between the local frames.
    value : float
        Its similarity by `measure`.
    is_sure : bool
        Whether the images resemble each other enough to go beyond shifts.
    fraction : float
        Part of the affine stage that is done.
    """

    local: Float[np.ndarray, "4 4"]
    value: float
    measure: Measure
    fraction: float
    message: str
    is_sure: bool = True
    level: int = 0
    levels: int = 1
    index: int = 0
    count: int = 0


def climb(
    pair: Pair, frames: Frames, local: Float[np.ndarray, "4 4"], freedom: Freedom, steps: int
) -> Generator[tuple[Float[np.ndarray, "4 4"], Score], None, None]:
    """Improve a matrix by Levenberg-Marquardt steps; yields the best so far after each."""
    score = similarity(pair, local)
    damping = 1e-3
    for _ in range(steps):
        basis = basis_of(freedom, local, frames.axes)
        slope, bend = basis.T @ score.gradient, basis.T @ score.curvature @ basis
        scale = np.diag(bend) + 1e-9 * max(float(np.trace(bend)), 1e-12)
        change = np.linalg.solve(bend + damping * np.diag(scale) + 1e-12 * np.eye(len(scale)), slope)
        trial = moved(local, change, freedom, frames.axes)
        length_vox = distance(trial, local) * frames.radius_mm / pair.spacing_mm
        result = similarity(pair, trial) if is_plausible(trial, frames.axes) else None
        if result is not None and result.value > score.value:
            local, score, damping = trial, result, max(damping / 5, 1e-5)
        else:
            damping *= 8
        yield local, score
        if length_vox < TOLERANCE_VOX:
            return


def is_plausible(local: Float[np.ndarray, "4 4"], axes: tuple[int, ...]) -> bool:
    """Tell whether a matrix stretches nothing by more than a factor of two and mirrors nothing."""
    block = local[np.ix_(axes, axes)]
    sizes = np.linalg.svd(block, compute_uv=False)
    return bool(sizes.min() > 0.5 and sizes.max() < 2.0 and np.linalg.det(block) > 0)


def distance(first: Float[np.ndarray, "4 4"], second: Float[np.ndarray, "4 4"]) -> float:
    """Return how far two matrices carry points of the unit sphere apart, in radii (root mean square)."""
    change = (first - second)[:3]
    return float(np.sqrt((change[:, :3] ** 2).sum() / 3 + (change[:, 3] ** 2).sum()))


def generators(axes: tuple[int, ...]) -> list[Float[np.ndarray, "3 3"]]:
    """Return the infinitesimal rotations: three in space, one in a plane."""
    out = []
    for n, a in enumerate(axes):
        for b in axes[n + 1 :]:
            turn = np.zeros((3, 3))
            turn[b, a], turn[a, b] = 1.0, -1.0
            out.append(turn)
    return out


def rotation(angles: Float[np.ndarray, "n"], axes: tuple[int, ...]) -> Float[np.ndarray, "3 3"]:
    """Return the rotation with these coefficients of the `generators` (radians)."""
    turn = sum((angle * g for angle, g in zip(angles, generators(axes), strict=True)), np.zeros((3, 3)))
    return np.asarray(Rotation.from_rotvec([turn[2, 1], turn[0, 2], turn[1, 0]]).as_matrix())


def basis_of(freedom: Freedom, local: Float[np.ndarray, "4 4"], axes: tuple[int, ...]) -> Float[np.ndarray, "12 n"]:
    """Return the allowed changes of the matrix's twelve entries, one a column.

    Shifts, or turns (about where the anchor lands) and shifts, or every entry (of a slice: within its plane).
    """
    unit = np.eye(12)
    if freedom == "affine":
        return np.asarray(unit[:, [4 * row + column for row in axes for column in (*axes, 3)]])
    shifts = unit[:, [4 * axis + 3 for axis in axes]]
    if freedom == "shift":
        return np.asarray(shifts)
    turns = [np.hstack([turn @ local[:3, :3], np.zeros((3, 1))]).ravel() for turn in generators(axes)]
    return np.column_stack([*turns, shifts])


def moved(
    local: Float[np.ndarray, "4 4"], change: Float[np.ndarray, "n"], freedom: Freedom, axes: tuple[int, ...]
) -> Float[np.ndarray, "4 4"]:
    """Change a matrix by coefficients of `basis_of`, turning exactly, so that a rotation stays one."""
    out = local.copy()
    if freedom == "affine":
        out[:3] += (basis_of(freedom, local, axes) @ change).reshape(3, 4)
        return out
    turns = len(change) - len(axes)
    if turns:
        out[:3, :3] = rotation(change[:turns], axes) @ local[:3, :3]
    out[list(axes), 3] += change[turns:]
    return out
