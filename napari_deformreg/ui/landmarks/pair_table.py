"""Landmark pairs as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...result import PairDoubt
from ..review.tables import Column, Row, digits
from .pair_list import PairList

COLUMNS = (
    Column("name", "pair", "Its name; double-click a cell of this column to rename the pair."),
    Column("state", "for", "What it is for: it drives the correction, judges it (held out), or counts for nothing (excluded)."),
    Column("residual_mm", "residual mm", "Distance of the fixed end, carried to moving, from the moving end.", digits(2)),
    Column("part", "part in fit", "Its part in what the points still miss: weighted squared residual over the sum of all that drive.",
           lambda value: f"{100 * value:.0f} %"),
    Column("weight", "weight", "How much it counts among the others.", digits(2)),
    Column("confidence", "found", "How sure the suggestion was that was accepted; a dash for a partner placed by hand.",
           lambda value: f"{100 * value:.0f} %"),
    Column("doubt", "doubt", "Whether it disagrees with the pairs around it or with the registration, or needs a fold."),
)  # fmt: skip


def pair_rows(
    pairs: PairList, residuals_mm: Mapping[str, float], parts: Mapping[str, float], doubts: Sequence[PairDoubt] = ()
) -> list[Row]:
    """Write all pairs as rows, in their order."""
    doubtful = {doubt.name: doubt.reason for doubt in doubts if doubt.is_outlier}
    return [
        {
            "name": pair.name,
            "state": ("no partner yet" if not pair.complete else pair.use.value) + (", locked" if pair.locked else ""),
            "residual_mm": residuals_mm.get(pair.name),
            "part": parts.get(pair.name),
            "weight": pair.weight,
            "confidence": pair.confidence,
            "doubt": "look at it" if pair.name in doubtful else None,
            "doubt_tip": doubtful.get(pair.name),
        }
        for pair in pairs.pairs
    ]
