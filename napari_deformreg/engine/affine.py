"""The start position and the rigid or affine stage: the best of several starts, climbed from coarse to fine.

Everything is computed on the CPU in compiled one-pass kernels: a level of a brain takes a few milliseconds a step.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from ..errors import InputError
from ..result import Control, Step
from ..settings import Settings
from ..space import AffineTransform, Grid
from .affine_climb import Best, Freedom, climb
from .affine_similarity import Frames, Measure, Score, pair_of, similarity
from .pyramid import at_spacing
from .sampling import box_sum
from .start import LEAST_OVERLAP, StartName, cautious_start, field_start, find_start, header_start, places_nothing
from .tensors import Placed

COARSEST_ACROSS = {3: 24, 2: 48}
"""Voxels across an image's mean extent at the coarsest level: structures of a few percent of the image are left, which is what makes twenty
degrees reachable."""

FINEST_VOXELS = 300_000
"""Voxels of the finest level: twelve parameters are told well enough by these."""

GAIN_WANTED = 0.05
"""Between two modalities the headers' position is left only where this part of what is missing to perfect similarity is gained: less is
within what interpolation does (0.03 for T1 and T2 averages of one space)."""

MESSAGES: dict[Freedom, str] = {"shift": "shifting", "rigid": "turning and shifting", "affine": "aligning affinely"}

STEPS = 30
"""Most steps of a level; it mostly ends after ten."""

UNSURE = "The images resemble each other too little to tell turns and sizes; they were only shifted. Check the start position."
"""Notice of a cautious alignment."""

BY_FIELDS = (
    "The headers put two fields of view of different sizes in one corner, so they were taken to tell no position: where the middles of the "
    "fields of view lie counted instead."
)
"""Notice where positions were not recorded and the images could not tell them either."""

MASK_MARGIN = 0.04
"""Masks are widened by this part of the image's mean extent, evenly filled: the outline of a mask tells as much as its inside."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """What the affine stage found.

    Attributes
    ----------
    affine : AffineTransform
        World RAS+ mm, fixed to moving.
    similarity_before, similarity_after : float
        Similarity (higher is more alike) at the headers' position and at the end, on one level; before is 0 without overlap.
    notices : tuple of str
        What the user should know.
    """

    affine: AffineTransform
    similarity_before: float
    similarity_after: float
    notices: tuple[str, ...] = ()


KEPT_HEADERS = "The headers' position was kept."
KEPT: dict[StartName, str] = {"landmarks": "The position of the landmark pairs was kept."}
"""Notice where nothing better was found, by the start that was asked for."""

_Level = tuple[Placed, Placed]


def align_steps(
    fixed: Placed, moving: Placed, settings: Settings, header: AffineTransform | None = None
) -> Generator[Step, Control | None, Alignment]:
    """Align two images rigidly or affinely.

    Parameters
    ----------
    fixed, moving : Placed
        One channel in about [0, 1], array axes nearest to RAS; `weight` is the mask of voxels that count, or None.
    settings : Settings
        `affine`, `modality`.
    header : AffineTransform, optional
        Where the headers (or landmark pairs in their stead) place points of the fixed image's world in the moving one's, if these are not
        the same world.

    Yields
    ------
    Step
        Its fraction is that of this stage. Sending `Control.FINISH_NOW` ends the stage with the best so far.

    Raises
    ------
    InputError
        If the images do not overlap in the world, or one is a slice and the other is not.
    """
    frames = frames_of(fixed.grid, moving.grid, header)
    if settings.affine.mode == "none":
        return _kept(fixed, moving, frames)
    levels = _levels(fixed, moving, frames)
    best: Best | None = None
    blind = settings.affine.start == "auto" and places_nothing(fixed.grid, moving.grid, frames)
    for best in _search(levels, frames, settings, blind):
        loss = 1 - best.value
        step = Step("affine", best.level, best.levels, best.index, best.count, loss=loss, fraction=best.fraction, message=best.message)
        if (yield step) is Control.FINISH_NOW:
            break
    if best is None:
        raise InputError(_no_overlap(frames))
    if blind and not best.is_sure:
        return _placed_by_fields(best, levels[-1], frames)
    return _judged(best, levels[-1], frames, settings.affine.start)


def frames_of(fixed: Grid, moving: Grid, header: AffineTransform | None = None) -> Frames:
    """Place the local frames: anchored in the centers of the fields of view, along the array axes, in units of a common radius.

    Raises
    ------
    InputError
        If one image is a slice and the other is not, or the slices lie across each other.
    """
    axes = tuple(n for n in range(3) if fixed.shape[n] > 1)
    if axes != tuple(n for n in range(3) if moving.shape[n] > 1):
        raise InputError(
            f"Expected two volumes, or two slices of one orientation; got shapes {fixed.shape} and {moving.shape} (axes R, A, S). "
            "Load a slice of the same orientation, or two volumes."
        )
    radius = 0.5 * min(_extent(fixed, axes), _extent(moving, axes))
    position = np.eye(4) if header is None else header.matrix
    return Frames(_local_to_world(fixed, radius), _local_to_world(moving, radius), radius, axes, position)


def _local_to_world(grid: Grid, radius: float) -> Float[np.ndarray, "4 4"]:
    out = np.eye(4)
    out[:3, :3] = grid.direction * radius
    out[:3, 3] = grid.center
    return out


def _extent(grid: Grid, axes: tuple[int, ...]) -> float:
    """Return the geometric mean of the lengths in mm of the field of view."""
    lengths = [grid.shape[n] * grid.spacing[n] for n in axes]
    return float(np.exp(np.mean(np.log(lengths))))


def _measures(settings: Settings) -> tuple[Measure, Measure]:
    """Choose what the search for the start compares, and what the levels compare.

    Descriptors tell small shifts well but change with the orientation, so they never search.
    """
    asked, across = settings.affine.similarity, settings.modality == "different"
    if asked == "auto":
        return ("nmi", "nmi") if across else ("ncc", "ncc")
    if asked == "mind_ssc":
        return ("nmi" if across else "ncc"), asked
    return asked, asked


def _levels(fixed: Placed, moving: Placed, frames: Frames) -> list[_Level]:
    """Build the levels, coarse to fine."""
    spacings = _spacings(fixed.grid, moving.grid, frames.axes)
    cpu = torch.device("cpu")
    finest = [_only_masked(at_spacing(image, spacings[-1]).to(cpu)) for image in (fixed, moving)]
    coarser = [(at_spacing(finest[0], spacing), at_spacing(finest[1], spacing)) for spacing in spacings[:-1]]
    return [*coarser, (finest[0], finest[1])]


def _spacings(fixed: Grid, moving: Grid, axes: tuple[int, ...]) -> list[float]:
    """Choose the levels' spacings in mm: no finer than the images, each about half the one before."""
    coarse = min(_extent(fixed, axes), _extent(moving, axes)) / COARSEST_ACROSS[len(axes)]
    volume = max(_extent(fixed, axes), _extent(moving, axes)) ** len(axes)
    given = min(float(fixed.spacing[list(axes)].min()), float(moving.spacing[list(axes)].min()))
    fine = max(given, (volume / FINEST_VOXELS) ** (1 / len(axes)))
    if fine >= 0.75 * coarse:
        return [max(coarse, given)]
    count = 1 + math.ceil(math.log2(coarse / fine) - 0.25)
    return [float(spacing) for spacing in np.geomspace(coarse, fine, count)]


def _only_masked(image: Placed) -> Placed:
    """Even out what lies outside the mask: what remains is the inside, the outline, and an even margin."""
    if image.weight is None:
        return image
    axes = tuple(n for n in range(3) if image.grid.shape[n] > 1)
    reach = max(1, round(MASK_MARGIN * _extent(image.grid, axes) / float(image.grid.spacing[list(axes)].mean())))
    far = box_sum(image.weight, reach) > 0.5
    rim = far & (image.weight < 0.5)
    level = float(image.data[rim].mean()) if bool(rim.any()) else 0.0
    data = torch.where(image.weight >= 0.5, image.data, torch.full_like(image.data, level))
    return replace(image, data=data, weight=far.float())


def _search(levels: list[_Level], frames: Frames, settings: Settings, blind: bool) -> Generator[Best, None, None]:
    """Yield ever better matrices: from the starts, then through the levels; `blind` where the headers tell no position.

    Raises
    ------
    InputError
        If no start makes the images overlap.
    """
    search, measure = _measures(settings)
    start = yield from find_start(levels[0], frames, search, settings.affine.start)
    freedoms: tuple[Freedom, ...] = ("rigid",) if settings.affine.mode == "rigid" else ("rigid", "affine")
    if start is not None and not start.is_sure and blind:
        yield (yield from field_start(levels[0], frames, search))
        return
    if start is not None and not start.is_sure:
        measure, freedoms = ("ncc" if settings.modality == "same" else "mind_ssc"), ("shift",)
        start = yield from cautious_start(levels[0], frames, measure, settings.affine.start)
    if start is None:
        raise InputError(_no_overlap(frames))
    yield from _refined(start, levels, frames, measure, freedoms)


def _refined(
    start: Best, levels: list[_Level], frames: Frames, measure: Measure, freedoms: tuple[Freedom, ...]
) -> Generator[Best, None, None]:
    """Climb through the levels, with ever more freedom on the coarsest one."""
    best = start
    for number, level in enumerate(levels):
        pair = pair_of(*level, frames, measure, best.local[:3, :3])
        for freedom in freedoms if number == 0 else freedoms[-1:]:
            for index, (local, score) in enumerate(climb(pair, frames, best.local, freedom, STEPS), start=1):
                fraction = 0.3 + 0.7 * (number + index / STEPS) / len(levels)
                best = Best(local, score.value, measure, fraction, MESSAGES[freedom], start.is_sure, number, len(levels), index, STEPS)
                yield best


def _judged(best: Best, level: _Level, frames: Frames, start: StartName) -> Alignment:
    """Compare with the headers' position on the finest level, and keep that where it is practically as good.

    Raises
    ------
    InputError
        If the images do not overlap, or do so only in a position that nothing speaks for.
    """
    measure = best.measure
    after = _scored(best.local, level, frames, measure)
    header = header_start(frames)
    before = None if header is None else _scored(header, level, frames, measure)
    notices = () if best.is_sure else (UNSURE,)
    overlapping = before is not None and before.overlap >= LEAST_OVERLAP
    similarity_before = 0.0 if before is None else max(before.value, 0.0)
    if header is not None and overlapping and after.value - similarity_before <= _gain_wanted(similarity_before, measure):
        affine = _header_affine(header, frames)
        return Alignment(affine, similarity_before, similarity_before, (*notices, KEPT.get(start, KEPT_HEADERS)))
    guessed = not best.is_sure and not overlapping and start != "center"
    if after.overlap < LEAST_OVERLAP or guessed:
        raise InputError(_no_overlap(frames))
    affine = AffineTransform(frames.to_world(best.local))
    return Alignment(affine, similarity_before, after.value, notices)


def _placed_by_fields(best: Best, level: _Level, frames: Frames) -> Alignment:
    """Take what the fields of view and the images' similarity say together; the headers' position is no rival, as it means nothing."""
    before = _scored(frames.from_world(frames.header), level, frames, best.measure)
    after = _scored(best.local, level, frames, best.measure)
    return Alignment(AffineTransform(frames.to_world(best.local)), max(before.value, 0.0), after.value, (UNSURE, BY_FIELDS))


def _gain_wanted(before: float, measure: Measure) -> float:
    """Return what must be gained over the headers' position: anything for one modality, `GAIN_WANTED` of what is missing for two."""
    if measure == "ncc":
        return 0.0
    return GAIN_WANTED * (before if measure == "nmi" else 1 - before)


def _scored(local: Float[np.ndarray, "4 4"], level: _Level, frames: Frames, measure: Measure) -> Score:
    return similarity(pair_of(*level, frames, measure, local[:3, :3]), local, derivatives=False)


def _kept(fixed: Placed, moving: Placed, frames: Frames) -> Alignment:
    """Trust the headers, but see that the images overlap."""
    header = header_start(frames)
    score = None if header is None else _scored(header, _levels(fixed, moving, frames)[0], frames, "ncc")
    if header is None or score is None or score.overlap < LEAST_OVERLAP:
        raise InputError(_no_overlap(frames))
    return Alignment(_header_affine(header, frames), score.value, score.value)


def _header_affine(header: Float[np.ndarray, "4 4"], frames: Frames) -> AffineTransform:
    """Return the headers' own matrix, free of rounding; of slices what their planes leave of it."""
    return AffineTransform(frames.header if len(frames.axes) == 3 else frames.to_world(header))


def _no_overlap(frames: Frames) -> str:
    centers = frames.header @ frames.fixed_to_world[:, 3], frames.moving_to_world[:, 3]
    apart = float(np.linalg.norm(centers[0] - centers[1]))
    return (
        f"There is no overlap of the two images in the world (their centers are {apart:.0f} mm apart), and no start position was found in "
        "which they resemble each other. Check that both show the same region and that modality is set right; with affine.start 'center' "
        "their centers are brought together without asking."
    )
