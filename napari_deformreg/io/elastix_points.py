"""Points as elastix and transformix take them: ``point``, their number, then one a line in LPS mm; they have no names, only an order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InputError
from ..space import Landmarks
from ..space.orientation import lps_to_ras, ras_to_lps
from .paths import atomic_file, existing_file

_EXPECTED = "expected 'point', then the number of points, then one point a line (LPS mm)"


def read_elastix_points(path: Path) -> Landmarks:
    """Read points, RAS+ mm; they are named P1, P2, ... in their order, which is what ties two such files.

    Raises
    ------
    FileFormatError
        If it is no such file, or holds voxel indices, which mean nothing without their image.
    InputError
        If it holds no points.
    """
    path = existing_file(path)
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is no text file of points; {_EXPECTED}.") from error
    kind = lines[0][0].lower() if lines and len(lines[0]) == 1 else ""
    if kind == "index":
        raise FileFormatError(f"{path} holds voxel indices; expected 'point' (LPS mm). Multiply them by the image's spacing and direction.")
    if kind != "point" or len(lines) < 2 or len(lines[1]) != 1 or not lines[1][0].isdigit():
        raise FileFormatError(f"{path} is no points file of elastix; {_EXPECTED}.")
    count, rows = int(lines[1][0]), lines[2:]
    if len(rows) != count:
        raise FileFormatError(f"{path} says that it holds {count} points, but {len(rows)} lines follow. Correct the number.")
    if not count:
        raise InputError(f"{path} holds no points; {_EXPECTED}.")
    points = np.array([_point(row, path, number) for number, row in enumerate(rows, start=1)])
    return Landmarks(lps_to_ras(points), tuple(f"P{number}" for number in range(1, count + 1)))


def _point(cells: list[str], path: Path, number: int) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    if len(values) not in (2, 3) or not np.isfinite(values).all():
        raise FileFormatError(f"{path}, point {number}: expected two or three numbers of mm; got {' '.join(cells)!r}.")
    return [*values, 0.0][:3]


def write_elastix_points(path: Path, landmarks: Landmarks) -> None:
    """Write points in their order; the names are not kept."""
    rows = [" ".join(f"{value + 0.0:.6f}" for value in point) for point in ras_to_lps(landmarks.points)]
    with atomic_file(path) as partial:
        partial.write_text("\n".join(["point", str(len(rows)), *rows]) + "\n", encoding="utf-8")
