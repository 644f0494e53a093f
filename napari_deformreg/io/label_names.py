"""Names of structures: from a lookup table that somebody names, or from one that lies beside a label map.

Read are FreeSurfer's color tables (``17 Left-Hippocampus 220 216 20 0``), 3D Slicer's (.ctbl, the same with underscores for blanks, or its
newer CSV), ITK-SNAP's label descriptions (``17 220 216 20 1 1 1 "Left hippocampus"``), CSV and TSV with the columns index and name (BIDS),
and the segments in the header of an NRRD file (.seg.nrrd).
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import SimpleITK as sitk

from ..errors import DeformregError, FileFormatError
from .paths import existing_file, suffix_of
from .raw import stem_of

_BESIDE = (".tsv", ".csv", ".ctbl", ".lut", ".label")
"""Suffixes of a table that is found by itself: it has the label map's name."""

_ITK_SNAP = re.compile(r'(\d+)(?:\s+\d+){3}\s+[\d.]+\s+\d\s+\d\s+"(.*)"')
_COLOR_TABLE = re.compile(r"(\d+)\s+(\S.*?)(?:\s+\d+){3,4}")

_NUMBERS = ("index", "labelvalue", "label value", "id", "value", "label")
_NAMES = ("name", "labelname", "label name", "structure", "region")
"""Titles of the two columns of a CSV or TSV, in lower case; the first that occurs is taken."""

_EXPECTED = (
    "Expected FreeSurfer's or 3D Slicer's color table (17 Left-Hippocampus 220 216 20 0), ITK-SNAP's label descriptions "
    '(17 220 216 20 1 1 1 "Left hippocampus"), CSV or TSV with the columns index and name, or a .seg.nrrd'
)

Entry = tuple[int, int, str]
"""Line, number, name."""


def read_label_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read the names of structures by their numbers from a lookup table of any supported kind; the background is left out.

    Raises
    ------
    InputError
        If there is no file.
    FileFormatError
        If it names no structure, or one twice; says what was expected.
    """
    file = existing_file(path)
    if suffix_of(file, (".nrrd", ".nhdr")) is not None:
        return _checked(((0, number, name) for number, name in _names_in_header(file).items()), file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise FileFormatError(f"{file} is no table of names: it is not text. {_EXPECTED}.") from error
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), start=1) if line.strip() and not line.lstrip().startswith("#")]
    blanks = file.suffix.lower() == ".ctbl"  # 3D Slicer writes them as underscores
    for pattern in (_ITK_SNAP, _COLOR_TABLE):
        found = [(n, pattern.fullmatch(line)) for n, line in lines]
        if found and found[0][1] is not None:
            return _checked(_matched(found, blanks, file), file)
    return _checked(_table(lines, file), file)


def names_beside(path: Path) -> dict[int, str]:
    """Read the table beside a label map; empty when there is none, or none that names labels."""
    for suffix in _BESIDE:
        table = path.with_name(stem_of(path) + suffix)
        if table.is_file():
            try:
                return read_label_names(table)
            except DeformregError:
                continue  # some other table that happens to have the name
    return {}


def names_of_segments(header: Mapping[str, str]) -> dict[int, str]:
    """Read the names that 3D Slicer keeps in a .seg.nrrd header."""
    names = {}
    for key, value in header.items():
        found = re.fullmatch(r"Segment(\d+)_LabelValue", key)
        if found and f"Segment{found[1]}_Name" in header:
            names[int(value)] = header[f"Segment{found[1]}_Name"]
    return names


def _names_in_header(path: Path) -> dict[int, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileFormatError(f"{path} cannot be read as NRRD. {_EXPECTED}.") from error
    return names_of_segments({key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})


def _matched(found: Iterable[tuple[int, re.Match[str] | None]], blanks: bool, path: Path) -> Iterator[Entry]:
    for n, match in found:
        if match is None:
            raise FileFormatError(f"{path}, line {n} is not like the lines before it: a number, a name and a color. {_EXPECTED}.")
        yield n, int(match[1]), match[2].replace("_", " ") if blanks else match[2]


def _table(lines: list[tuple[int, str]], path: Path) -> Iterator[Entry]:
    """Read CSV or TSV; without titles the first two columns are taken."""
    first = lines[0][1] if lines else ""
    delimiter = next((sign for sign in "\t;," if sign in first), ",")
    cells = (next(csv.reader([line], delimiter=delimiter)) for _, line in lines)
    rows = [(n, [cell.strip() for cell in row]) for (n, _), row in zip(lines, cells, strict=True)]
    number, name = 0, 1
    titles = [cell.lower() for cell in rows[0][1]] if rows else []
    if titles and not titles[0].isdigit():
        number, name = (next((titles.index(word) for word in words if word in titles), -1) for words in (_NUMBERS, _NAMES))
        rows = rows[1:]
    for n, row in rows:
        if min(number, name) < 0 or max(number, name) >= len(row) or not row[number].isdigit():
            raise FileFormatError(f"{path}, line {n} names no structure. {_EXPECTED}.")
        yield n, int(row[number]), row[name]


def _checked(entries: Iterable[Entry], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for n, number, name in entries:
        if names.setdefault(number, name) != name:
            raise FileFormatError(f"{path}, line {n} names structure {number} {name!r}; it was {names[number]!r} before. Keep one of them.")
    found = {number: name for number, name in names.items() if number != 0 and name}
    if not found:
        raise FileFormatError(f"{path} names no structure. {_EXPECTED}.")
    return found
