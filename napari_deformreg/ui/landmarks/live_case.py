"""The result that the pairs correct: shown with arrays of its own, so that a correction can be written into them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from ...qa import pair_fits
from ...result import Control, Step
from ...space import LandmarkPairs
from .. import result_layers as parts
from ..result_panel import ResultPanel
from ..several_changes import changed_at_once
from ..shown import ShownResult
from ..worker import Runner
from .corrections import Update
from .directions import Directions
from .live_result import LiveResult, OwnPicture


class LiveCase(QObject):
    """One result of a panel, taken over for correction.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    """

    began = Signal()
    """A case is there, and its layers may be written into."""
    remeasured = Signal()
    """The same case, with new figures."""
    replaced = Signal(object, object)
    """Somebody else shows another version of the case: the panel, and what it shows now."""
    failed = Signal(object)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.panel: ResultPanel | None = None
        self.shown: ShownResult | None = None
        self.automatic: Directions | None = None
        """As the registration was before any correction."""
        self.now: Directions | None = None
        self._live: LiveResult | None = None
        self._targets: LandmarkPairs | None = None
        self._waiting: ShownResult | None = None
        self._begun: Directions | None = None
        self._copied = False
        self._copier = Runner(self)
        self._copier.succeeded.connect(self._on_copied)
        self._copier.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether a case is being taken over."""
        return self._copier.busy or self._waiting is not None

    @property
    def targets(self) -> LandmarkPairs | None:
        """Landmarks that came with the case, if it has any: not those of the dock."""
        return self._targets

    def take(self, panel: ResultPanel, shown: ShownResult) -> None:
        """Take over what a panel shows."""
        self.leave()
        self.panel, self._waiting = panel, shown
        # The arrays that are shown will be other ones, so that these stay as they are.
        self._begun = Directions(shown.picture.displacement, shown.picture.affine)
        panel.exchanged.connect(self._on_exchanged)
        self._copier.start(lambda: _copying(shown))

    def leave(self) -> None:
        """Let go of the case; its layers stay as they are."""
        self._copier.drop()
        self._copied = False
        if self.panel is not None:
            self.panel.exchanged.disconnect(self._on_exchanged)
        self.panel = self.shown = self.automatic = self.now = self._live = self._targets = self._waiting = None

    def preview(self, update: Update) -> None:
        """Show a preview."""
        if self._live is not None:
            self._live.preview(update)

    def end_preview(self) -> None:
        """Put a preview away."""
        if self._live is not None:
            self._live.end_preview()

    def show(self, update: Update, corrected: bool) -> None:
        """Show a correction; `corrected` tells whether the registration is now another one than was measured."""
        if self._live is not None and self.panel is not None:
            self._live.show(update)
            self.panel.redraw_field()
            self.panel.set_unmeasured(corrected)
            self._move_targets()

    def target_errors(self) -> tuple[float, float, int] | None:
        """Return the case's own mean target registration error (mm) now and by the automatic result, and of how many; None without any."""
        if self._targets is None or self.now is None or self.automatic is None:
            return None
        names = self._targets.names
        now, before = (pair_fits(one.fixed_to_moving, self._targets, {}).mean_mm(names) for one in (self.now, self.automatic))
        return None if now is None or before is None else (now, before, len(names))

    def measured(self, outcome: Any, picture: Any) -> None:
        """Show the registration that was measured meanwhile as the panel's result."""
        if self.panel is not None and self.shown is not None:
            panel, shown, automatic = self.panel, replace(self.shown, outcome=outcome, picture=picture), self.automatic
            self.take(panel, shown)
            self.automatic = automatic

    # --- taking over ------------------------------------------------------------------------------------------------

    def _on_copied(self, own: OwnPicture) -> None:
        waiting = self._waiting
        if self.panel is None or waiting is None:
            return
        self._waiting, self._copied = replace(waiting, picture=own.picture), True
        self.panel.exchange(waiting.outcome, own.picture, own.entries)

    def _on_exchanged(self) -> None:
        shown, panel = self._waiting, self.panel
        if panel is None or panel.current is None or (shown is not None and not self._copied):
            return
        if shown is None or panel.current.picture is not shown.picture:
            self.replaced.emit(panel, panel.current)
            return
        again = self.automatic is not None
        automatic = self.automatic or self._begun
        assert automatic is not None  # since `take`
        self._waiting = None
        self.shown, self.automatic = panel.current, automatic
        self.now = Directions(shown.picture.displacement, shown.picture.affine)
        self._live = LiveResult(self._viewer, shown.picture, panel.current.layers)
        self._targets = _targets(self.shown, automatic)
        (self.remeasured if again else self.began).emit()

    def _move_targets(self) -> None:
        """Let the case's own moving landmarks follow, with their errors."""
        layer = None if self.shown is None else self.shown.layers.get(parts.MOVED_LANDMARKS)
        if layer is None or self._targets is None or self.now is None or len(layer.data) != len(self._targets):
            return
        names = list(layer.features["name"])
        order = [self._targets.names.index(name) for name in names if name in self._targets.names]
        if len(order) != len(names):
            return
        places = self.now.drawn_moving(self._targets.moving_points[order])
        errors = pair_fits(self.now.fixed_to_moving, self._targets, {}).residual_mm
        _move(layer, places, np.array([errors[name] for name in names]))


def _copying(shown: ShownResult) -> Generator[Step, Control | None, OwnPicture]:
    yield Step("prepare", message="taking over the layers")
    return OwnPicture.of(shown.picture)


def _targets(shown: ShownResult, automatic: Directions) -> LandmarkPairs | None:
    """Return the case's own landmarks; where only the carried ones are known, the moving ones are where these go."""
    picture = shown.picture
    if picture.fixed_landmarks is None or picture.moved_points is None:
        return None
    carried, fixed = picture.moved_points.landmarks, picture.fixed_landmarks
    known = None if shown.outcome is None else shown.outcome.inputs.moving_landmarks
    moving = automatic.partners(carried.points) if known is None else known.points
    names = carried.names if known is None else known.names
    both = [name for name in fixed.names if name in names]
    if not both:
        return None
    return LandmarkPairs(
        tuple(both),
        np.array([fixed.points[fixed.names.index(name)] for name in both]),
        np.array([moving[names.index(name)] for name in both]),
    )


def _move(layer: Any, drawn: Float[np.ndarray, "n 3"], errors_mm: Float[np.ndarray, "n"]) -> None:
    features = layer.features.copy()
    if "tre_after_mm" in features:
        features["tre_after_mm"] = errors_mm
        shown = [bool(text) for text in features["shown_error"]] if "shown_error" in features else []
        if shown:
            # The same points keep a text: one that jumps from point to point cannot be read.
            features["shown_error"] = [f"{n:.1f} mm" if written else "" for n, written in zip(errors_mm, shown, strict=True)]
    with changed_at_once(layer):
        layer.data = (drawn - layer.translate) / layer.scale
        layer.features = features
