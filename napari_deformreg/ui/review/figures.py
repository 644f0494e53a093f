"""Graded figures as rows of a table; one that a single place decides goes there."""

from __future__ import annotations

import numpy as np

from ...qa import GradedFigure
from .desk import Desk
from .tables import Column, Row

PLACE_COLUMN = Column(
    "place_text", "place R, A, S (mm)", "Where the largest or smallest value lies, or the structure; choosing the row goes there (RAS+ mm)."
)

LIMITS_COLUMN = Column(
    "limits_text", "limits", "The tolerance: green up to the first limit, amber up to the second, red beyond. ≥: down to them."
)

SHORT = {"dice": "Dice", "mean_surface_distance_mm": "distance", "hd95_mm": "HD95"}
"""Figures of structures by names that leave room for the structure's."""


def figure_row(figure: GradedFigure) -> Row:
    """Write one figure as a row of texts."""
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    texts = {key: "–" if value is None else f"{value:.3g}{unit}" for key, value in (("value", figure.value), ("before", figure.before))}
    title = f"{figure.structure}: {SHORT.get(figure.figure, figure.title)}" if figure.structure else figure.title
    tip = f"<p><b>{title}</b></p><p>{figure.definition}</p><p>Domain: {figure.domain} (n = {figure.n}).</p><p>{figure.why}</p>"
    judged = "" if figure.tolerance is None else f"<p>Tolerance: {figure.tolerance_text}.</p><p>{figure.tolerance.source}</p>"
    return {
        **dict(figure), "title": title, "value_text": texts["value"], "before_text": texts["before"],
        "place_text": None if figure.place_mm is None else ", ".join(f"{mm:.1f}" for mm in figure.place_mm),
        "limits_text": figure.limits_text, "limits_text_tip": judged or tip,
        **{f"{key}_tip": tip for key in ("title", "value_text", "before_text")},
    }  # fmt: skip


def go_to_figure(desk: Desk, row: Row) -> None:
    """Show where a figure is decided, if one place decides it; a fold as the table of folds shows it."""
    place = row["place_mm"]
    folds = () if desk.review is None else desk.review.folds
    fold = next((fold for fold in folds if place is not None and np.allclose(fold.center_mm, place, atol=0.01)), None)
    if fold is not None:
        desk.go_to_fold(place, fold.volume_mm3)
    elif place is not None:
        desk.go_to(place, desk.seen_mm, None if row["structure"] else desk.ring_mm)
