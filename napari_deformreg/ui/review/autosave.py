"""Keeps an unsaved review through a crash: the reviewer's words, pictures, tolerances and view, every minute."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtpy.QtCore import QLockFile, QStandardPaths

from ...errors import DeformregError
from ...io.autosave import read_autosaves, write_autosave
from ...qa import Review, Snapshot, Tolerances, Verdict

INTERVAL_MS = 60_000


def autosave_folder() -> Path:
    """Return where unsaved reviews are kept."""
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(place) / "napari-deformreg" / "unsaved-reviews"


@dataclass(frozen=True)
class Kept:
    """An unsaved review that a window left behind.

    Attributes
    ----------
    path : Path
        Its file.
    folder : Path
        The result folder that it is a review of.
    saved : str
        When, UTC.
    content : mapping
        What it holds.
    """

    path: Path
    folder: Path
    saved: str
    content: Mapping[str, Any]

    @property
    def temporary(self) -> bool:
        """Whether the result, too, was never saved by the user: its folder lies among the unsaved reviews."""
        return bool(self.content.get("temporary"))

    def apply(self, review: Review) -> Review:
        """Return a review with what was kept of this one."""
        said = self.content["opinion"]
        pictures = tuple(
            Snapshot(caption=one["caption"], taken=one["taken"], png=base64.b64decode(one["png"])) for one in self.content["snapshots"]
        )
        review = review.graded_by(Tolerances.from_mapping(self.content["tolerances"]))
        review = review.model_copy(update={"reviewer": said["reviewer"], "verdict": Verdict(said["verdict"]), "comment": said["comment"]})
        return review.with_snapshots(pictures).with_session(self.content["session"])


class AutosaveFile:
    """The file of one window; a lock on it tells other windows that this one is still there.

    Parameters
    ----------
    folder : Path
        Of all such files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = uuid.uuid4().hex
        self._lock: QLockFile | None = None
        self._taken_over: Kept | None = None
        self._inherited: Path | None = None

    @property
    def result_folder(self) -> Path:
        """Where a result is kept that the user has not saved."""
        return self.folder / f"{self._name}-result"

    def make_room(self) -> None:
        """Throw away the result kept here before: a judged one is never replaced."""
        shutil.rmtree(self.result_folder, ignore_errors=True)

    def write(self, folder: Path, review: Review, session: Mapping[str, Any]) -> None:
        """Keep a review of a result folder.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        pictures = [{"caption": s.caption, "taken": s.taken, "png": base64.b64encode(s.png).decode("ascii")} for s in review.snapshots]
        content = {
            "folder": str(folder.resolve()),
            "temporary": self.holds(folder),
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "opinion": {"reviewer": review.reviewer, "verdict": review.verdict.value, "comment": review.comment},
            "tolerances": review.tolerances.model_dump(mode="json"),
            "snapshots": pictures,
            "session": dict(session),
        }
        write_autosave(self.folder / f"{self._name}.json", content)
        if self._lock is None:
            self._lock = _lock_of(self.folder / f"{self._name}.json")
            self._lock.tryLock(0)
        if self._taken_over is not None:
            self._inherited = self._taken_over.folder if self.holds(self._taken_over.folder) else None
            discard(self._taken_over, keep_result=True)
            self._taken_over = None

    def holds(self, folder: Path) -> bool:
        """Tell whether a result folder is one of those that are kept here, not one of the user's."""
        return folder.resolve().parent == self.folder.resolve()

    def take_over(self, kept: Kept) -> None:
        """Go on with a review that was left behind; its file goes when this one is first written."""
        self._taken_over = kept

    def done(self) -> None:
        """Keep nothing more: all is saved, or nothing was said."""
        (self.folder / f"{self._name}.json").unlink(missing_ok=True)
        for result in (self.result_folder, self._inherited):
            if result is not None:
                shutil.rmtree(result, ignore_errors=True)
        if self._taken_over is not None:
            discard(self._taken_over)
            self._taken_over = None
        self.leave()

    def leave(self) -> None:
        """Leave the file behind for the next window."""
        if self._lock is not None:
            self._lock.unlock()
            self._lock = None


def left_behind(folder: Path) -> list[Kept]:
    """Find what windows that are gone have left, the newest first."""
    found = []
    for path, content in read_autosaves(folder):
        lock = _lock_of(path)
        if not lock.tryLock(0):
            continue  # Its window is still there.
        lock.unlock()
        try:
            kept = Kept(path, Path(content["folder"]), str(content["saved"]), content)
            Tolerances.from_mapping(content["tolerances"])
        except (KeyError, TypeError, DeformregError):
            continue
        found.append(kept)
    return found


def discard(kept: Kept, keep_result: bool = False) -> None:
    """Throw away what was left behind."""
    kept.path.unlink(missing_ok=True)
    if kept.temporary and not keep_result and kept.folder.parent == kept.path.parent:
        shutil.rmtree(kept.folder, ignore_errors=True)


def _lock_of(path: Path) -> QLockFile:
    lock = QLockFile(str(path.with_suffix(".lock")))
    lock.setStaleLockTime(0)  # Held as long as its process lives, however long that is.
    return lock
