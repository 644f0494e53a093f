"""Landmark pairs in one file: our own table, and BigWarp's landmark CSV."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..errors import FileFormatError, InputError
from ..space import Grid, LandmarkPairs, Landmarks
from .paths import atomic_file, existing_file

COLUMNS = ("name", "fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z", "weight")
"""Of our own table; RAS mm. A file without the last one has weights of 1."""


@dataclass(frozen=True, eq=False)
class WeightedPairs:
    """Landmark pairs as a file holds them.

    Attributes
    ----------
    pairs : LandmarkPairs
        RAS+ mm on both sides.
    weights : (n,) float array
        0 to 1; 0 for those that are kept but left out.
    """

    pairs: LandmarkPairs
    weights: Float[np.ndarray, "n"]


def write_pairs(path: str | os.PathLike[str], pairs: LandmarkPairs, weights: Float[np.ndarray, "n"] | None = None) -> None:
    """Write pairs as a table in RAS mm; numbers are written so that reading gives every bit back."""
    given = np.ones(len(pairs)) if weights is None else np.asarray(weights, dtype=np.float64)
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, fixed, moving, weight in zip(pairs.names, pairs.fixed_points, pairs.moving_points, given, strict=True):
            writer.writerow([name, *(repr(float(value)) for value in (*fixed, *moving, weight))])


def read_pairs(path: str | os.PathLike[str]) -> WeightedPairs:
    """Read such a table.

    Raises
    ------
    FileFormatError
        If a column is missing or a number cannot be read; names the line.
    InputError
        If there is no file, or a name occurs twice.
    """
    rows = _table(existing_file(path))
    if not rows or not set(COLUMNS[:-1]) <= set(rows[0]):
        raise FileFormatError(f"{path} is no table of landmark pairs; expected the columns {','.join(COLUMNS)}.")
    place = {title: rows[0].index(title) for title in COLUMNS if title in rows[0]}
    names, numbers, weights = [], [], []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise FileFormatError(f"{path}, line {line}: expected {len(rows[0])} values; got {len(row)}.")
        names.append(row[place["name"]])
        numbers.append([_number(row[place[title]], path, line) for title in COLUMNS[1:7]])
        weights.append(_number(row[place["weight"]], path, line) if "weight" in place else 1.0)
    return _checked(names, numbers, weights)


def write_bigwarp(
    path: str | os.PathLike[str], pairs: LandmarkPairs, fixed: Grid | None = None, moving: Grid | None = None,
    weights: Float[np.ndarray, "n"] | None = None,
) -> None:
    """Write BigWarp's landmark CSV: "name","active",moving x y z,fixed x y z, without a header.

    See `read_bigwarp` for the coordinates; pairs of weight 0 are written as inactive.
    """
    given = np.ones(len(pairs)) if weights is None else np.asarray(weights, dtype=np.float64)
    sides = [_to_image(points, grid) for points, grid in ((pairs.moving_points, moving), (pairs.fixed_points, fixed))]
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for name, weight, source, target in zip(pairs.names, given, *sides, strict=True):
            writer.writerow([name, "true" if weight > 0 else "false", *(repr(float(value)) for value in (*source, *target))])


def read_bigwarp(path: str | os.PathLike[str], fixed: Grid | None = None, moving: Grid | None = None) -> WeightedPairs:
    """Read BigWarp's landmark CSV; half-set pairs are left out, inactive ones get weight 0.

    Parameters
    ----------
    path : path
        The file; in BigWarp the moving image's coordinates come first.
    fixed, moving : Grid, optional
        The images' grids. ImageJ knows a voxel size but no world: its coordinates are voxel indices times spacing, which a grid carries to
        the world. Without one, the numbers of that side are taken as RAS mm.

    Raises
    ------
    FileFormatError
        If a line cannot be understood; names it.
    InputError
        If there is no file, or a name occurs twice.
    """
    names, numbers, weights = [], [], []
    for line, row in enumerate(_table(existing_file(path)), start=1):
        if len(row) not in (6, 8) or row[1].strip().lower() not in ("true", "false"):
            raise FileFormatError(f'{path}, line {line}: expected BigWarp\'s "name","true",4 or 6 numbers; got {",".join(row)!r}.')
        values = [_infinite(cell, path, line) for cell in row[2:]]
        if not all(math.isfinite(value) for value in values):  # a point that was not clicked yet
            continue
        half = len(values) // 2
        source, target = ([*part, 0.0][:3] for part in (values[:half], values[half:]))
        names.append(row[0])
        numbers.append([*target, *source])
        weights.append(float(row[1].strip().lower() == "true"))
    raw = _checked(names, numbers, weights)
    sides = _from_image(raw.pairs.fixed_points, fixed), _from_image(raw.pairs.moving_points, moving)
    return WeightedPairs(LandmarkPairs(raw.pairs.names, *sides), raw.weights)


def _to_image(points: Float[np.ndarray, "n 3"], grid: Grid | None) -> Float[np.ndarray, "n 3"]:
    return points if grid is None else grid.world_to_voxel(points) * grid.spacing


def _from_image(points: Float[np.ndarray, "n 3"], grid: Grid | None) -> Float[np.ndarray, "n 3"]:
    return points if grid is None else grid.voxel_to_world(points / grid.spacing)


def _table(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a text table of landmark pairs.") from error
    return [[cell.strip() for cell in row] for row in csv.reader(lines) if row]


def _infinite(cell: str, path: str | os.PathLike[str], line: int) -> float:
    """Read a number; BigWarp writes Infinity for what is not set."""
    try:
        return float(cell)
    except ValueError as error:
        raise FileFormatError(f"{path}, line {line}: expected a number; got {cell!r}.") from error


def _number(cell: str, path: str | os.PathLike[str], line: int) -> float:
    value = _infinite(cell, path, line)
    if not math.isfinite(value):
        raise FileFormatError(f"{path}, line {line}: expected a finite number; got {cell!r}.")
    return value


def _checked(names: list[str], numbers: list[list[float]], weights: list[float]) -> WeightedPairs:
    """Check names and numbers as those of any landmarks, and tie the sides."""
    table = np.array(numbers, dtype=np.float64).reshape(-1, 6)
    for weight in weights:
        if not 0 <= weight <= 1:
            raise InputError(f"A landmark pair's weight is {weight:g}; expected 0 to 1.")
    fixed, moving = (Landmarks(side, tuple(names)) for side in (table[:, :3], table[:, 3:]))
    return WeightedPairs(LandmarkPairs.match(fixed, moving), np.array(weights))
