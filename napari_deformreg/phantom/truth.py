"""Deformations that are known exactly in both directions.

A deformation is a chain of stretches. Each moves points along one direction a only, by f(x_a, x_b): a table over the plane of a and b,
interpolated linearly, constant along the third direction. Where f rises slower than 1 along a, each line along a is mapped monotonically,
so that the stretch cannot fold and its inverse is again a table over the same plane, found line by line. Stretches along many directions
add up to a general smooth deformation, each is an ordinary `DisplacementField` of one slice, and the chain is its own definition: what a
file holds is the truth, not a sample of it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..space import AffineTransform, DisplacementField, Grid, TransformChain

SLAB_MM = 1000.0
"""Thickness of the one slice of a table: nothing of interest lies outside it."""


QUANTUM_MM = 2.0**-12
"""Vectors are rounded to this, so that files hold them exactly and stay small; the rounded table is the definition."""


def stretch_chain(
    rng: np.random.Generator, *, count: int, reach_mm: float, length_mm: float, amplitude_mm: float, table_mm: float, planar: bool = False
) -> tuple[TransformChain, TransformChain]:
    """Draw a random smooth deformation and its inverse.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    count : int
        Stretches in the chain.
    reach_mm : float
        Half the extent of each table; the deformation fades to nothing there.
    length_mm : float
        Standard deviation of the Gaussian that smooths the random tables: the scale of the deformation.
    amplitude_mm : float
        Largest displacement of each stretch.
    table_mm : float
        Spacing of the tables.
    planar : bool
        Stretch within the x-y plane only, all z alike.

    Returns
    -------
    forward, inverse : TransformChain
        Inverse to each other up to the linear interpolation of the inverse tables (about ``table_mm**2 / 8`` times the curvature of f).
    """
    frames = _directions(rng, count, planar)
    pairs = [_stretch(rng, frame, reach_mm, length_mm, amplitude_mm, table_mm) for frame in frames]
    return TransformChain(tuple(p[0] for p in pairs)), TransformChain(tuple(p[1] for p in reversed(pairs)))


def posed(forward: TransformChain, inverse: TransformChain, pose: AffineTransform) -> tuple[TransformChain, TransformChain]:
    """Append an affine to a deformation (and put its inverse before the inverse)."""
    return TransformChain((*forward.transforms, pose)), TransformChain((pose.inverse(), *inverse.transforms))


def _directions(rng: np.random.Generator, count: int, planar: bool) -> list[Float[np.ndarray, "3 3"]]:
    """Draw orthonormal frames (columns a, b, c) whose stretch directions a are spread evenly."""
    if planar:
        angles = rng.uniform(0, 360) + 90.0 * np.arange(count) + rng.uniform(-25, 25, size=count)
        return [np.asarray(Rotation.from_euler("z", angle, degrees=True).as_matrix()) for angle in angles]
    base = Rotation.random(rng=rng)
    turns = [np.roll(np.eye(3), n % 3, axis=1) for n in range(count)]
    return [np.asarray((base * Rotation.from_rotvec(rng.normal(size=3) * 0.4)).as_matrix() @ turn) for turn in turns]


def _stretch(
    rng: np.random.Generator, frame: Float[np.ndarray, "3 3"], reach_mm: float, length_mm: float, amplitude_mm: float, table_mm: float
) -> tuple[DisplacementField, DisplacementField]:
    half = int(np.ceil(reach_mm / table_mm))
    size = 2 * half + 1
    shift = ndimage.gaussian_filter(rng.normal(size=(size, size)), length_mm / table_mm)
    ramp = np.clip((reach_mm - table_mm * np.abs(np.arange(size) - half)) / (0.4 * reach_mm), 0, 1)
    window = ramp**2 * (3 - 2 * ramp)
    shift *= window[:, None] * window[None, :]
    shift *= amplitude_mm / np.abs(shift).max()
    return _table_field(shift, frame, table_mm), _table_field(_inverse_table(shift, table_mm), frame, table_mm)


def _inverse_table(shift: Float[np.ndarray, "a b"], table_mm: float) -> Float[np.ndarray, "a b"]:
    """Find g with x + f(x) + g(x + f(x)) = x, along each line of the first axis."""
    places = table_mm * np.arange(len(shift))
    arrived = places[:, None] + shift
    if (np.diff(arrived, axis=0) <= 0.1 * table_mm).any():
        raise AssertionError("A stretch compresses to less than a tenth; draw longer lengths or smaller amplitudes.")
    return np.stack([np.interp(places, arrived[:, b], places) - places for b in range(shift.shape[1])], 1)


def _table_field(shift: Float[np.ndarray, "a b"], frame: Float[np.ndarray, "3 3"], table_mm: float) -> DisplacementField:
    affine = np.eye(4)
    affine[:3, :3] = frame * np.array([table_mm, table_mm, SLAB_MM])
    affine[:3, 3] = -affine[:3, :2] @ ((np.array(shift.shape) - 1) / 2)
    vectors = shift[:, :, None, None] * frame[:, 0]
    return DisplacementField(Grid((*shift.shape, 1), affine), (np.rint(vectors / QUANTUM_MM) * QUANTUM_MM).astype(np.float32))
