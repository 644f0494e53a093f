"""Offers to register again from the pairs, where the automatic start looks wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from ...errors import DeformregError
from ...io import open_result_folder, split_volume_suffix
from ...settings import Settings
from ...space import LandmarkPairs, Landmarks
from ...space.point_fits import fit_start
from ...workflow import InputPaths, Inputs, noted_paths, read_inputs
from ..buttons import button
from ..result_panel import ResultPanel
from ..review.tab import note
from ..shown import topmost
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
        now = desk.case.now
        found = None if now is None else start_is_wrong(now, _driving(desk))
        case = None if found is None else _case(desk)
        self.setVisible(case is not None)
        if found is None or case is None:
            return
        again = case if isinstance(case, str) else ""
        self.start_button.setEnabled(not again)
        self.text.setText(
            f"<b>The start looks wrong:</b> the registration's affine misses your pairs by {found[0]:.0f} mm in the mean, "
            f"one through them by {found[1]:.0f} mm. A correction cannot make up for that. {again}"
        )


def start_from_points(desk: PairDesk) -> None:
    """Register the case's images again, from where the pairs place them."""
    case, again = _case(desk), _registrar(desk)
    if case is None or isinstance(case, str) or again is None:
        return
    pairs = _driving(desk)
    fixed, moving = (Landmarks(points, pairs.names) for points in (pairs.fixed_points, pairs.moving_points))
    own, settings = case.inputs, case.settings.changed(affine={"start": "landmarks"})
    again(lambda: replace(own(), fixed_landmarks=fixed, moving_landmarks=moving), settings, case.paths)


@dataclass(frozen=True, eq=False)
class _Case:
    """What a case was registered from."""

    inputs: Callable[[], Inputs]
    settings: Settings
    paths: InputPaths | None


def _case(desk: PairDesk) -> _Case | str | None:
    """Tell what the shown case was registered from: in memory, or in files; or in words why that cannot be had. None without a case."""
    shown = desk.case.shown
    if shown is None or (shown.outcome is None and shown.folder is None):
        return None
    if _registrar(desk) is None:
        return "Open the <i>Register</i> dock to begin again from the pairs."
    if shown.outcome is not None:
        inputs = shown.outcome.inputs
        return _Case(lambda: inputs, shown.outcome.result.settings, None)
    assert shown.folder is not None  # since the first line
    try:
        paths = shown.paths or noted_paths(shown.folder)
        settings = Settings.from_mapping(dict(open_result_folder(shown.folder).settings))
    except DeformregError as error:
        return f"It cannot be begun again: {escape(str(error))}"
    gone = [name for name in (str(paths.fixed), str(paths.moving)) if not split_volume_suffix(name)[0].is_file()]
    if gone:
        return (
            f"To begin again from the pairs, the images are needed, and {escape(' and '.join(gone))} "
            f"{'are' if len(gone) > 1 else 'is'} not there any more; open both and register them with <i>Start: landmarks</i>."
        )
    files = replace(paths, fixed_landmarks=None, moving_landmarks=None)
    return _Case(lambda: read_inputs(files), settings, paths)


def _registrar(desk: PairDesk) -> Callable[..., Any] | None:
    """Return who registers again: the dock that shows the case, or the window's Register dock."""
    panel = desk.case.panel
    if panel is None:
        return None
    others = topmost(panel).findChildren(ResultPanel)
    return next((one.register_again for one in (panel, *others) if one.register_again is not None), None)


def _driving(desk: PairDesk) -> LandmarkPairs:
    """Return the complete pairs that count."""
    weights = desk.pairs.weights()
    return desk.pairs.landmark_pairs([pair for pair in desk.pairs.complete if weights.get(pair.name, 1.0) > 0])
