"""Every step that was made with the pairs, back to the first and forward to the last."""

from __future__ import annotations

from dataclasses import dataclass

from .pair_list import PairList


@dataclass(eq=False)
class Change:
    """One step.

    Attributes
    ----------
    text : str
        What was done, for people.
    before, after : PairList
        All pairs, around it.
    corrected : bool
        Whether the registration was corrected for it, so that this is to be taken back with it.
    failed : bool
        Whether that was tried and could not be done: it is not tried again in the middle of a history.
    """

    text: str
    before: PairList
    after: PairList
    corrected: bool = False
    failed: bool = False


class History:
    """The present pairs and how they came about; a new step ends what could be done again."""

    def __init__(self, start: PairList | None = None) -> None:
        self._start = start or PairList()
        self._changes: list[Change] = []
        self._done = 0

    @property
    def pairs(self) -> PairList:
        """The pairs as they are now."""
        return self._changes[self._done - 1].after if self._done else self._start

    @property
    def to_undo(self) -> Change | None:
        """The step that would be taken back."""
        return self._changes[self._done - 1] if self._done else None

    @property
    def to_redo(self) -> Change | None:
        """The step that would be made again."""
        return self._changes[self._done] if self._done < len(self._changes) else None

    def do(self, text: str, after: PairList, always: bool = False) -> Change | None:
        """Make a step; None where nothing would change, unless it counts `always`."""
        if after == self.pairs and not always:
            return None
        change = Change(text, self.pairs, after)
        del self._changes[self._done :]
        self._changes.append(change)
        self._done += 1
        return change

    def undo(self) -> Change | None:
        """Take the last step back; None at the start."""
        change = self.to_undo
        self._done -= change is not None
        return change

    def redo(self) -> Change | None:
        """Make the step again that was taken back last; None at the end."""
        change = self.to_redo
        self._done += change is not None
        return change

    def holds(self, change: Change) -> bool:
        """Tell whether a step is done now, not taken back or forgotten."""
        return any(one is change for one in self._changes[: self._done])
