"""Transforms through landmark pairs alone: rigid, similarity, affine and thin-plate spline; fixed to moving, RAS+ mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ..errors import InputError
from .landmarks import LandmarkPairs
from .transforms import AffineTransform, Transform

FitName = Literal["rigid", "similarity", "affine", "thin_plate"]
KernelName = Literal["biharmonic", "bigwarp"]

FLAT = 1e-6
"""Points whose spread along one direction is smaller than this part of the largest lie in a plane (on a line)."""

LEAST_PAIRS: dict[FitName, int] = {"rigid": 3, "similarity": 3, "affine": 3, "thin_plate": 3}
"""Pairs that each fit needs; affine and thin-plate need four that lie in no plane, unless the images are slices."""


def fit_pairs(pairs: LandmarkPairs, kind: FitName, weights: Float[np.ndarray, "n"] | None = None) -> Transform:
    """Fit the transform of a kind that carries fixed points to moving points.

    Parameters
    ----------
    pairs : LandmarkPairs
        At least `LEAST_PAIRS` with a positive weight.
    kind : str
        rigid, similarity, affine or thin_plate.
    weights : (n,) array, optional
        How much each pair counts; 0 leaves it out. In a spline a pair of weight 1 is met exactly, one below only approximately.

    Raises
    ------
    InputError
        If there are too few pairs, or they lie on one line (for an affine or a spline: in one plane and are no slice's).
    """
    if kind not in get_args(FitName):
        raise InputError(f"Expected one of {', '.join(get_args(FitName))}; got {kind!r}.")
    fixed, moving, given = _used(pairs, kind, weights)
    if kind == "rigid":
        return _orthogonal(fixed, moving, given, scaled=False)
    if kind == "similarity":
        return _orthogonal(fixed, moving, given, scaled=True)
    if kind == "affine":
        return _affine(fixed, moving, given)
    # r^2 log r is smooth at the landmarks, where r has a tip that no sampled field can follow.
    return ThinPlateSpline.through(LandmarkPairs(tuple(map(str, range(len(fixed)))), fixed, moving), given, kernel="bigwarp")


def fit_start(pairs: LandmarkPairs, weights: Float[np.ndarray, "n"] | None = None, affine: bool = True) -> AffineTransform:
    """Return where a registration may start from pairs: affine with twice the pairs that it needs, else rigid.

    With fewer, an affine through inexact clicks shears more than it tells.
    """
    fixed, moving, given = _used(pairs, "rigid", weights)
    spread = _spread(fixed)
    needed = 8 if spread[2] > FLAT * spread[0] else 6
    return _affine(fixed, moving, given) if affine and len(fixed) >= needed else _orthogonal(fixed, moving, given, scaled=False)


def _used(
    pairs: LandmarkPairs, kind: FitName, weights: Float[np.ndarray, "n"] | None
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    given = np.ones(len(pairs)) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (len(pairs),) or not np.isfinite(given).all() or (given < 0).any():
        raise InputError(f"Expected one weight of 0 or more a pair ({len(pairs)}); got {given.tolist()}.")
    used = given > 0
    if np.count_nonzero(used) < LEAST_PAIRS[kind]:
        raise InputError(f"A {kind} fit needs at least {LEAST_PAIRS[kind]} landmark pairs; got {np.count_nonzero(used)}. Add more.")
    fixed, moving = np.asarray(pairs.fixed_points)[used], np.asarray(pairs.moving_points)[used]
    for points, side in ((fixed, "fixed"), (moving, "moving")):
        spread = _spread(points)
        if spread[1] <= FLAT * spread[0]:
            raise InputError(f"The {side} landmarks lie on one line, which leaves a turn about it open. Add one beside the line.")
    return fixed, moving, given[used]


def _spread(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    out = np.zeros(3)
    found = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    out[: len(found)] = found
    return out


def _orthogonal(
    fixed: Float[np.ndarray, "n 3"], moving: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, "n"], scaled: bool
) -> AffineTransform:
    """Minimize sum w |s R p + t - q|^2 over rotations R (and s): R = U D V^T of the SVD of the covariance, D keeps it from mirroring.

    References
    ----------
    Horn 1987, doi 10.1364/JOSAA.4.000629 (the least-squares problem, with quaternions); Umeyama 1991, doi 10.1109/34.88573, equations 40 to
    43 (the solution by SVD, with scale).
    """
    share = weights / weights.sum()
    middle, target = share @ fixed, share @ moving
    a, b = fixed - middle, moving - target
    u, size, vt = np.linalg.svd(b.T @ (share[:, None] * a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = float(size @ signs / (share @ np.square(a).sum(axis=1))) if scaled else 1.0
    return _about(scale * rotation, middle, target)


def _affine(fixed: Float[np.ndarray, "n 3"], moving: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, "n"]) -> AffineTransform:
    """Minimize sum w |A p + t - q|^2; what lies in a plane is carried rigidly across it."""
    share = weights / weights.sum()
    middle, target = share @ fixed, share @ moving
    root = np.sqrt(share)[:, None]
    a, b = root * (fixed - middle), root * (moving - target)
    _, size, vt = np.linalg.svd(a)
    if len(size) < 3 or size[2] <= FLAT * size[0]:  # one more pair, off the plane, as the rigid fit carries it
        across = vt[2] * size[0]
        turned = _orthogonal(fixed, moving, weights, scaled=False).matrix[:3, :3] @ across
        a, b = np.vstack([a, across]), np.vstack([b, turned])
    linear = np.linalg.lstsq(a, b, rcond=None)[0].T
    if abs(np.linalg.det(linear)) < 1e-6:
        raise InputError("The moving landmarks lie in one plane while the fixed ones do not: no affine map between. Add pairs off it.")
    return _about(linear, middle, target)


def _about(linear: Float[np.ndarray, "3 3"], middle: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> AffineTransform:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = target - linear @ middle
    return AffineTransform(matrix)


@dataclass(frozen=True, eq=False)
class ThinPlateSpline:
    """The map of least bending through landmark pairs: T(x) = A x + t + sum_n c_n U(|x - p_n|).

    U is that of the biharmonic equation (r^2 log r in a plane, r in space), or r^2 log r in both as BigWarp takes it. With a weight w < 1 a
    pair is met approximately: (K + diag((1 - w) / w) k) c = ..., with k the mean size of K's entries.

    Attributes
    ----------
    centers : (n, 3) float array
        p_n, RAS+ mm.
    coefficients : (n, 3) float array
        c_n.
    affine : AffineTransform
        A and t.
    kernel : str
        biharmonic or bigwarp.
    flat : bool
        Whether the centers lie in a plane.

    References
    ----------
    Bookstein 1989, doi 10.1109/34.24792; Rohr et al. 2001, doi 10.1109/42.929618 (approximation by weights); Bogovic et al. 2016,
    doi 10.1109/ISBI.2016.7493463 (BigWarp).
    """

    centers: Float[np.ndarray, "n 3"]
    coefficients: Float[np.ndarray, "n 3"]
    affine: AffineTransform
    kernel: KernelName
    flat: bool

    @classmethod
    def through(
        cls, pairs: LandmarkPairs, weights: Float[np.ndarray, "n"] | None = None, kernel: KernelName = "biharmonic"
    ) -> ThinPlateSpline:
        """Fit one; see `fit_pairs`."""
        fixed, moving, given = _used(pairs, "thin_plate", weights)
        spread = _spread(fixed)
        flat = bool(spread[2] <= FLAT * spread[0])
        affine = _affine(fixed, moving, given)
        bent = _kernel(np.linalg.norm(fixed[:, None] - fixed[None], axis=-1), kernel, flat)
        size, middle = float(np.abs(bent).mean()), fixed.mean(axis=0)  # all of the system's entries are of this size
        relax = np.clip(1 - given, 0, None) / given * size
        sign = 1.0 if kernel == "bigwarp" or flat else -1.0  # the kernel is conditionally positive definite, r is so with the other sign
        linear = size * np.concatenate([np.ones((len(fixed), 1)), (fixed - middle) / spread[0]], axis=1)
        system = np.block([[bent + sign * np.diag(relax), linear], [linear.T, np.zeros((4, 4))]])
        right = np.concatenate([moving - affine.map(fixed), np.zeros((4, 3))])
        solved = np.linalg.lstsq(system, right, rcond=None)[0]  # a plane leaves the linear part across it open
        level, slope = size * solved[len(fixed)], size * solved[len(fixed) + 1 :].T / spread[0]
        matrix = affine.matrix.copy()
        matrix[:3, :3] += slope
        matrix[:3, 3] += level - slope @ middle
        return cls(fixed, solved[: len(fixed)], AffineTransform(matrix), kernel, flat)

    def map(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry fixed points to moving points (RAS+ mm)."""
        out = self.affine.map(points)
        for center, coefficient in zip(self.centers, self.coefficients, strict=True):
            out = out + _kernel(np.linalg.norm(points - center, axis=1), self.kernel, self.flat)[:, None] * coefficient
        return np.asarray(out)


def _kernel(r: np.ndarray, kernel: KernelName, flat: bool) -> np.ndarray:
    if kernel == "biharmonic" and not flat:
        return r
    return np.asarray(np.square(r) * np.log(np.maximum(r, 1e-30)))
