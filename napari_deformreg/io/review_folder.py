"""The files of a review inside a result folder: written whole or not at all, read back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileFormatError, InputError
from . import paths
from . import result_folder as names


@dataclass(frozen=True)
class ReviewFiles:
    """What a review consists of on disk.

    Attributes
    ----------
    json, html : str
        Content of review.json and review.html.
    pdf : bytes
        Content of review.pdf.
    snapshots : tuple of bytes
        PNG files in their order.
    """

    json: str
    html: str
    pdf: bytes
    snapshots: tuple[bytes, ...]


def write_review_files(folder: Path, files: ReviewFiles) -> None:
    """Write them into a folder that is being filled (see `review_entries`, `atomic_folder`)."""
    (folder / names.REVIEW_JSON).write_text(files.json + "\n", encoding="utf-8")
    (folder / names.REVIEW_HTML).write_text(files.html, encoding="utf-8")
    (folder / names.REVIEW_PDF).write_bytes(files.pdf)
    pictures = folder / names.SNAPSHOTS
    pictures.mkdir()  # empty, too: it takes the place of an older one
    for number, png in enumerate(files.snapshots, start=1):
        (pictures / f"{number:02}.png").write_bytes(png)


@contextmanager
def review_entries(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill with a review's files; they take their place in the result folder together, or none does.

    Raises
    ------
    InputError
        If it is not a result folder, or cannot be written to.
    """
    target = names.open_result_folder(folder).path
    with paths.replaced_entries(target, names.REVIEW_JSON, names.RESULT_FILES) as partial:
        yield partial


def read_review_files(folder: str | Path) -> tuple[str, tuple[bytes, ...]] | None:
    """Read review.json and the snapshots of a result folder; None where it has no review.

    Raises
    ------
    InputError
        If there is no folder, or its files may not be read.
    FileFormatError
        If review.json is no text.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"There is no folder {place}. Check the name.")
    file, pictures = place / names.REVIEW_JSON, place / names.SNAPSHOTS
    if not file.is_file():
        return None
    try:
        snapshots = tuple(picture.read_bytes() for picture in sorted(pictures.glob("*.png"))) if pictures.is_dir() else ()
        return file.read_text(encoding="utf-8"), snapshots
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{file} is damaged ({error}). Review the folder again.") from error
    except OSError as error:
        raise InputError(f"Cannot read the review in {place}: {error.strerror}. Change its permissions.") from error
