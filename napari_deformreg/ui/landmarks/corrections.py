"""The engine's side of the dock: one case and the corrections made to it. Lives in a process of its own; imports no Qt."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from ...errors import InputError
from ...result import Correction, PairDoubt, PairFit, Suggestion
from ...settings import CorrectionSettings
from ...space import Box, DisplacementField, Grid, LandmarkPairs, Region, TransformChain
from ...space.jacobian import central_determinant, digital_fold_mask, displacement_mm_to_vox, displacement_vox_to_mm
from ...space.point_fits import FitName
from ...workflow import InputPaths, Outcome, corrected_outcome, correction_session, evaluate_folder_steps, finished
from ..pictures import ResultPicture, picture_of_outcome
from .carried_labels import CarriedLabels, DrawnLabels, LabelsUpdate
from .pair_list import Point, Touched, as_point

if TYPE_CHECKING:
    from ...engine.correction import CorrectionSession
    from ...engine.correction.regions import RegionKind

LOOKS_AT_MOST = 6
"""Pairs compared in the images at once: the next click must not wait for more."""

MARGIN_VOX = 2
"""Around a box, so that differences at its rim see both sides."""


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be corrected.

    Attributes
    ----------
    pairs : LandmarkPairs
        All complete pairs.
    weights : dict of str to float
        Of each; 0 for those that do not drive.
    touched : Touched
        Around what it is to be solved again.
    radius_mm, points_weight, use_image
        See `CorrectionSettings`.
    """

    pairs: LandmarkPairs
    weights: dict[str, float]
    touched: Touched
    radius_mm: float
    points_weight: float
    use_image: bool = True


@dataclass(frozen=True, eq=False)
class RegionOrder:
    """What region is to be solved again.

    Attributes
    ----------
    region : Region
        Voxels of the fixed grid.
    kind : str
        harder, softer or rigid.
    margin_mm, points_weight
        See `CorrectionSettings`.
    pairs, weights
        As for pairs; those in the region take part, but not in a rigid one.
    """

    region: Region
    kind: RegionKind
    margin_mm: float
    points_weight: float
    pairs: LandmarkPairs
    weights: dict[str, float]


@dataclass(frozen=True, eq=False)
class PointsOrder:
    """What is to be fitted through the pairs alone.

    Attributes
    ----------
    pairs, weights
        As for corrections.
    kind : str
        rigid, similarity, affine or thin_plate.
    """

    pairs: LandmarkPairs
    weights: dict[str, float]
    kind: FitName


@dataclass(frozen=True, eq=False)
class Update:
    """What a box of the fixed grid shows after a correction, or after one was taken back; outside of it nothing changes.

    Attributes
    ----------
    box : Box
        Of the fixed grid.
    displacement_mm, moved : float32 arrays
        In the box.
    jacobian, folded, moved_labels : arrays or None
        In the box; None for a preview or a first look (and labels where there are none).
    figures : Figures or None
        What the engine says of the correction; None where one was taken back.
    moved_before, change_mm : float32 arrays or None
        For a region that was solved again: what was shown in the box before, and by how much the displacement changed.
    """

    box: Box
    displacement_mm: Float[np.ndarray, "i j k 3"]
    moved: Float[np.ndarray, "i j k"]
    jacobian: Float[np.ndarray, "i j k"] | None = None
    folded: Bool[np.ndarray, "i j k"] | None = None
    moved_labels: Integer[np.ndarray, "i j k"] | None = None
    figures: Figures | None = None
    moved_before: Float[np.ndarray, "i j k"] | None = None
    change_mm: Float[np.ndarray, "i j k"] | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of one correction; see `Correction`."""

    pairs: tuple[PairFit, ...]
    similarity_before: float
    similarity_after: float
    folds_before: int
    folds_after: int
    largest_change_mm: float
    seconds: float
    notices: tuple[str, ...]

    @classmethod
    def of(cls, correction: Correction) -> Figures:
        """Take them from a correction."""
        return cls(**{name: getattr(correction, name) for name in cls.__dataclass_fields__})


class Corrections:
    """One case, its session, and the corrections that were applied, one on top of the other."""

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._session: CorrectionSession | None = None
        self._stack: list[Correction] = []
        self._driving: list[tuple[Point, ...]] = []
        self._done = 0
        self._carried: dict[int, CarriedLabels] = {}

    def open(self, case: Outcome | Path, paths: InputPaths | None) -> Grid:
        """Prepare a case, and tell its moving image's grid; a result folder is judged again first, which takes longer."""
        outcome = finished(evaluate_folder_steps(case, paths)) if isinstance(case, Path) else case
        self._outcome, self._stack, self._driving, self._done = outcome, [], [], 0
        self._carried = {}
        self._session = correction_session(outcome)
        self._session.warm_up()
        return outcome.inputs.moving.grid

    def suggest(self, fixed_mm: Float[np.ndarray, "3"]) -> Suggestion:
        """Look for the partner of a place in the fixed image."""
        return self._ready().suggest(fixed_mm)

    def doubts(self, pairs: LandmarkPairs, weights: dict[str, float]) -> tuple[PairDoubt, ...]:
        """Tell which pairs disagree with the others or with the registration."""
        return self._ready().doubts(pairs, weights, looks_at_most=LOOKS_AT_MOST)

    def preview(self, order: Order) -> Update:
        """Show what a spline through the landmarks would do to the registration as it is."""
        found = self._ready().preview(*_called(order), **_named(order))
        return Update(found.box, found.forward.after_mm, found.moved, figures=Figures.of(found))

    def correct(self, order: Order) -> Generator[Update, None, Update]:
        """Solve again, and apply it; the moved image is shown as soon as it is known."""
        session = self._ready()
        solved = session.solved(*_called(order), **_named(order))
        vectors = np.ascontiguousarray(np.moveaxis(solved.settled.after_vox, 0, -1))
        yield Update(solved.box, displacement_vox_to_mm(vectors, session.fixed_grid), solved.moved)
        return self._put(session.completed(solved), _driving(order))

    def resolve(self, order: RegionOrder) -> Update:
        """Solve a region again, and apply it."""
        settings = CorrectionSettings(margin_mm=order.margin_mm, points_weight=order.points_weight)
        found = self._ready().resolve(order.region, order.kind, settings, pairs=order.pairs, weights=order.weights)
        change = np.linalg.norm(found.forward.after_mm - found.forward.before_mm, axis=-1)
        driving = _driving(order) if order.kind != "rigid" else ()
        return replace(self._put(found, driving), moved_before=found.moved_before, change_mm=change)

    def by_points(self, order: PointsOrder) -> Update:
        """Replace everything by a fit through the pairs alone."""
        return self._put(self._ready().by_points(order.pairs, order.kind, weights=order.weights), _driving(order))

    def back(self) -> Update | None:
        """Return to the automatic result everywhere, as one more correction; None where nothing differs."""
        found = self._ready().back_to_automatic()
        return None if found is None else self._put(found)

    def undo(self) -> Update:
        """Take the last correction back, to the bit."""
        if not self._done:
            raise InputError("There is no correction to take back.")
        self._done -= 1
        correction = self._stack[self._done]
        self._ready().undo(correction)
        self._note(correction)
        return self._shown(correction.box, correction.moved_before, None)

    def redo(self) -> Update:
        """Apply the correction again that was taken back last."""
        if self._done == len(self._stack):
            raise InputError("There is no correction to be made again.")
        self._done += 1
        correction = self._stack[self._done - 1]
        self._ready().apply(correction)
        self._note(correction)
        return self._shown(correction.box, correction.moved, Figures.of(correction))

    def carry(self, key: int, drawn: DrawnLabels) -> LabelsUpdate:
        """Carry labels that were drawn on one image to the other, and keep them up to date from now on."""
        assert self._outcome is not None  # there is no session without one
        self._carried[key] = CarriedLabels.of(drawn, self._ready(), self._outcome.inputs.moving.grid)
        return self._carried[key].whole()

    def painted(self, key: int, box: Box, values: Integer[np.ndarray, "i j k"]) -> LabelsUpdate | None:
        """Take over what was painted into carried labels; None if nothing is shown otherwise."""
        return self._carried[key].painted(box, values) if key in self._carried else None

    def carried_now(self) -> dict[int, LabelsUpdate]:
        """Carry all labels anew where the registration changed; those that are shown otherwise."""
        found = {key: carried.follow(self._ready()) for key, carried in self._carried.items()}
        return {key: update for key, update in found.items() if update is not None}

    def carry_no_more(self, key: int) -> None:
        """Forget labels."""
        self._carried.pop(key, None)

    def _note(self, correction: Correction) -> None:
        for carried in self._carried.values():
            carried.note(correction.forward.box, correction.backward.box)

    def measure(self) -> tuple[Outcome, ResultPicture]:
        """Judge the registration as it is now."""
        session, outcome = self._ready(), self._outcome
        assert outcome is not None  # there is no session without one
        judged = finished(corrected_outcome(outcome, session, self._driving_points()))
        return judged, picture_of_outcome(judged)

    def _driving_points(self) -> list[Point]:
        """List where pairs drove the registration as it is now: they must not judge it."""
        first = max((n for n in range(self._done) if self._stack[n].kind in ("back", "points")), default=0)
        return sorted({point for driving in self._driving[first : self._done] for point in driving})

    def _put(self, correction: Correction, driving: Sequence[Point] = ()) -> Update:
        self._ready().apply(correction)
        self._stack = [*self._stack[: self._done], correction]
        self._driving = [*self._driving[: self._done], tuple(driving)]
        self._done += 1
        self._note(correction)
        return self._shown(correction.box, correction.moved, Figures.of(correction))

    def _shown(self, box: Box, moved: Float[np.ndarray, "i j k"], figures: Figures | None) -> Update:
        """Measure and resample in a box what the fields now say."""
        session = self._ready()
        grid, affine = session.fixed_grid, session.automatic.affine
        around = box.widened(MARGIN_VOX, grid.shape)
        field = DisplacementField(around.grid(grid), session.fields.displacement_mm[around.slices])
        vectors = displacement_mm_to_vox(field.displacement_mm, grid)
        inner = box.within(around)
        # As everywhere: the affine's part of the volume change is in it.
        jacobian = central_determinant(vectors)[inner] * np.float32(abs(np.linalg.det(affine.matrix[:3, :3])))
        folded = digital_fold_mask(vectors)[inner]
        labels = self._labels(field, box)
        return Update(box, field.displacement_mm[inner].copy(), moved, jacobian, folded, labels, figures)

    def _labels(self, field: DisplacementField, box: Box) -> Integer[np.ndarray, "i j k"] | None:
        from ...engine import resample_labels

        session, outcome = self._ready(), self._outcome
        labels = None if outcome is None else outcome.inputs.moving_labels
        if labels is None:
            return None
        chain = TransformChain((field, session.automatic.affine))
        return resample_labels(labels, box.grid(session.fixed_grid), chain).data

    def _ready(self) -> CorrectionSession:
        if self._session is None:
            raise InputError("No registration is open for correction; register two images or open a result folder first.")
        return self._session


def _driving(order: Order | RegionOrder | PointsOrder) -> tuple[Point, ...]:
    """List the fixed points of the pairs that take part."""
    named = zip(order.pairs.names, order.pairs.fixed_points, strict=True)
    return tuple(as_point(point) for name, point in named if order.weights.get(name, 1.0) > 0)


def _called(order: Order) -> tuple[Any, ...]:
    settings = CorrectionSettings(radius_mm=order.radius_mm, points_weight=order.points_weight, use_image=order.use_image)
    return order.pairs, order.touched.names, settings


def _named(order: Order) -> dict[str, Any]:
    places = np.array(order.touched.places_mm, dtype=np.float64).reshape(-1, 3)
    return {"weights": order.weights, "around_mm": places if len(places) else None}
