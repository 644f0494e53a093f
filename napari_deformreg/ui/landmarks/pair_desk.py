"""The desk of the Landmarks dock: the pairs, the case they correct, and what follows from every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DeformregError
from ...io import WeightedPairs
from ...space.point_fits import FitName, fit_pairs
from ..result_panel import ResultPanel
from ..review.places import Places
from ..shown import ShownResult
from .corrections import Figures, Order, PointsOrder, Update
from .corrector import Corrector
from .history import Change, History
from .live_case import LiveCase
from .pair_layers import ON_FIXED, ON_MOVING, End, PairLayers, Suggested
from .pair_list import Pair, PairList, Touched, as_point, touched
from .pair_mouse import PairMouse, Place

RADIUS_MM = 25.0
POINTS_WEIGHT = 0.8


class PairDesk(QObject):
    """Holds the pairs of one viewer and does what the user asks for.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the case is shown.
    """

    changed = Signal()
    """Pairs, choice or figures are others."""
    stepped = Signal()
    """The pairs are others."""
    told = Signal(str)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.history = History()
        self.chosen: str | None = None
        self.suggested: Suggested | None = None
        self.radius_mm, self.points_weight, self.use_image, self.at_once = RADIUS_MM, POINTS_WEIGHT, True, True
        self.alone: FitName | None = None
        """What is fitted through the pairs alone after every step, in place of a local correction."""
        self.figures: Figures | None = None
        self.doubts: tuple[Any, ...] = ()
        self.taking: Callable[[Place], Any] | None = None
        """Who takes the next click on the canvas, if it is not meant for a pair."""
        self._last = Touched()
        self.case = LiveCase(viewer, parent)
        self.corrector = Corrector(self)
        self.layers = PairLayers(viewer)
        # The partner of a pair may lie on top of anything that is drawn already.
        self.mouse = PairMouse(viewer, self._ends_to_hit, lambda: self.layers.size_mm, self)
        self.mouse.movable, self.mouse.preferred = self._is_movable, self._side_shown
        self.places = Places(viewer, parent)
        # A turn later: what shows the correction is asked for first.
        self._doubting = QTimer(self)
        self._doubting.setSingleShot(True)
        self._doubting.setInterval(0)
        self._doubting.timeout.connect(lambda: self.corrector.doubt(self.pairs.landmark_pairs(), self.pairs.weights()))
        self._connect()

    @property
    def pairs(self) -> PairList:
        """The pairs as they are."""
        return self.history.pairs

    @property
    def pair(self) -> Pair | None:
        """The chosen pair."""
        return self.pairs[self.chosen] if self.chosen is not None and self.chosen in self.pairs else None

    @property
    def wants_partner(self) -> bool:
        """Whether the next click is the chosen pair's partner."""
        return self.pair is not None and not self.pair.complete

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return self.case.busy or self.corrector.busy or self.places.busy

    # --- what the user does -----------------------------------------------------------------------------------------

    def take(self, panel: ResultPanel, shown: ShownResult) -> None:
        """Correct what a panel shows; the pairs stay."""
        self.corrector.close()
        self.places.forget()
        self.figures, self.doubts, self.suggested = None, (), None
        self.history = History(self.pairs)
        self.case.take(panel, shown)

    def click(self, place: Place) -> None:
        """Begin a pair at a place of the canvas, or place the partner of the one that was begun."""
        now = self.case.now
        if self.taking is not None:
            self.taking(place)
        elif now is None:
            self.told.emit("Register two images or open a result first; then click a place in the fixed image.")
        elif self.wants_partner and self.pair is not None:
            moving_mm = as_point(now.clicked_moving(place))
            self._try(lambda pair=self.pair: self.do(f"partner of {pair.name}", self.pairs.moved(pair.name, moving_mm=moving_mm)))
        else:
            self._begin(now.clicked_fixed(place))

    def accept(self) -> None:
        """Take the suggested partner."""
        found = self.suggested
        if found is not None and self.wants_partner and found.name == self.chosen:
            self._try(lambda: self.do(f"partner of {found.name}", self.pairs.accepted(found.name, found.moving_mm, found.confidence)))

    def give_up(self) -> None:
        """Forget the pair that was begun and has no partner yet."""
        if self.wants_partner and self.chosen is not None:
            self.delete()

    def choose(self, name: str | None, go: bool = False) -> None:
        """Choose a pair, and go there."""
        if name != self.chosen:
            self.suggested = None
        self.chosen = name
        pair = self.pair
        if pair is not None and not pair.complete and self.suggested is None:
            self._suggest(pair)
        if pair is not None and go:
            self.go_to(pair)
        self.redraw()

    def go_to(self, pair: Pair) -> None:
        """Show the slices through the fixed end of a pair."""
        if self.case.now is not None:
            self.places.go_to(pair.fixed_mm, self.case.now.placement)

    def nearest(self) -> None:
        """Choose the pair nearest to the displayed place."""
        if self.case.now is not None:
            pair = self.pairs.nearest(tuple(self.case.now.clicked_fixed(tuple(self._viewer.dims.point))))
            if pair is not None:
                self.choose(pair.name, go=True)

    def change(self, text: str, **changes: Any) -> None:
        """Change the chosen pair: lock, use, weight, name."""
        pair = self.pair
        if pair is None:
            return
        self._try(lambda: self.do(f"{text} {pair.name}", self.pairs.changed(pair.name, **changes)))
        if "name" in changes and changes["name"] in self.pairs:
            self.choose(changes["name"])

    def delete(self) -> None:
        """Delete the chosen pair."""
        pair = self.pair
        if pair is not None and self._try(lambda: self.do(f"delete {pair.name}", self.pairs.deleted(pair.name))):
            self.choose(None)

    def join(self, found: WeightedPairs, source: str) -> None:
        """Take pairs from a file."""
        self._try(lambda: self.do(f"import {source}", self.pairs.joined(found.pairs, found.weights)))

    def do(self, text: str, after: PairList) -> None:
        """Make a step, and correct the registration for it."""
        change = self.history.do(text, after)
        if change is None:
            return
        self.told.emit("")
        self._after(change)
        where = touched(change.before, change.after)
        if where and self.at_once:
            self._correct(change, where)

    def solve_again(self) -> None:
        """Solve again with the radius and weight as they are now: where it was solved last, else around all pairs."""
        known = set(self.pairs.names)
        where = Touched(tuple(name for name in self._last.names if name in known), self._last.places_mm) or touched(PairList(), self.pairs)
        if where and self.case.now is not None:
            self.step("solve again", lambda change: self._correct(change, where))

    def back_to_automatic(self) -> None:
        """Bring the automatic result back; the pairs stay, and this too can be undone."""
        self.step("automatic result back", self.corrector.back)

    def fit_points(self, kind: FitName) -> None:
        """Replace the registration by a fit through the pairs alone; the pairs stay, and this too can be undone."""
        order = self._points_order(self.pairs, kind)
        # It says at once if the pairs are too few.
        if self._try(lambda: fit_pairs(order.pairs, kind, np.array([order.weights[name] for name in order.pairs.names]))):
            self.step(f"{kind.replace('_', '-')} fit", lambda change: self.corrector.by_points(change, order))

    def step(self, text: str, correct: Callable[[Change], Any]) -> Change | None:
        """Correct the registration in a step that leaves the pairs as they are; None if there is no case yet."""
        if not self.corrector.ready:
            return None
        change = self.history.do(text, self.pairs, always=True)
        if change is not None:
            correct(change)
            self.redraw()
        return change

    def undo(self) -> None:
        """Take the last step back."""
        change = self.history.undo()
        if change is not None:
            self.corrector.undo(change)
            self._after(change)
            self.told.emit(f"Undone: {change.text}.")

    def undo_until(self, change: Change) -> None:
        """Take back a step, and with it all that came after it."""
        while self.history.holds(change):
            self.undo()

    def redo(self) -> None:
        """Make the step again that was taken back last."""
        change = self.history.redo()
        if change is None:
            return
        where = touched(change.before, change.after)
        if change.corrected or self.corrector.holds(change):
            self.corrector.redo(change)
        elif where and self.at_once and not change.failed:
            self._correct(change, where)
        self._after(change)
        self.told.emit(f"Done again: {change.text}.")

    def recover(self, pairs: PairList) -> None:
        """Go on with pairs that were kept."""
        self.do("recover", pairs)

    def stop(self) -> None:
        """Follow nothing more, and take the layers away."""
        self.mouse.release()
        self._doubting.stop()
        self.places.forget()
        self.corrector.close()
        self.case.leave()
        self.layers.remove()

    # --- what follows -----------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.case.began.connect(self._on_case)
        self.case.remeasured.connect(self.redraw)
        self.case.replaced.connect(self.take)
        self.case.failed.connect(lambda error: self.told.emit(str(error)))
        self.corrector.opened.connect(self._on_opened)
        self.corrector.updated.connect(self._on_updated)
        self.corrector.foreseen.connect(self.case.preview)
        self.corrector.previewed.connect(self._on_previewed)
        self.corrector.suggested.connect(self._on_suggested)
        self.corrector.doubted.connect(self._on_doubted)
        self.corrector.failed.connect(lambda error: self.case.end_preview())  # What was shown ahead has not come.
        self.corrector.failed.connect(lambda error: self.told.emit(str(error)))
        self.corrector.turned.connect(self.changed)
        self.mouse.clicked.connect(self.click)
        self.mouse.chosen.connect(lambda end: self.choose(end.name))
        self.mouse.dragged.connect(self._on_dragged)
        self.mouse.dropped.connect(self._on_dropped)

    def _begin(self, fixed_mm: Any) -> None:
        pairs = self.pairs.added(as_point(fixed_mm))
        name = pairs.names[-1]
        self.do(f"add {name}", pairs)
        self.choose(name)

    def _suggest(self, pair: Pair) -> None:
        """Begin with the place that the registration carries it to; the search may find a better one."""
        if self.case.now is None:
            return
        mapped = self.case.now.partners(np.array([pair.fixed_mm]))[0]
        self.suggested = Suggested(pair.name, as_point(mapped))
        self.corrector.suggest(pair.name, pair.fixed_mm)

    def _order(self, pairs: PairList, where: Touched) -> Order:
        return Order(pairs.landmark_pairs(), pairs.weights(), where, self.radius_mm, self.points_weight, self.use_image)

    def _points_order(self, pairs: PairList, kind: FitName) -> PointsOrder:
        return PointsOrder(pairs.landmark_pairs(), pairs.weights(), kind)

    def _correct(self, change: Change, where: Touched) -> None:
        self._last = where
        if self.case.now is not None and self.alone is not None:
            self.corrector.by_points(change, self._points_order(change.after, self.alone))
        elif self.case.now is not None:
            self.corrector.correct(change, self._order(change.after, where))

    def _after(self, change: Change) -> None:
        """Show the pairs after a step in either direction."""
        if self.chosen is not None and self.chosen not in self.pairs:
            self.chosen = None
        if not self.wants_partner:
            self.suggested = None
        self.redraw()
        self.stepped.emit()

    def redraw(self) -> None:
        """Draw the pairs where they are now."""
        now = self.case.now
        if now is not None:
            pairs = self.pairs
            fixed = now.drawn_fixed(np.array([pair.fixed_mm for pair in pairs.pairs]))
            partners = {pair.name: pair.moving_mm for pair in pairs.pairs if pair.moving_mm is not None}
            if self.suggested is not None and self.suggested.name in pairs:
                partners.setdefault(self.suggested.name, self.suggested.moving_mm)
            moving = now.drawn_moving(np.array(list(partners.values())))
            drawn = {ON_FIXED: dict(zip(pairs.names, fixed, strict=True)), ON_MOVING: dict(zip(partners, moving, strict=True))}
            self.layers.draw(pairs, drawn, self.chosen, self.suggested, self.radius_mm)
        self.changed.emit()

    def _ends_to_hit(self) -> list[End]:
        return [] if self.wants_partner or self.taking is not None else self.layers.ends

    def _is_movable(self, end: End) -> bool:
        return end.name in self.pairs and not self.pairs[end.name].locked

    def _side_shown(self) -> str:
        """Tell which image the user sees more of."""
        panel = self.case.panel
        return ON_FIXED if panel is not None and panel.controls.blend.value() < 50 else ON_MOVING

    def _moved(self, end: End, place: Place) -> PairList:
        """Return the pairs with one end at another place of the canvas."""
        now = self.case.now
        assert now is not None  # there are no ends without a case
        if end.side == ON_FIXED:
            return self.pairs.moved(end.name, fixed_mm=as_point(now.clicked_fixed(place)))
        return self.pairs.moved(end.name, moving_mm=as_point(now.clicked_moving(place)))

    def _on_dragged(self, end: End, place: Place) -> None:
        self.layers.drag(end, place)
        if self.case.now is None:
            return
        pairs = self._moved(end, place)
        where = touched(self.pairs, pairs)
        if where and self.at_once:
            self.corrector.preview(self._order(pairs, where))

    def _on_dropped(self, end: End, place: Place) -> None:
        self.corrector.end_preview()
        self.case.end_preview()
        if self.case.now is not None:
            self._try(lambda: self.do(f"move {end.name}", self._moved(end, place)))

    def _on_case(self) -> None:
        shown, now = self.case.shown, self.case.now
        if shown is None or now is None:
            return
        self.layers.show(now.placement)
        self.redraw()
        case = shown.outcome or shown.folder
        if case is not None:
            self.told.emit("Preparing the correction …")
            self.corrector.open(case, shown.paths)

    def _on_opened(self) -> None:
        self.told.emit("")
        if self.wants_partner and self.pair is not None:
            self._suggest(self.pair)

    def _on_updated(self, update: Update) -> None:
        self.figures = update.figures
        self.case.show(update, self.corrector.unmeasured)
        self.redraw()
        self._doubting.start()

    def _on_previewed(self, update: Update) -> None:
        if self.corrector.wants_preview:
            self.case.preview(update)
            self.told.emit("Preview: a spline through the landmarks alone.")

    def _on_suggested(self, name: str, found: Any) -> None:
        if found is not None and self.wants_partner and name == self.chosen:
            self.suggested = Suggested(name, as_point(found.point), float(found.confidence))
            self.redraw()

    def _on_doubted(self, doubts: Any) -> None:
        self.doubts = tuple(doubts)
        self.changed.emit()

    def _try(self, act: Any) -> bool:
        """Do something that the pairs may refuse."""
        try:
            act()
        except DeformregError as error:
            self.told.emit(str(error))
            self.redraw()
            return False
        return True
