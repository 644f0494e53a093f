"""What a reader of the report should look at first, as sentences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..result import RegistrationResult, Status
from .consistency import Consistency
from .jacobian import FoldReport
from .landmarks import LandmarkErrors
from .overlap import StructureOverlap
from .similarity import Similarity

DICE_LOSS = 0.02
"""Two tellings of the same border differ by about this much; less is no loss."""

OUTSIDE_LIMIT_PERCENT = 5.0
"""A rim a few voxels wide leaves the field of view in most pairs; more means that organs are cut."""

VOLUME_LIMITS = (1 / 3, 3.0)
"""Tissue that shrinks or grows threefold between two scans of one organ is rare; look whether it is meant."""

AFFINE_LIMITS = (0.5, 2.0)
"""Adult heads, chests and mouse brains differ in volume by less."""

NAMES_AT_MOST = 5


def things_to_check(
    result: RegistrationResult,
    landmarks: LandmarkErrors | None,
    structures: tuple[StructureOverlap, ...],
    folds: FoldReport,
    consistency: Consistency,
    similarity: tuple[Similarity, Similarity],
) -> tuple[str, ...]:
    """List what stands out, worst first; empty when nothing does. `similarity` is before and after."""
    return (
        *_about_outcome(result, similarity),
        *_about_folds(folds),
        *_about_landmarks(landmarks, float(result.displacement.grid.spacing.min())),
        *_about_structures(structures),
        *_about_field(result, folds, consistency),
    )


def _about_outcome(result: RegistrationResult, similarity: tuple[Similarity, Similarity]) -> Iterable[str]:
    if result.status is Status.KEPT_START:
        yield result.status.value
    before, after = similarity
    if _fell(before.lncc, after.lncc) and _fell(before.nmi, after.nmi):
        yield "The images are less similar than before, both locally (LNCC) and by mutual information (NMI): do not rely on this result."


def _fell(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before - 1e-3


def _about_folds(folds: FoldReport) -> Iterable[str]:
    count = folds.foreground.digital_count
    if count:
        inside = [region for region in folds.regions if region.foreground_voxels]
        worst = inside[0]
        place = ", ".join(f"{value:.1f}" for value in worst.center_mm)
        structure = f" in {worst.structure}" if worst.structure else ""
        yield (
            f"The deformation folds at {count} voxels of the foreground ({folds.foreground.digital_percent:.3g} %) in {len(inside)} "
            f"place{'s' * (len(inside) > 1)}; the worst{structure} at ({place}) mm RAS. Anatomy is not carried faithfully there."
        )


def _about_landmarks(landmarks: LandmarkErrors | None, spacing: float) -> Iterable[str]:
    if landmarks is None or not len(landmarks):
        return
    names = np.array(landmarks.pairs.names)
    if landmarks.drove.any():
        which = "The landmarks" if landmarks.drove.all() else f"{int(landmarks.drove.sum())} of the landmarks"
        yield f"{which} drove the registration: their errors show the fit, not the accuracy elsewhere."
    worse = names[landmarks.after_mm > landmarks.before_mm + spacing / 2]
    if len(worse):
        yield f"{len(worse)} of {len(names)} landmarks are farther apart than before: {_listed(worse)}."
    outside = names[landmarks.outside_field]
    if len(outside):
        yield f"Outside the fixed image, where only the affine is known: {_listed(outside)}."
    missed = names[(landmarks.inverse_residual_mm > 0.01 * spacing) & ~landmarks.outside_field]
    if len(missed):
        yield f"These moving landmarks could not be carried to fixed space exactly: {_listed(missed)}."


def _about_structures(structures: tuple[StructureOverlap, ...]) -> Iterable[str]:
    lost = [s for s in structures if s.in_both and (s.dice_before or 0) - (s.dice_after or 0) > DICE_LOSS]
    if lost:
        lost.sort(key=lambda s: (s.dice_after or 0) - (s.dice_before or 0))
        yield f"These structures overlap less than before: {_listed([s.name for s in lost])}."
    alone = [s.name for s in structures if not s.in_both]
    if alone:
        yield f"These structures occur in one image only and count for no mean: {_listed(alone)}."


def _about_field(result: RegistrationResult, folds: FoldReport, consistency: Consistency) -> Iterable[str]:
    if not AFFINE_LIMITS[0] <= folds.affine_determinant <= AFFINE_LIMITS[1]:
        yield f"The affine changes every volume by the factor {folds.affine_determinant:.2f}."
    low, high = folds.foreground.jacobian_percentiles[1], folds.foreground.jacobian_percentiles[99]
    if low < VOLUME_LIMITS[0] or high > VOLUME_LIMITS[1]:
        yield f"Volumes change strongly in places: 1 % of the foreground below the factor {low:.2f}, 1 % above {high:.2f}."
    if consistency.outside_moving_percent > OUTSIDE_LIMIT_PERCENT:
        yield f"{consistency.outside_moving_percent:.0f} % of the fixed foreground lies outside the moving image; nothing is known there."
    error, spacing = consistency.error_mm, float(result.displacement.grid.spacing.min())
    if error.size and np.percentile(error, 95) > spacing:
        yield f"The two directions of the transform differ by more than a voxel ({np.percentile(error, 95):.2f} mm at the 95th percentile)."


def _listed(names: Iterable[str]) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - NAMES_AT_MOST} more" if len(shown) > NAMES_AT_MOST else ""
    return ", ".join(shown[:NAMES_AT_MOST]) + more
