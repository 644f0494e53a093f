"""A correction session: a finished registration that gives way where the user says so, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...errors import InputError
from ...result import Correction, CorrectionKind, FieldPatch, PairDoubt, PairFit, RegistrationResult, Suggestion
from ...settings import CorrectionSettings
from ...space import Box, DisplacementField, LabelMap, LandmarkPairs, Region, Volume
from ...space.box import distance_mm
from ...space.point_fits import FitName
from ..local_repair import inverse_near
from ..points_alone import register_points
from ..tensors import guarded, one_torch_thread
from .doubts import doubts_of
from .fields import INVERSE_PASSES, PresentFields, composed, reach_voxels
from .images import CachedImages
from .looks import Look, look_at
from .points import before_affine
from .regions import RegionKind
from .resolving import resolved
from .settle import Solved, patches, settle, shown, similarity_of
from .settle import warm_up as settle_warm_up
from .solve import Lattice, Place, Pulls, flowing, hit_velocity, image_grids, refined_velocity, spline_velocity, velocity_grid
from .suggest import suggested_partner
from .task import CONTEXT_VOX, Task, finest_spacing, folds_where, longest_change, no_pairs, pair_fits, touched_centers

FARTHEST_PART = 0.7
"""A landmark is asked to move at most this part of the radius at once: what lies between it and the radius is squeezed."""

REGION_INVERSE_PASSES = 8
"""A region's start may be voxels away from where it was, so its inverse takes more passes."""

ADVISED_TIMES = 4.0
"""A radius of so many times what is missing leaves the window's descent (of slope 3 over the radius at most) room: 3/4 of a fold."""

LEAST_RADIUS_VOX = 3.0
"""Below, the velocity's lattice has no voxel to move."""


class CorrectionSession:
    """Holds what lives through the corrections of one result: prepared images, and the fields as they are now.

    Corrections are made against the present fields and change nothing until they are applied; apply and take them back in the order of a
    stack.

    Parameters
    ----------
    fixed, moving : Volume
        The images of the registration.
    result : RegistrationResult
        What is corrected.
    fixed_mask, moving_mask : LabelMap, optional
        As the registration was given.

    Raises
    ------
    InputError
        If the displacement does not lie on the fixed image's grid.
    """

    def __init__(
        self, fixed: Volume, moving: Volume, result: RegistrationResult, *, fixed_mask: LabelMap | None = None,
        moving_mask: LabelMap | None = None,
    ) -> None:
        grid = result.displacement.grid
        if grid != fixed.grid:
            raise InputError(
                f"The displacement lies on a grid {grid.shape}, the fixed image on {fixed.grid.shape}; expected the same. "
                "Open the images that were registered."
            )
        self.automatic = result
        self.settings = result.settings
        self.fixed_grid = fixed.grid
        inverse = result.inverse_displacement
        if inverse.grid != grid:
            inverse = inverse_near(result.displacement, inverse)
        self._inverse = inverse
        self.fields = PresentFields(grid, _own(result.displacement), _own(inverse))
        with guarded():
            self.images = CachedImages.of(fixed, moving, result.affine, result.settings, (fixed_mask, moving_mask))
        self._touched: tuple[Box, Box] | None = None
        self._seen: dict[tuple[float, ...], Look | None] = {}

    def warm_up(self) -> None:
        """Make a correction that nobody sees: the first one of a process loads and compiles for seconds what all later ones use."""
        point = self.fixed_grid.center[None]
        pair = LandmarkPairs(("middle",), point, self.carried(point) + 0.5 * finest_spacing(self.fixed_grid))
        self.preview(pair, pair.names)
        self.correct(pair, pair.names)
        self.suggest(point[0])
        settle_warm_up()

    def correct(
        self, pairs: LandmarkPairs, touched: Sequence[str], settings: CorrectionSettings | None = None, *,
        weights: Mapping[str, float] | None = None, around_mm: Float[np.ndarray, "n 3"] | None = None,
    ) -> Correction:
        """Solve the surroundings of some landmarks again, images and points together.

        Parameters
        ----------
        pairs : LandmarkPairs
            All pairs; those within the radius take part, whether touched or not.
        touched : sequence of str
            Names of the pairs that were added or moved.
        settings : CorrectionSettings, optional
            Radius, weight of the points, whether the images take part.
        weights : mapping of str to float, optional
            How much a pair counts, 0 (left out) to 1; 1 where nothing is said.
        around_mm : (n, 3) array, optional
            More places that were touched (a pair that was deleted, or from where one was moved), RAS+ mm in the fixed image.

        Raises
        ------
        InputError
            If nothing is touched, a name is unknown, or all lies outside the fixed image.
        """
        return self.completed(self.solved(pairs, touched, settings, weights=weights, around_mm=around_mm))

    def solved(
        self, pairs: LandmarkPairs, touched: Sequence[str], settings: CorrectionSettings | None = None, *,
        weights: Mapping[str, float] | None = None, around_mm: Float[np.ndarray, "n 3"] | None = None,
    ) -> Solved:
        """Do the longer part of `correct`, which takes the same: after it one knows what the moved image will be."""
        chosen = settings or CorrectionSettings()
        task = self._task("pairs", pairs, touched, chosen, weights, around_mm)
        with guarded(), one_torch_thread():
            settled = settle(task.present, flowing(task.present, *self._velocity(task, chosen)), task.place, self.settings.folds.margin)
            return Solved(task, settled, self.images.moved_in(task.place.box, settled.after_vox))

    def completed(self, solved: Solved) -> Correction:
        """Do the rest of `correct`: the inverse, and all that is measured. Nothing may have been applied meanwhile."""
        with guarded(), one_torch_thread():
            return self._finished(solved, INVERSE_PASSES)

    def preview(
        self, pairs: LandmarkPairs, touched: Sequence[str], settings: CorrectionSettings | None = None, *,
        weights: Mapping[str, float] | None = None, around_mm: Float[np.ndarray, "n 3"] | None = None,
    ) -> Correction:
        """Show what a spline through the landmarks alone would do: fast enough for dragging, not checked for folds, not to be applied.

        See `correct` for the parameters. The inverse, the volume change and the similarity are left as they were.
        """
        chosen = settings or CorrectionSettings()
        task = self._task("preview", pairs, touched, chosen, weights, around_mm)
        place, present = task.place, task.present
        with guarded(), one_torch_thread():
            lattice = Lattice.over(place, velocity_grid(image_grids(place.box, self.fixed_grid)[-1]))
            after = composed(present, lattice.full_flow(spline_velocity(lattice, passes=2)))
        forward = self.fields.forward_patch(place.box, after, np.asarray((after != present).any(axis=0)))
        moved = self.images.moved_in(place.box, after)
        return Correction(
            kind="preview", forward=forward, backward=self.fields.nothing_backward(place.box), moved=moved, moved_before=moved,
            jacobian=np.full(place.box.shape, np.nan, np.float32), pairs=self._fits(task, after), similarity_before=np.nan,
            similarity_after=np.nan, folds_before=0, folds_after=0, largest_change_mm=longest_change(forward, None),
            beyond_radius_mm=0.0, seconds=time.perf_counter() - task.started, notices=tuple(task.notices),
        )

    def apply(self, correction: Correction) -> None:
        """Take a correction over; it must have been made from the fields as they are."""
        self.fields.write(correction.forward, correction.backward)
        boxes = correction.forward.box, correction.backward.box
        self._touched = boxes if self._touched is None else (self._touched[0].joined(boxes[0]), self._touched[1].joined(boxes[1]))

    def undo(self, correction: Correction) -> None:
        """Take the correction back that was applied last."""
        self.fields.write(correction.forward, correction.backward, back=True)

    def back_to_automatic(self) -> Correction | None:
        """Return the correction that brings the automatic result back everywhere; None if nothing was ever changed."""
        if self._touched is None:
            return None
        started, (box, back) = time.perf_counter(), self._touched
        now = self.fields
        forward = FieldPatch(box, now.displacement_mm[box.slices].copy(), self.automatic.displacement.displacement_mm[box.slices].copy())
        backward = FieldPatch(back, now.inverse_mm[back.slices].copy(), self._inverse.displacement_mm[back.slices].copy())
        present, whole = now.forward_in(box), PresentFields(now.grid, self.automatic.displacement.displacement_mm, now.inverse_mm)
        after = whole.forward_in(box)
        place = Place.region(box, self.fixed_grid, np.ones(box.shape, np.float32), 1.0, Pulls.none())
        inner = (forward.before_mm != forward.after_mm).any(axis=-1)
        look = shown(self.images, box, present, after)
        before_value, after_value = self._similarities(place, present, after)
        return Correction(
            "back", forward, backward, look.moved, look.moved_before, look.jacobian, (), before_value, after_value,
            folds_where(present, inner), folds_where(after, inner), longest_change(forward, None), 0.0, time.perf_counter() - started,
        )

    def by_points(self, pairs: LandmarkPairs, kind: FitName, *, weights: Mapping[str, float] | None = None) -> Correction:
        """Replace the whole registration by a fit through the pairs alone, the images not looked at.

        The affine of the automatic result stays, and the displacement before it makes up for it: so this is undone as any other correction.

        Parameters
        ----------
        kind : str
            rigid, similarity, affine or thin_plate.

        Raises
        ------
        InputError
            If there are too few pairs, or they lie on one line.
        """
        started, box = time.perf_counter(), Box.whole(self.fixed_grid.shape)
        given = np.array([1.0 if weights is None else float(weights.get(name, 1.0)) for name in pairs.names])
        wanted = register_points(self.fixed_grid, pairs, kind, self.settings, given)
        after, backward_vox = before_affine(wanted, self.automatic.affine)
        present, everywhere = self.fields.forward_in(box), np.ones(box.shape, bool)
        used = np.flatnonzero(given > 0)
        pulls = Pulls(pairs.fixed_points[used], self.carried_back(pairs.moving_points[used]), given[used])
        place = Place.region(box, self.fixed_grid, everywhere.astype(np.float32), 1.0, pulls)
        task = Task("points", place, present, pairs, given, np.zeros((0, 3)), 0.0, list(wanted.provenance.notices), started)
        forward = self.fields.forward_patch(box, after, everywhere)
        backward = self.fields.backward_patch(box, backward_vox, everywhere)
        with guarded():
            look = shown(self.images, box, present, after)
            before_value, after_value = self._similarities(place, present, after)
        return Correction(
            "points", forward, backward, look.moved, look.moved_before, look.jacobian, self._fits(task, after), before_value, after_value,
            folds_where(present, everywhere), folds_where(after, everywhere), longest_change(forward, None), 0.0,
            time.perf_counter() - started, tuple(task.notices),
        )

    def result(self) -> RegistrationResult:
        """Return the registration as it is now; it keeps its own copy."""
        grid = self.fixed_grid
        forward, backward = (DisplacementField(grid, part.copy()) for part in (self.fields.displacement_mm, self.fields.inverse_mm))
        return replace(self.automatic, displacement=forward, inverse_displacement=backward, velocity_vox=None, velocity_grid=None)

    def carried(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry fixed points to moving space as the fields are now (RAS+ mm)."""
        return self.automatic.affine.map(self.fields.map(np.asarray(points, dtype=np.float64).reshape(-1, 3)))

    def carried_back(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry moving points to fixed space, solved point by point."""
        return self.fields.solve(self.automatic.affine.inverse().map(np.asarray(points, dtype=np.float64).reshape(-1, 3)))

    def advised_radius_mm(self, pairs: LandmarkPairs, touched: Sequence[str]) -> float:
        """Return a radius that suits what the touched pairs lack: the settings' default, or `ADVISED_TIMES` as much as they are off."""
        which = [pairs.names.index(name) for name in touched if name in pairs.names]
        if not which:
            return CorrectionSettings().radius_mm
        ways = self.carried_back(pairs.moving_points[which]) - pairs.fixed_points[which]
        return max(CorrectionSettings().radius_mm, ADVISED_TIMES * float(np.linalg.norm(ways, axis=1).max()))

    def _task(
        self, kind: CorrectionKind, pairs: LandmarkPairs, touched: Sequence[str], settings: CorrectionSettings,
        weights: Mapping[str, float] | None, around_mm: Float[np.ndarray, "n 3"] | None,
    ) -> Task:
        """Find the box, the window and the landmarks' targets."""
        started = time.perf_counter()
        centers = touched_centers(pairs, touched, around_mm)
        radius = max(settings.radius_mm, LEAST_RADIUS_VOX * finest_spacing(self.fixed_grid))
        notices = [] if radius == settings.radius_mm else [f"The radius was taken as {radius:.1f} mm, three voxels; less moves nothing."]
        box = Box.around(self.fixed_grid.world_to_voxel(centers), reach_voxels(self.fixed_grid, radius, CONTEXT_VOX), self.fixed_grid.shape)
        if box is None or distance_mm(box.grid(self.fixed_grid), centers).min() > radius:
            raise InputError("What was touched lies outside the fixed image; expected landmarks in it (RAS mm).")
        given = np.array([1.0 if weights is None else float(weights.get(name, 1.0)) for name in pairs.names])
        pulls = self._pulls(pairs, given, centers, radius, notices)
        place = Place.ball(box, self.fixed_grid, centers, radius, pulls)
        return Task(kind, place, self.fields.forward_in(box), pairs, given, centers, radius, notices, started)

    def _pulls(
        self, pairs: LandmarkPairs, weights: Float[np.ndarray, "n"], centers: Float[np.ndarray, "m 3"], radius_mm: float, notices: list[str]
    ) -> Pulls:
        """Return where the pairs near what was touched should be carried to before the present map."""
        if not len(pairs):
            return Pulls.none()
        apart = np.linalg.norm(pairs.fixed_points[:, None] - centers[None], axis=-1).min(axis=1)
        near = np.flatnonzero((apart < radius_mm) & (weights > 0))
        points = pairs.fixed_points[near]
        targets = self.carried_back(pairs.moving_points[near])
        ways = targets - points
        length = np.linalg.norm(ways, axis=1)
        far = length > FARTHEST_PART * radius_mm
        if far.any():
            names = ", ".join(pairs.names[n] for n in near[far])
            notices.append(
                f"{names}: {length.max():.0f} mm is too far for a radius of {radius_mm:.0f} mm; it was moved part of the way. "
                f"Take a radius of {length.max() / FARTHEST_PART:.0f} mm or more."
            )
            ways[far] *= (FARTHEST_PART * radius_mm / length[far])[:, None]
        return Pulls(points, points + ways, weights[near])

    def _velocity(self, task: Task, settings: CorrectionSettings) -> tuple[Tensor, Lattice]:
        """Solve: by images and points, or by splines alone."""
        place, box = task.place, task.place.box
        grids = image_grids(box, self.fixed_grid)
        if not settings.use_image:
            lattice = Lattice.over(place, velocity_grid(grids[-1]))
            return hit_velocity(lattice, spline_velocity(lattice)), lattice
        carried = self.images.carried_in(box, task.present)
        velocity, lattice = refined_velocity(
            self.images.fixed_in(box), carried, place, grids, self.settings, settings.points_weight, settings.steps, task.present
        )
        return (hit_velocity(lattice, velocity) if settings.points_weight == 1 else velocity), lattice

    def resolve(
        self, region: Region, kind: RegionKind, settings: CorrectionSettings | None = None, *, pairs: LandmarkPairs | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> Correction:
        """Solve a region again.

        Parameters
        ----------
        region : Region
            Voxels of the fixed grid.
        kind : str
            harder: more steps and less smoothing; softer: the displacement evened out, then solved with more smoothing; rigid: the rigid
            motion nearest to what the region does, blended with its surroundings over the margin.
        settings : CorrectionSettings, optional
            `margin_mm`, `steps` and, for given pairs, `points_weight`.
        pairs, weights : optional
            Landmarks in the region or its margin that take part (not where it becomes rigid); see `correct`.

        Raises
        ------
        InputError
            If the kind is unknown, or the region too small for a rigid motion.
        """
        with guarded(), one_torch_thread():
            task, settled = resolved(self, region, kind, settings or CorrectionSettings(), pairs or no_pairs(), weights)
            solved = Solved(task, settled, self.images.moved_in(task.place.box, settled.after_vox))
            return self._finished(solved, REGION_INVERSE_PASSES)

    def suggest(self, point: Float[np.ndarray, "3"], reach_mm: float | None = None) -> Suggestion:
        """Look for the partner of a fixed point (RAS+ mm) around where the present fields carry it, by default within 25 mm (voxels)."""
        with guarded(), one_torch_thread():
            return suggested_partner(self.images, self.fields, np.asarray(point, dtype=np.float64), reach_mm)

    def doubts(
        self, pairs: LandmarkPairs, weights: Mapping[str, float] | None = None, *, looks_at_most: int | None = None
    ) -> tuple[PairDoubt, ...]:
        """Tell which pairs disagree with neighbors, automatic result and images, or with each other so that only a fold could do it.

        Parameters
        ----------
        looks_at_most : int, optional
            How many pairs are compared in the images that were not before: each takes a tenth of a second. The others' turn comes with
            the next call.
        """
        used = np.array([weights is None or weights.get(name, 1.0) > 0 for name in pairs.names], dtype=bool)
        affine, first = self.automatic.affine, self.automatic.displacement
        looks = self._looks(pairs, looks_at_most)
        carried = affine.map(first.map(pairs.fixed_points))
        return doubts_of(pairs, used, carried, affine, self.fixed_grid.spacing, looks)

    def _looks(self, pairs: LandmarkPairs, at_most: int | None) -> list[Look | None]:
        """Compare pairs in the images, by the automatic result; what was compared before is remembered."""
        first = PresentFields(self.fixed_grid, self.automatic.displacement.displacement_mm, self._inverse.displacement_mm)
        found, left = [], len(pairs) if at_most is None else at_most
        for fixed, moving in zip(pairs.fixed_points, pairs.moving_points, strict=True):
            key = (*fixed.tolist(), *moving.tolist())
            if key not in self._seen and left > 0:
                left -= 1
                with guarded(), one_torch_thread():
                    self._seen[key] = look_at(self.images, first, fixed, moving)
            found.append(self._seen.get(key))
        return found

    def _finished(self, solved: Solved, passes: int) -> Correction:
        task, settled = solved.task, solved.settled
        place, present, after = task.place, task.present, settled.after_vox
        forward, backward = patches(self.fields, place, settled, passes)
        look = shown(self.images, place.box, present, after, solved.moved)
        before_value, after_value = self._similarities(place, present, after)
        beyond = distance_mm(place.grid, task.centers) > task.radius_mm if len(task.centers) else place.window == 0
        return Correction(
            kind=task.kind, forward=forward, backward=backward, moved=look.moved, moved_before=look.moved_before, jacobian=look.jacobian,
            pairs=self._fits(task, after), similarity_before=before_value, similarity_after=after_value,
            folds_before=settled.folds_before, folds_after=settled.folds_after, largest_change_mm=longest_change(forward, None),
            beyond_radius_mm=longest_change(forward, beyond), seconds=time.perf_counter() - task.started,
            notices=(*task.notices, *settled.notices),
        )

    def _similarities(
        self, place: Place, present: Float[np.ndarray, "3 i j k"], after: Float[np.ndarray, "3 i j k"]
    ) -> tuple[float, float]:
        fixed = self.images.fixed_in(place.box)
        first, second = (
            similarity_of(fixed, self.images.carried_in(place.box, field), place, self.settings) for field in (present, after)
        )
        return first, second

    def _fits(self, task: Task, after: Float[np.ndarray, "3 i j k"]) -> tuple[PairFit, ...]:
        """Measure every pair before and after."""
        before = np.linalg.norm(self.carried(task.pairs.fixed_points) - task.pairs.moving_points, axis=1)
        return pair_fits(task, before, after, self.automatic.affine)


def _own(field: DisplacementField) -> Float[np.ndarray, "i j k 3"]:
    return np.array(field.displacement_mm, dtype=np.float32)
