"""Landmark pairs as plain, unchanging values: where they are in the world, what they are for, and how one state differs from the next.

All coordinates are RAS+ mm: `fixed_mm` in the fixed image, `moving_mm` in the moving one, whatever is drawn where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ...errors import InputError
from ...space import LandmarkPairs

Point = tuple[float, float, float]

COLORS = ("#ffd54f", "#4dd0e1", "#ff8a65", "#aed581", "#ba68c8", "#f06292", "#64b5f6", "#dce775")
"""Of the pairs in turn; all are bright on gray images, and numbers tell apart what colors do not."""


class Use(StrEnum):
    """What a pair is for."""

    DRIVES = "drives"
    """It corrects the registration."""
    HELD_OUT = "held out"
    """It judges the registration: nothing is fitted to it."""
    EXCLUDED = "excluded"
    """It is kept, and counts for nothing."""


@dataclass(frozen=True)
class Pair:
    """One place in both images.

    Attributes
    ----------
    number : int
        From 1; never given twice, so that a color and a number stay with their pair.
    name : str
        What it is called in files; all names of a list differ.
    fixed_mm, moving_mm : tuple of float
        RAS+ mm; the partner is None until it is found.
    weight : float
        How much it counts among the others, 0 to 1.
    locked : bool
        Neither end may be moved, and it cannot be deleted.
    use : Use
        What it is for.
    confidence : float or None
        Of the suggestion that was accepted; None for a partner placed by hand.
    """

    number: int
    name: str
    fixed_mm: Point
    moving_mm: Point | None = None
    weight: float = 1.0
    locked: bool = False
    use: Use = Use.DRIVES
    confidence: float | None = None

    @property
    def complete(self) -> bool:
        """Whether it has a partner."""
        return self.moving_mm is not None

    @property
    def drives(self) -> bool:
        """Whether it takes part in a correction."""
        return self.complete and self.use is Use.DRIVES and self.weight > 0

    @property
    def color(self) -> str:
        """Its color, by its number."""
        return COLORS[(self.number - 1) % len(COLORS)]


@dataclass(frozen=True)
class PairList:
    """All pairs, in the order in which they were made.

    Raises
    ------
    InputError
        If two have one name, a coordinate is not finite, or a weight lies outside 0 to 1.
    """

    pairs: tuple[Pair, ...] = ()
    next_number: int = 1

    def __post_init__(self) -> None:
        names = [pair.name for pair in self.pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"Landmark names must differ; these occur more than once: {', '.join(twice[:5])}. Rename one of each.")
        for pair in self.pairs:
            _check(pair)

    def __len__(self) -> int:
        return len(self.pairs)

    def __contains__(self, name: object) -> bool:
        return any(pair.name == name for pair in self.pairs)

    def __getitem__(self, name: str) -> Pair:
        for pair in self.pairs:
            if pair.name == name:
                return pair
        raise InputError(f"There is no landmark pair {name!r}; known: {', '.join(self.names[:10]) or 'none'}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all pairs, in order."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def complete(self) -> tuple[Pair, ...]:
        """Those that have a partner."""
        return tuple(pair for pair in self.pairs if pair.complete)

    def added(self, fixed_mm: Sequence[float] | np.ndarray) -> PairList:
        """Return the list with one more pair at the end, whose partner is still to be found."""
        number = self.next_number
        taken, name = set(self.names), str(number)
        while name in taken:
            name += "'"
        return PairList((*self.pairs, Pair(number, name, as_point(fixed_mm))), number + 1)

    def moved(self, name: str, *, fixed_mm: Sequence[float] | None = None, moving_mm: Sequence[float] | None = None) -> PairList:
        """Return the list with one end of a pair, or both, somewhere else.

        Raises
        ------
        InputError
            If the pair is locked.
        """
        pair = self._free(name, "moved")
        if fixed_mm is not None:
            pair = replace(pair, fixed_mm=as_point(fixed_mm))
        if moving_mm is not None:
            pair = replace(pair, moving_mm=as_point(moving_mm), confidence=None)
        return self._with(name, pair)

    def accepted(self, name: str, moving_mm: Sequence[float], confidence: float | None) -> PairList:
        """Return the list with a suggested partner taken for a pair."""
        return self._with(name, replace(self._free(name, "moved"), moving_mm=as_point(moving_mm), confidence=confidence))

    def changed(self, name: str, /, **changes: Any) -> PairList:
        """Return the list with other fields of one pair: name, weight, locked, use; its places need `moved`."""
        if unknown := set(changes) - {"name", "weight", "locked", "use"}:
            raise InputError(f"A pair has no {', '.join(sorted(unknown))} to be changed here; expected name, weight, locked or use.")
        return self._with(name, replace(self[name], **changes))

    def deleted(self, name: str) -> PairList:
        """Return the list without one pair."""
        self._free(name, "deleted")
        return PairList(tuple(pair for pair in self.pairs if pair.name != name), self.next_number)

    def joined(self, found: LandmarkPairs, weights: Sequence[float] | np.ndarray | None = None) -> PairList:
        """Return the list with pairs from elsewhere at the end; one with a known name replaces that pair, if it is not locked."""
        pairs, number = list(self.pairs), self.next_number
        given = [1.0] * len(found) if weights is None else [float(weight) for weight in weights]
        for name, fixed, moving, weight in zip(found.names, found.fixed_points, found.moving_points, given, strict=True):
            fixed_mm, moving_mm = as_point(fixed), as_point(moving)
            known = next((n for n, pair in enumerate(pairs) if pair.name == name), None)
            if known is None:
                pairs.append(Pair(number, name, fixed_mm, moving_mm, weight))
                number += 1
            elif not pairs[known].locked:
                pairs[known] = replace(pairs[known], fixed_mm=fixed_mm, moving_mm=moving_mm, weight=weight, confidence=None)
        return PairList(tuple(pairs), number)

    def nearest(self, place_mm: Sequence[float] | np.ndarray) -> Pair | None:
        """Return the pair whose fixed end is nearest to a place in the fixed image; None without pairs."""
        return min(self.pairs, key=lambda pair: math.dist(pair.fixed_mm, place_mm), default=None)

    def landmark_pairs(self, chosen: Sequence[Pair] | None = None) -> LandmarkPairs:
        """Return the complete pairs, or chosen ones of them, as arrays."""
        complete = [pair for pair in (self.pairs if chosen is None else chosen) if pair.moving_mm is not None]
        fixed = np.array([pair.fixed_mm for pair in complete], dtype=np.float64).reshape(-1, 3)
        moving = np.array([pair.moving_mm for pair in complete], dtype=np.float64).reshape(-1, 3)
        return LandmarkPairs(tuple(pair.name for pair in complete), fixed, moving)

    def weights(self) -> dict[str, float]:
        """Give how much each complete pair counts; 0 for those that do not drive."""
        return {pair.name: pair.weight if pair.drives else 0.0 for pair in self.complete}

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {"next_number": self.next_number, "pairs": [{**asdict(pair), "use": pair.use.value} for pair in self.pairs]}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PairList:
        """Read what `to_mapping` wrote.

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            return cls(tuple(_pair_of(one) for one in values["pairs"]), int(values["next_number"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"These are no landmark pairs that this program wrote ({error}); import a landmark file instead.") from error

    def _free(self, name: str, what: str) -> Pair:
        pair = self[name]
        if pair.locked:
            raise InputError(f"Landmark pair {name!r} is locked, so it cannot be {what}. Unlock it first.")
        return pair

    def _with(self, name: str, other: Pair) -> PairList:
        return PairList(tuple(other if pair.name == name else pair for pair in self.pairs), self.next_number)


@dataclass(frozen=True)
class Touched:
    """Where a registration has to be solved again after a change of the pairs.

    Attributes
    ----------
    names : tuple of str
        Driving pairs that are new, or were changed.
    places_mm : tuple of point
        Where a pair drove before and does no more, in the fixed image.
    """

    names: tuple[str, ...] = ()
    places_mm: tuple[Point, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.places_mm)


def touched(before: PairList, after: PairList) -> Touched:
    """Tell what a change of the pairs means for a registration that they drive."""
    old, new = ({pair.number: pair for pair in state.pairs if pair.drives} for state in (before, after))
    names = [pair.name for number, pair in new.items() if number not in old or _pull(old[number]) != _pull(pair)]
    places = [pair.fixed_mm for number, pair in old.items() if number not in new or new[number].fixed_mm != pair.fixed_mm]
    return Touched(tuple(names), tuple(places))


def as_point(values: Sequence[float] | np.ndarray) -> Point:
    """Take three numbers as a point."""
    x, y, z = (float(n) for n in values)
    return x, y, z


def _pull(pair: Pair) -> tuple[Any, ...]:
    return pair.fixed_mm, pair.moving_mm, pair.weight


def _check(pair: Pair) -> None:
    if not pair.name.strip():
        raise InputError(f"Landmark pair {pair.number} has no name; expected one that no other pair has.")
    if not all(math.isfinite(n) for n in (*pair.fixed_mm, *(pair.moving_mm or ()))):
        raise InputError(f"Landmark pair {pair.name!r} has coordinates that are no finite numbers; expected RAS mm.")
    if not 0 <= pair.weight <= 1:
        raise InputError(f"Landmark pair {pair.name!r} has the weight {pair.weight}; expected 0 to 1.")


def _pair_of(values: Mapping[str, Any]) -> Pair:
    moving, confidence = values["moving_mm"], values["confidence"]
    return Pair(
        number=int(values["number"]),
        name=str(values["name"]),
        fixed_mm=as_point(values["fixed_mm"]),
        moving_mm=None if moving is None else as_point(moving),
        weight=float(values["weight"]),
        locked=bool(values["locked"]),
        use=Use(values["use"]),
        confidence=None if confidence is None else float(confidence),
    )
