"""Which of a user's files make a pair: lists, and folders that pairs are drawn from."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileFormatError, InputError
from .paths import suffix_of

ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")

LIST_HELP = f"Expected a CSV table or a JSON list of objects with {', '.join(ROLES[:2])} and, where there are any, {', '.join(ROLES[2:])}"


@dataclass(frozen=True)
class ImageFile:
    """An image and its label map."""

    image: Path
    labels: Path | None = None


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair."""

    fixed: ImageFile
    moving: ImageFile
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None


def read_pair_list(path: Path) -> list[PairFiles]:
    """Read a list of pairs; its paths are relative to its own folder.

    Raises
    ------
    FileFormatError
        If it is no such list.
    InputError
        If it is empty, or a file in it does not exist.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise FileFormatError(f"Cannot read the list of pairs {path}: {error}. {LIST_HELP}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileFormatError(f"{path} is no list of pairs. {LIST_HELP}.")
    if not rows:
        raise InputError(f"The list of pairs {path} is empty. Give at least one pair.")
    return [_pair(row, number, path) for number, row in enumerate(rows, 1)]


def _pair(row: Mapping[str | None, object], number: int, path: Path) -> PairFiles:
    unknown = [str(name) for name in row if name not in ROLES]
    if unknown:
        raise FileFormatError(f"{path}, pair {number}: unknown column {unknown[0]!r}. {LIST_HELP}.")
    files = {role: (path.parent / str(row[role])).resolve() for role in ROLES if row.get(role)}
    for role in ("fixed", "moving"):
        if role not in files:
            raise FileFormatError(f"{path}, pair {number}: the {role} image is missing. {LIST_HELP}.")
    for role, file in files.items():
        if not file.is_file():
            raise InputError(f"{path}, pair {number}: there is no {role.replace('_', ' ')} file {file}. Correct the list.")
    for kind in ("labels", "landmarks"):
        if (f"fixed_{kind}" in files) != (f"moving_{kind}" in files):
            raise InputError(f"{path}, pair {number}: {kind} of one image only. Give both or none.")
    return PairFiles(
        ImageFile(files["fixed"], files.get("fixed_labels")), ImageFile(files["moving"], files.get("moving_labels")),
        files.get("fixed_landmarks"), files.get("moving_landmarks"),
    )  # fmt: skip


def image_groups(folder: Path, labels: Path | None, suffixes: Collection[str]) -> dict[str, list[ImageFile]]:
    """Find the images of a folder and its subfolders; those of one subfolder belong together.

    Parameters
    ----------
    folder : Path
        Where the images lie.
    labels : Path or None
        Where label maps of the same names lie, in the same subfolders.
    suffixes : collection of str
        Of files that can be read.

    Raises
    ------
    InputError
        If there are no images, no subfolder has two, or a label map is missing.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} of images. Check data.folder.")
    known = _label_files(labels, suffixes)
    groups: dict[str, list[ImageFile]] = {}
    found = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and suffix_of(path, suffixes) is not None):
        name = _stem(file, folder, suffixes)
        if known is not None and name not in known:
            raise InputError(f"There is no label map {name}.* in {labels} for {file}. Give one for each image, or leave out data.labels.")
        found += 1
        groups.setdefault(str(file.parent.relative_to(folder)), []).append(ImageFile(file, None if known is None else known[name]))
    groups = {name: files for name, files in groups.items() if len(files) > 1}
    if not groups:
        what = f"{found} image(s), but no two in one subfolder" if found else "no images"
        raise InputError(f"{folder} has {what}; a pair needs two. Expected files ending with one of {', '.join(suffixes)}.")
    return groups


def _label_files(folder: Path | None, suffixes: Collection[str]) -> dict[str, Path] | None:
    if folder is None:
        return None
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} of label maps. Check data.labels.")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and suffix_of(file, suffixes) is not None]
    return {_stem(file, folder, suffixes): file for file in files}


def _stem(file: Path, folder: Path, suffixes: Collection[str]) -> str:
    suffix = suffix_of(file, suffixes) or ""
    return str(file.relative_to(folder))[: -len(suffix)]
