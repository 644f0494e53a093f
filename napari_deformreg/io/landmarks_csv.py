"""Landmarks as text tables: CSV (``name,x,y,z`` in RAS mm unless the header says LPS), 3D Slicer's tables and .fcsv lists."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import FileFormatError, InputError
from ..space import Landmarks
from ..space.orientation import lps_to_ras, ras_to_lps
from .paths import atomic_file, existing_file

CoordinateSystem = Literal["RAS", "LPS"]

_COORDINATE_COLUMNS: tuple[tuple[tuple[str, str, str], CoordinateSystem | None], ...] = (
    (("x", "y", "z"), None),
    (("x_mm", "y_mm", "z_mm"), None),
    (("x_ras", "y_ras", "z_ras"), "RAS"),
    (("x_lps", "y_lps", "z_lps"), "LPS"),
    (("r", "a", "s"), "RAS"),
    (("l", "p", "s"), "LPS"),
)
_EXPECTED = "expected a header like name,x,y,z (RAS mm), name,x_lps,y_lps,z_lps (LPS mm), or 3D Slicer's label,l,p,s"


@dataclass(frozen=True)
class _Layout:
    name: int
    coordinates: tuple[int, int, int]
    columns: tuple[str, ...]
    system: CoordinateSystem | None


def read_landmark_table(path: str | os.PathLike[str]) -> Landmarks:
    """Read named points; coordinates are RAS+ mm, or LPS+ mm when a comment line or the column names say so.

    Raises
    ------
    FileFormatError
        If the table has no such header or a line cannot be understood; names the line.
    InputError
        If there is no file, no point, or a name occurs twice.
    """
    path = existing_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a text table of landmarks; {_EXPECTED}.") from error
    declared, header_comment = _comments(lines, path)
    rows = _rows(lines, header_comment)
    number, header = next(rows, (1, []))
    layout = _layout(header, path, number)
    system = _agreed(declared, layout.system, path)
    names: list[str] = []
    points: list[list[float]] = []
    for number, cells in rows:
        names.append(_name(cells, layout, path, number, names))
        points.append([_number(cells, layout, axis, path, number) for axis in range(3)])
    if not points:
        raise InputError(f"{path} holds no landmarks; {_EXPECTED}, then one line a point.")
    array = np.array(points, dtype=np.float64)
    return Landmarks(lps_to_ras(array) if system == "LPS" else array, tuple(names))


def write_landmark_table(
    path: str | os.PathLike[str],
    landmarks: Landmarks,
    *,
    coordinate_system: CoordinateSystem = "RAS",
    columns: Mapping[str, Sequence[object]] | None = None,
) -> None:
    """Write named points as CSV: ``name,x,y,z`` in RAS mm, or ``name,x_lps,y_lps,z_lps``.

    Parameters
    ----------
    path : path
        Where to write.
    landmarks : Landmarks
        The points, RAS+ mm.
    coordinate_system : str
        RAS or LPS.
    columns : mapping, optional
        More columns by name, one value a point; floats are rounded to 6 digits after the point, None is left empty.

    Raises
    ------
    InputError
        If a column has another length, or the coordinate system is unknown.
    """
    if coordinate_system not in ("RAS", "LPS"):
        raise InputError(f"Expected the coordinate system RAS or LPS; got {coordinate_system!r}.")
    more = dict(columns or {})
    for title, values in more.items():
        if len(values) != len(landmarks):
            raise InputError(f"Column {title!r} has {len(values)} values for {len(landmarks)} landmarks; expected one a landmark.")
    axes = ("x", "y", "z") if coordinate_system == "RAS" else ("x_lps", "y_lps", "z_lps")
    points = landmarks.points if coordinate_system == "RAS" else ras_to_lps(landmarks.points)
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *axes, *more])
        for index, (name, point) in enumerate(zip(landmarks.names, points, strict=True)):
            writer.writerow([name, *map(_cell, point), *(_cell(values[index]) for values in more.values())])


def write_fcsv(path: Path, landmarks: Landmarks) -> None:
    """Write 3D Slicer's older fiducial list, in LPS mm (as version 4.11 and newer declare it)."""
    rows = [
        f"{number},{','.join(str(_cell(value)) for value in point)},0,0,0,1,1,1,0,{_quoted(name)},,"
        for number, (name, point) in enumerate(zip(landmarks.names, ras_to_lps(landmarks.points), strict=True), start=1)
    ]
    head = ["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS"]
    with atomic_file(path) as partial:
        partial.write_text("\n".join([*head, "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID", *rows]) + "\n")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(sign in name for sign in ',"') else name


def _cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        text = f"{float(value):.6f}"
        return "0.000000" if text == "-0.000000" else text
    return "" if value is None else value


def _comments(lines: list[str], path: Path) -> tuple[CoordinateSystem | None, str | None]:
    """Return the coordinate system that a comment declares, and .fcsv's header, which is a comment."""
    declared: CoordinateSystem | None = None
    header = None
    for number, line in enumerate(lines, start=1):
        if not line.startswith("#"):
            continue
        found = re.match(r"#\s*coordinate\s*_?system\s*[:=]\s*(\S+)", line, re.IGNORECASE)
        if found:
            declared = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}.get(found[1].upper())  # type: ignore[assignment]
            if declared is None:
                raise FileFormatError(f"{path}, line {number}: the coordinate system is {found[1]!r}; expected RAS or LPS.")
        found = re.match(r"#\s*columns\s*=\s*(.+)", line, re.IGNORECASE)
        header = found[1] if found else header
    return declared, header


def _rows(lines: list[str], header_comment: str | None) -> Iterator[tuple[int, list[str]]]:
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    if header_comment is not None:
        kept.insert(0, (1, header_comment))
    if not kept:
        return
    delimiter = max(",;\t", key=kept[0][1].count)
    for number, line in kept:
        yield number, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _layout(header: list[str], path: Path, number: int) -> _Layout:
    titles = tuple(cell.lower() for cell in header)
    # .fcsv has both id and label; what people typed is the label.
    name = next((titles.index(title) for title in ("name", "label", "id") if title in titles), None)
    for wanted, system in _COORDINATE_COLUMNS:
        if name is not None and all(title in titles for title in wanted):
            x, y, z = (titles.index(title) for title in wanted)
            return _Layout(name, (x, y, z), titles, system)
    raise FileFormatError(f"{path}, line {number}: {_EXPECTED}; got {','.join(header) or 'nothing'!r}.")


def _agreed(declared: CoordinateSystem | None, by_columns: CoordinateSystem | None, path: Path) -> CoordinateSystem:
    if declared is not None and by_columns is not None and declared != by_columns:
        raise FileFormatError(f"{path}: a comment says {declared}, the column names say {by_columns}. Correct one of them.")
    return declared or by_columns or "RAS"


def _name(cells: list[str], layout: _Layout, path: Path, number: int, before: list[str]) -> str:
    if len(cells) < max(layout.name, *layout.coordinates) + 1:
        wanted = f"{len(layout.columns)} values ({','.join(layout.columns)})"
        raise FileFormatError(f"{path}, line {number}: expected {wanted}; got {len(cells)}.")
    name = cells[layout.name]
    if not name:
        raise FileFormatError(f"{path}, line {number}: the landmark has no name; names tie fixed and moving landmarks together.")
    if name in before:
        raise InputError(f"{path}, line {number}: the name {name!r} occurs twice; expected every name once.")
    return name


def _number(cells: list[str], layout: _Layout, axis: int, path: Path, number: int) -> float:
    column = layout.coordinates[axis]
    try:
        value = float(cells[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        title = layout.columns[column]
        raise FileFormatError(f"{path}, line {number}: expected a finite number of mm in column {title!r}; got {cells[column]!r}.")
    return value
