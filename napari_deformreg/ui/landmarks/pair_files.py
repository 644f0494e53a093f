"""Landmark pairs to and from files. Coordinates are world mm, whatever the layers' scale; BigWarp's are along each image's own axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import io
from ...errors import FileFormatError, InputError
from ...space import Grid, LandmarkPairs, Landmarks
from .pair_list import PairList

BIGWARP = ".bigwarp.csv"
PAIRS = ".csv"

EXPORT_FILTER = (
    "Pairs, both images in one file (*.csv);;BigWarp (*.bigwarp.csv);;3D Slicer markups, a file an image (*.mrk.json);;"
    "3D Slicer fiducials, a file an image (*.fcsv);;elastix points, a file an image (*.txt *.pts)"
)
IMPORT_FILTER = "Landmarks (*.csv *.mrk.json *.fcsv *.tsv *.txt *.pts);;All files (*)"


@dataclass(frozen=True)
class Grids:
    """The images' grids, as far as they are known: BigWarp counts from the first voxel of each."""

    fixed: Grid | None = None
    moving: Grid | None = None


def side_files(path: str | Path) -> tuple[Path, Path]:
    """Name the two files of a format that holds one image's points each: ``NAME_fixed.SUFFIX`` and ``NAME_moving.SUFFIX``."""
    path = Path(path)
    suffix = next((s for s in io.LANDMARK_SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    stem = path.name[: len(path.name) - len(suffix)]
    for side in ("_fixed", "_moving"):
        stem = stem.removesuffix(side)
    return path.with_name(f"{stem}_fixed{suffix}"), path.with_name(f"{stem}_moving{suffix}")


def write_pairs(path: str | Path, pairs: PairList, grids: Grids | None = None) -> tuple[Path, ...]:
    """Write all pairs that have a partner; the name's end says how. Tell which files were written.

    Raises
    ------
    InputError
        If no pair is complete, or a file cannot be written.
    """
    path, arrays, grids = Path(path), pairs.landmark_pairs(), grids or Grids()
    if not len(arrays):
        raise InputError("No pair has both ends yet; expected at least one. Place its partner first.")
    weights = np.array([pair.weight for pair in pairs.complete])
    if path.name.lower().endswith(BIGWARP):
        io.write_bigwarp(path, arrays, grids.fixed, grids.moving, weights)
    elif path.suffix.lower() in (PAIRS, ""):
        path = path if path.suffix else path.with_suffix(PAIRS)
        io.write_pairs(path, arrays, weights)
    else:
        fixed, moving = side_files(path)
        io.write_landmarks(fixed, Landmarks(arrays.fixed_points, arrays.names))
        io.write_landmarks(moving, Landmarks(arrays.moving_points, arrays.names))
        return fixed, moving
    return (path,)


def read_pairs(paths: Sequence[str | Path], grids: Grids | None = None) -> io.WeightedPairs:
    """Read pairs: from one file of both images, or from two; the fixed one comes first unless their names say otherwise.

    Of two files that lie side by side (``NAME_fixed``, ``NAME_moving``) one is enough.

    Raises
    ------
    InputError
        If the other file is missing, or names do not match.
    FileFormatError
        If a file cannot be understood.
    """
    files = [Path(path) for path in paths]
    if len(files) == 1 and any(side in files[0].name.lower() for side in ("_fixed.", "_moving.")):
        files = list(side_files(files[0]))
    if len(files) == 1:
        return _both(files[0], grids or Grids())
    if len(files) != 2:
        raise InputError(f"Expected one file of landmarks or two (fixed and moving); got {len(files)}.")
    if "moving" in files[0].name.lower() or "fixed" in files[1].name.lower():
        files.reverse()
    pairs = LandmarkPairs.match(io.read_landmarks(files[0]), io.read_landmarks(files[1]))
    return io.WeightedPairs(pairs, np.ones(len(pairs)))


def _both(path: Path, grids: Grids) -> io.WeightedPairs:
    """Read a file of both images; what it is its content says."""
    try:
        return io.read_pairs(path)
    except FileFormatError as error:
        try:
            return io.read_bigwarp(path, grids.fixed, grids.moving)
        except FileFormatError:
            raise error from None

