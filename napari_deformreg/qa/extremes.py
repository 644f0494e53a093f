"""Where the figures that one voxel or one landmark decides are decided: the places that a reviewer wants to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from ..result import RegistrationResult
from ..space import Grid
from .consistency import Consistency
from .jacobian import FoldReport
from .landmarks import LandmarkErrors
from .report import Value

Point = tuple[float, float, float]


def placed(values: Iterable[Value], places: Mapping[str, Point]) -> tuple[Value, ...]:
    """Note the places of values; of a value taken over two domains, that of the first one, the foreground."""
    left = dict(places)
    return tuple(replace(value, place_mm=left.pop(value.name, None)) for value in values)


def extreme_places(
    result: RegistrationResult,
    mask: Bool[np.ndarray, "i j k"],
    folds: FoldReport,
    consistency: Consistency,
    landmarks: LandmarkErrors | None,
) -> dict[str, Point]:
    """Find the place (RAS+ mm, fixed space) of each extreme value inside a mask, by the value's name."""
    grid, inside = folds.grid, result.displacement.displacement_mm[mask]
    squared = np.einsum("nc,nc->n", inside, inside)
    fields: tuple[tuple[str, Float[np.ndarray, "n"]], ...] = (
        ("displacement_mm_max", squared),
        ("inverse_consistency_mm_max", consistency.map_mm[mask]),
        ("jacobian_determinant_max", folds.determinant[mask]),
        ("jacobian_determinant_min", -folds.determinant[mask]),
    )
    found = {name: _place(np.flatnonzero(mask)[np.nanargmax(values)], grid) for name, values in fields if not np.isnan(values).all()}
    worst = next((region for region in folds.regions if region.foreground_voxels), None)
    if worst is not None:
        found.update(dict.fromkeys(("fold_digital_fraction", "digital_minimum"), worst.center_mm))
    return {**found, **dict(_landmark_places(landmarks))}


def _place(flat: int, grid: Grid) -> Point:
    voxel = np.array([np.unravel_index(flat, grid.shape)], dtype=np.float64)
    x, y, z = grid.voxel_to_world(voxel)[0]
    return float(x), float(y), float(z)


def _landmark_places(landmarks: LandmarkErrors | None) -> Iterator[tuple[str, Point]]:
    if landmarks is None:
        return
    for name, chosen in (("tre_mm_max", ~landmarks.drove), ("fre_mm_max", landmarks.drove)):
        if chosen.any():
            worst = int(np.argmax(np.where(chosen, landmarks.after_mm, -1)))
            x, y, z = landmarks.pairs.fixed_points[worst]
            yield name, (float(x), float(y), float(z))
