"""Several reports side by side."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..io import atomic_file
from .inputs import AnyPath

if TYPE_CHECKING:
    from ..qa import Report, StructureOverlap

_COLUMNS = {
    # value in the report -> heading
    "tre_mm_mean": "TRE mm", "dice_mean": "Dice", "hd95_mm_mean": "HD95 mm", "ncc": "NCC", "fold_digital_fraction": "folds %",
    "inverse_consistency_mm_p95": "inv. 95 % mm", "displacement_mm_max": "max mm",
}  # fmt: skip


def results_table(reports: Mapping[str, Report]) -> str:
    """Write one line a report with the main numbers after the registration, for a terminal."""
    width = max(len(name) for name in reports)
    lines = [" " * width + "".join(f"{title:>14}" for title in _COLUMNS.values())]
    for name, report in reports.items():
        found = {value.name: value.value for value in reversed(report.values)}
        lines.append(name.ljust(width) + "".join(f"{_short(found.get(column)):>14}" for column in _COLUMNS))
    return "\n".join(lines)


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"


def results_csv(reports: Mapping[str, Report], path: AnyPath) -> None:
    """Write every number of every report, one a line; those of single structures have the structure's name as their domain.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["folder", "name", "before", "value", "unit", "domain", "n"])
        for folder, report in reports.items():
            for value in report.values:
                writer.writerow([folder, value.name, value.before, value.value, value.unit, value.domain, value.n])
            writer.writerows((folder, *row) for structure in report.structures for row in _structure_rows(structure))


def _structure_rows(structure: StructureOverlap) -> Iterable[tuple[object, ...]]:
    for name, unit in (("dice", "1"), ("hd95_mm", "mm"), ("mean_surface_distance_mm", "mm")):
        stem, after = name.removesuffix("_mm"), "_mm" if name.endswith("_mm") else ""
        before, value = (getattr(structure, f"{stem}_{when}{after}") for when in ("before", "after"))
        yield name, before, value, unit, structure.name, structure.voxels
