"""Names of files, and writing them whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError


def split_volume_suffix(text: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Split ``FILE@N`` into the file and the number of the volume in it (from 0).

    Parameters
    ----------
    text : str or path
        What the user typed. A file whose very name ends with ``@N`` is taken as it is.

    Returns
    -------
    path, volume
        ``volume`` is None when none was named.
    """
    path = Path(text)
    found = re.fullmatch(r"(.+)@(\d+)", str(text))
    if found is None or path.exists():
        return path, None
    return Path(found[1]), int(found[2])


def suffix_of(path: str | os.PathLike[str], known: Iterable[str]) -> str | None:
    """Return the longest of the known suffixes that the file name ends with (case does not matter), or None."""
    name = Path(path).name.lower()
    fitting = [suffix for suffix in known if name.endswith(suffix) and name != suffix]
    return max(fitting, key=len, default=None)


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path if there is a file.

    Raises
    ------
    InputError
        If there is nothing, or a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected one file. A DICOM series must be converted first, for example with dcm2niix.")
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the name and the folder.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read by this user. Change its permissions, or copy it.")
    return path


def _sibling(path: Path, mark: str) -> Path:
    # The full name stays at the end: several writers choose their format by it.
    return path.with_name(f".{mark}-{uuid.uuid4().hex[:8]}-{path.name}")


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling to write to; it takes the file's place only when the block ends without an error.

    Raises
    ------
    InputError
        If the folder does not exist, cannot be written to, or is full.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {target}: there is no folder {target.parent}. Make it first.")
    if target.is_dir():
        raise InputError(f"Cannot write {target}: a folder has this name. Choose another one.")
    partial = _sibling(target, "partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"Cannot write {target}: {why}. Choose a folder that you may write to and that has room.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_result_target(path: str | os.PathLike[str], known_names: frozenset[str], mark: str) -> None:
    """Refuse a place where a result folder may not be put; worth calling before a long run.

    Parameters
    ----------
    path : path
        Where the folder is to be.
    known_names : frozenset of str
        Names that an older result may hold; a folder with anything else is the user's own and is not replaced.
    mark : str
        The file that every result folder has.

    Raises
    ------
    InputError
        If a file is there, or a folder that is neither empty nor an older result.
    """
    target = Path(path)
    if target.is_symlink() or target.exists():
        if not target.is_dir():
            raise InputError(f"Cannot write the result folder {target}: a file has this name. Choose another one.")
        names = {entry.name for entry in target.iterdir()}
        foreign = sorted(names - known_names)
        if names and (mark not in names or foreign):
            shown = ", ".join(foreign[:3] or sorted(names)[:3])
            raise InputError(
                f"Cannot replace the folder {target}: it is neither empty nor an older result (it holds {shown}). "
                "Choose another folder, or move these files away."
            )


@contextmanager
def replaced_folder(path: str | os.PathLike[str], known_names: frozenset[str], mark: str) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; it takes the target's place only when the block ends without an error.

    Raises
    ------
    InputError
        As `check_result_target`, or if the place cannot be written to.
    """
    check_result_target(path, known_names, mark)
    target = Path(path).resolve()
    partial = _sibling(target, "partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"Cannot write the result folder {target}: {error.strerror}. Choose a place that you may write to.") from error
    try:
        yield partial
        check_result_target(target, known_names, mark)
        _take_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replaced_entries(folder: Path, last: str, known_names: frozenset[str]) -> Iterator[Path]:
    """Give a temporary folder to fill; what is in it takes the place of the same names in `folder`, all or none.

    Parameters
    ----------
    folder : path
        An existing folder; other entries in it stay.
    last : str
        The entry that is replaced last: who finds it finds the others.
    known_names : frozenset of str
        Names that may be written.

    Raises
    ------
    InputError
        If the place cannot be written to; everything is as before.
    """
    target = folder.resolve()
    partial, older = _sibling(target, "partial"), _sibling(target, "older")
    try:
        partial.mkdir()
        yield partial
        names = sorted((entry.name for entry in partial.iterdir()), key=lambda name: (name == last, name))
        if not set(names) <= known_names:
            raise AssertionError(f"Only {sorted(known_names)} may be written, not {names}.")
        older.mkdir()
        _swap(partial, target, older, names)
    except OSError as error:
        raise InputError(f"Cannot write to {target}: {error.strerror or error}. Choose a folder that you may write to.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def _swap(partial: Path, target: Path, older: Path, names: list[str]) -> None:
    """Move new entries in and old ones out; on a failure, back again."""
    done: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for source, place in ((target / name, older / name), (partial / name, target / name)):
                if source.exists():
                    source.rename(place)
                    done.append((source, place))
    except OSError:
        for source, place in reversed(done):
            with suppress(OSError):
                place.rename(source)
        raise


def _take_place(partial: Path, target: Path) -> None:
    """Rename the finished folder to its target; the older one is back in place if that fails."""
    if not target.exists():
        partial.rename(target)
        return
    older = _sibling(target, "older")
    try:
        target.rename(older)
        partial.rename(target)
    except OSError as error:
        with suppress(OSError):
            older.rename(target)
        raise InputError(
            f"Cannot replace the result folder {target}: {error.strerror}; the older result is intact. "
            "Close what uses it, or choose another folder."
        ) from error
    shutil.rmtree(older, ignore_errors=True)
