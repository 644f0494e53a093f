"""Keeps the pairs through a crash: one small file a window, written soon after every step."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtpy.QtCore import QLockFile, QObject, QStandardPaths, QTimer, Signal

from ...errors import DeformregError
from ...io.autosave import read_autosaves, write_autosave
from .pair_list import PairList

DELAY_MS = 500
"""After a step; steps that follow each other faster are kept together."""


def kept_folder() -> Path:
    """Return where unsaved pairs are kept."""
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(place) / "napari-deformreg" / "unsaved-landmarks"


@dataclass(frozen=True)
class KeptPairs:
    """Pairs that a window left behind.

    Attributes
    ----------
    path : Path
        Their file.
    saved : str
        When, UTC.
    case : str
        What they belong to, for people.
    pairs : PairList
        As they were.
    """

    path: Path
    saved: str
    case: str
    pairs: PairList

    @property
    def text(self) -> str:
        """One line for people."""
        count = len(self.pairs)
        what, were = ("1 landmark pair", "was") if count == 1 else (f"{count} landmark pairs", "were")
        return f"{what} of {self.case} {were} not saved (kept {self.saved[:16].replace('T', ' ')} UTC)."


class PairKeeper(QObject):
    """Writes what `content` tells, soon after `touch`.

    Parameters
    ----------
    content : callable
        Tells the pairs and what they belong to.
    """

    told = Signal(str)

    def __init__(self, content: Callable[[], tuple[PairList, str]], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._content = content
        self._path = kept_folder() / f"{uuid.uuid4().hex}.json"
        self._lock: QLockFile | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self.write)

    def touch(self) -> None:
        """Note that something is to be kept."""
        self._timer.start()

    def write(self) -> None:
        """Keep what there is now."""
        self._timer.stop()
        pairs, case = self._content()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            write_autosave(self._path, {"saved": now, "case": case, "pairs": pairs.to_mapping()})
        except DeformregError as error:
            self.told.emit(str(error))
            return
        if self._lock is None:
            # It tells other windows that this one is still there.
            self._lock = _lock_of(self._path)
            self._lock.tryLock(0)

    def done(self) -> None:
        """Keep nothing more: everything is in the user's own files, or there is nothing."""
        self._timer.stop()
        self._path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Write what is still to be written, and leave it for the next window."""
        if self._timer.isActive():
            self.write()
        if self._lock is not None:
            self._lock.unlock()
            self._lock = None

    def left_behind(self) -> list[KeptPairs]:
        """Find what windows that are gone have left, the newest first."""
        found = []
        for path, content in read_autosaves(self._path.parent):
            lock = _lock_of(path)
            if path == self._path or not lock.tryLock(0):
                continue  # Its window is still there.
            lock.unlock()
            kept = _kept(path, content)
            if kept is not None and len(kept.pairs):
                found.append(kept)
        return found


def discard(kept: KeptPairs) -> None:
    """Throw away what was left behind."""
    kept.path.unlink(missing_ok=True)


def _kept(path: Path, content: Mapping[str, Any]) -> KeptPairs | None:
    try:
        return KeptPairs(path, str(content["saved"]), str(content["case"]), PairList.from_mapping(content["pairs"]))
    except (KeyError, TypeError, DeformregError):
        return None


def _lock_of(path: Path) -> QLockFile:
    lock = QLockFile(str(path.with_suffix(".lock")))
    lock.setStaleLockTime(0)  # Held as long as its process lives, however long that is.
    return lock
