"""Offers to register again from the pairs, where the automatic start looks wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from ...errors import DeformregError
from ...space import LandmarkPairs, Landmarks
from ...space.point_fits import fit_start
from ..buttons import button
from ..review.tab import note
from .directions import Directions
from .pair_desk import PairDesk

LEAST_PAIRS = 3

WRONG_PART = 0.05
"""Of the fixed image's diagonal: pairs that the affine misses by more began elsewhere. Breathing moves a liver by half of it."""

WRONG_TIMES = 3.0
"""So many times as much as a fit through the pairs themselves misses."""


def start_is_wrong(now: Directions, pairs: LandmarkPairs) -> tuple[float, float] | None:
    """Judge the affine by pairs that say where things truly are.

    Returns
    -------
    missed_mm, fitted_mm
        By how much the registration's affine misses the pairs in the mean, and by how much one through the pairs does; None if the start
        looks right, or too few pairs tell.
    """
    if len(pairs) < LEAST_PAIRS:
        return None
    try:
        through = fit_start(pairs)
    except DeformregError:
        return None  # They lie on one line.
    missed, fitted = (
        float(np.linalg.norm(one.map(pairs.fixed_points) - pairs.moving_points, axis=1).mean()) for one in (now.affine, through)
    )
    grid = now.displacement.grid
    diagonal = float(np.linalg.norm(grid.spacing * (np.array(grid.shape) - 1)))
    return (missed, fitted) if missed > max(WRONG_PART * diagonal, WRONG_TIMES * fitted) else None


class StartOffer(QFrame):
    """One line and a button; hidden while the start looks right.

    Parameters
    ----------
    pressed : callable
        What the button does.
    """

    def __init__(self, pressed: Callable[[], Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = note()
        tip = "Register the two images again, from where the pairs place them; the pairs stay."
        self.start_button = button("Start from points", tip, pressed)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(self.start_button)
        self.hide()

    def show_for(self, desk: PairDesk) -> None:
        """Offer it, if the pairs say that the start was wrong and there is somebody to register again."""
        shown, now = desk.case.shown, desk.case.now
        found = None if now is None else start_is_wrong(now, _driving(desk))
        possible = desk.case.panel is not None and desk.case.panel.register_again is not None
        self.setVisible(found is not None and possible and shown is not None and shown.outcome is not None)
        if found is not None:
            self.text.setText(
                f"<b>The start looks wrong:</b> the registration's affine misses your pairs by {found[0]:.0f} mm in the mean, "
                f"one through them by {found[1]:.0f} mm. A correction cannot make up for that."
            )


def start_from_points(desk: PairDesk) -> None:
    """Register the case's images again, from where the pairs place them."""
    shown, panel = desk.case.shown, desk.case.panel
    if shown is None or shown.outcome is None or panel is None or panel.register_again is None:
        return
    pairs, inputs = _driving(desk), shown.outcome.inputs
    own = replace(
        inputs, fixed_landmarks=Landmarks(pairs.fixed_points, pairs.names), moving_landmarks=Landmarks(pairs.moving_points, pairs.names)
    )
    panel.register_again(own, shown.outcome.result.settings.changed(affine={"start": "landmarks"}))


def _driving(desk: PairDesk) -> LandmarkPairs:
    """Return the complete pairs that count."""
    weights = desk.pairs.weights()
    return desk.pairs.landmark_pairs([pair for pair in desk.pairs.complete if weights.get(pair.name, 1.0) > 0])
