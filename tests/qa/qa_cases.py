"""Results and pairs with known motion that the qa tests share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_deformreg.result import Provenance, RegistrationResult, Status, Step
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, DisplacementField, Grid, LabelMap, Landmarks, Volume


def make_result(grid: Grid, displacement_mm: np.ndarray, inverse_mm: np.ndarray | None = None, **changes: Any) -> RegistrationResult:
    inverse = -displacement_mm if inverse_mm is None else inverse_mm
    result = RegistrationResult(
        affine=AffineTransform.identity(),
        displacement=DisplacementField(grid, displacement_mm.astype(np.float32)),
        inverse_displacement=DisplacementField(grid, inverse.astype(np.float32)),
        velocity_vox=None,
        velocity_grid=None,
        status=Status.CONVERGED,
        history=tuple(Step("refine", index=n, count=5, loss=1 / n) for n in range(1, 6)),
        settings=Settings(),
        provenance=Provenance("9.9", "cpu", {"affine": 0.5, "refine": 2.0}, ("Something to know.",), {"numpy": np.__version__}),
    )
    return replace(result, **changes)


@dataclass(frozen=True)
class Pair:
    fixed: Volume
    moving: Volume
    moved: Volume
    moving_before: Volume
    result: RegistrationResult
    fixed_labels: LabelMap
    moving_labels: LabelMap
    moved_labels: LabelMap
    fixed_landmarks: Landmarks
    moving_landmarks: Landmarks

    def report_arguments(self) -> dict[str, Any]:
        names = ("fixed_labels", "moving_labels", "moved_labels", "fixed_landmarks", "moving_landmarks")
        return {name: getattr(self, name) for name in names}
