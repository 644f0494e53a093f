"""A registration from landmark pairs alone, without looking at the images."""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import Float

from ..result import Provenance, RegistrationResult, Status
from ..settings import Settings
from ..space import AffineTransform, DisplacementField, Grid, LandmarkPairs, Transform
from ..space.jacobian import displacement_mm_to_vox, displacement_vox_to_mm
from ..space.point_fits import FitName, fit_pairs
from .folding import repair
from .inverse import inverse_of_field
from .tensors import guarded

SAMPLED_VOXELS = 400_000
"""A spline is evaluated at so many places at most, and interpolated between: far from its landmarks it is smooth."""


def register_points(
    fixed: Grid, pairs: LandmarkPairs, kind: FitName, settings: Settings | None = None, weights: Float[np.ndarray, "n"] | None = None
) -> RegistrationResult:
    """Register by landmark pairs alone.

    Parameters
    ----------
    fixed : Grid
        Of the fixed image.
    pairs : LandmarkPairs
        RAS+ mm.
    kind : str
        rigid, similarity, affine or thin_plate. A thin-plate spline may fold; where it does, it is repaired.
    settings : Settings, optional
        For the repair; kept with the result.
    weights : (n,) array, optional
        How much each pair counts; see `fit_pairs`.

    Raises
    ------
    InputError
        If there are too few pairs, or they lie on one line.
    """
    chosen, started = settings or Settings(), time.perf_counter()
    notices = [f"Registered by {len(pairs)} landmark pairs alone ({kind.replace('_', '-')}); the images were not looked at."]
    fitted = fit_pairs(pairs, kind, weights)
    affine = fitted if isinstance(fitted, AffineTransform) else fit_pairs(pairs, "affine", weights)
    assert isinstance(affine, AffineTransform)  # fit_pairs gives a matrix for all kinds but the spline
    nothing = DisplacementField(fixed, np.zeros((*fixed.shape, 3), np.float32))
    forward, backward, left = (nothing, nothing, 0) if fitted is affine else _bent(fixed, fitted, affine, chosen, notices)
    used = np.ones(len(pairs), bool) if weights is None else np.asarray(weights) > 0
    driving = tuple((float(x), float(y), float(z)) for x, y, z in pairs.fixed_points[used])
    return RegistrationResult(
        affine=affine, displacement=forward, inverse_displacement=backward, velocity_vox=None, velocity_grid=None,
        status=Status.FOLDS_LEFT if left else Status.CONVERGED, history=(), settings=chosen,
        provenance=Provenance(
            version=version("napari-deformreg"), device="cpu", seconds={"affine": time.perf_counter() - started}, notices=tuple(notices),
            libraries={name: version(name) for name in ("torch", "numpy", "numba")}, driving_points_mm=driving,
        ),
    )


def _bent(
    fixed: Grid, fitted: Transform, affine: AffineTransform, settings: Settings, notices: list[str]
) -> tuple[DisplacementField, DisplacementField, int]:
    """Sample what a transform does beyond its affine, repair it and invert it; also how many folds are left."""
    vectors, left = displacement_mm_to_vox(_sampled(fixed, fitted, affine), fixed), 0
    if settings.folds.repair:
        with guarded():
            tensor, report = repair(torch.from_numpy(np.ascontiguousarray(np.moveaxis(vectors, -1, 0)))[None], settings.folds.margin)
        vectors, left = np.ascontiguousarray(np.moveaxis(tensor[0].numpy(), 0, -1)), report.folds_left
        if report.folds_before:
            notices.append(report.text)
    forward = DisplacementField(fixed, displacement_vox_to_mm(vectors, fixed))
    return forward, inverse_of_field(forward)[0], left


def _sampled(fixed: Grid, fitted: Transform, affine: AffineTransform) -> Float[np.ndarray, "i j k 3"]:
    """Return u with affine(x + u(x)) = fitted(x), in mm on the fixed grid."""
    shrink = max(1.0, (np.prod(fixed.shape) / SAMPLED_VOXELS) ** (1 / sum(n > 1 for n in fixed.shape)))
    few = [n if n < 4 else max(4, round((n - 1) / shrink) + 1) for n in fixed.shape]
    lattice = fixed.resized((few[0], few[1], few[2]))
    points = lattice.voxel_to_world(lattice.voxel_indices())
    vectors = (affine.inverse().map(fitted.map(points)) - points).astype(np.float32).reshape(*lattice.shape, 3)
    tensor = torch.from_numpy(vectors).permute(3, 0, 1, 2)[None]
    full = torch.nn.functional.interpolate(tensor, size=fixed.shape, mode="trilinear", align_corners=True)
    return np.ascontiguousarray(full[0].permute(1, 2, 3, 0).numpy())
