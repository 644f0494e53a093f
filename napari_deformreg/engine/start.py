"""Where the affine stage begins: positions (headers, centers) times orientations times shifts, at the coarsest level."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from ..space import Grid
from .affine_climb import Best, Freedom, climb, distance, generators, rotation
from .affine_similarity import Frames, Measure, Pair, pair_of, similarity
from .tensors import Placed

TURNS_DEG = (-40.0, -20.0, 20.0, 40.0)
"""Orientations tried about each axis; the climb that follows bridges the ten degrees to the nearest."""

SHIFT = 0.35
"""Step of the shifts tried along each axis, in radii."""

MOST_SHIFTS = 8
"""Steps either way at most."""

TURN_COST = 0.04
"""What a turn by 180 degrees against the headers must gain in similarity, relative to it, to be believed; smaller turns in proportion."""


KEPT_STARTS = 10
"""Starts that are climbed a little before all but the best three are given up."""

HEADER_MARGIN = 0.02
"""Another start must be better than the headers' by this fraction of its similarity: headers are right more often than not."""

SAME_PLACE = 0.1
"""Distance, in radii, below which two climbed starts are at one place: half of what keeps starts apart."""

LEAST_OVERLAP = 0.1
"""Common part of the smaller image below which the images are said not to overlap."""

SURE_UPRIGHT = 0.24
SURE_TURNED = 0.49
SURE_TURN_DEG = 50.0
"""Correlation of intensities or of descriptors from which a start is believed: the first in the headers' orientation, rising to the second
at this turn. Heads of two people reach 0.7 in two contrasts, 0.3 to 0.36 where one of them is stripped of its skull too; ultrasound and
MR of a prostate reach 0 to 0.3, in wrong positions turned by 25 to 150 degrees."""

FIELD_SPREAD = 0.2
"""Standard deviation, in radii, of the shift between two fields of view that were laid around the same organ."""

FIELD_REACH, FIELD_STEPS = 0.5, 13
"""Shifts tried either way along each axis where only the fields of view place the images, in radii, and how many of them."""

StartName = Literal["auto", "header", "center", "landmarks"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A start position.

    Attributes
    ----------
    local : (4, 4) array
        Matrix between the local frames.
    value : float
        Its similarity, with the cost of turning.
    is_header : bool
        Whether it is the headers' own position.
    from_content : bool
        Whether only what the images show decides where it is, so that other origins or directions in the headers do not change a bit.
    """

    local: Float[np.ndarray, "4 4"]
    value: float
    is_header: bool = False
    from_content: bool = False


@dataclass(frozen=True, eq=False)
class Mass:
    """Center and principal axes (one a column, ascending) of an image in its local frame."""

    center: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]


def mass_of(image: Placed, to_world: Float[np.ndarray, "4 4"], axes: tuple[int, ...]) -> Mass:
    """Measure where an image's mass lies: its mask where it has one, else its intensities above the darkest tenth."""
    data = image.data[0, 0].double().cpu() if image.weight is None else image.weight[0, 0].double().cpu()
    weight = (data - torch.quantile(data.flatten(), 0.1) if image.weight is None else data).clamp_min(0).numpy().ravel()
    local = np.linalg.solve(to_world, image.grid.affine)
    points = image.grid.voxel_indices() @ local[:3, :3].T + local[:3, 3]
    total = max(float(weight.sum()), 1e-9)
    center = weight @ points / total
    centered = points - center
    spread = (centered * weight[:, None]).T @ centered / total
    principal = np.eye(3)
    block = np.ix_(axes, axes)
    principal[block] = np.linalg.eigh(spread[block])[1]
    return Mass(center, principal)


def header_start(frames: Frames) -> Float[np.ndarray, "4 4"] | None:
    """Return the headers' position, as far as a slice's plane allows; None where the planes do not match."""
    local = frames.from_world(frames.header)
    if len(frames.axes) == 3:
        return local
    block = local[np.ix_(frames.axes, frames.axes)]
    left, size, right = np.linalg.svd(block)
    turn = left @ right
    if size.min() < 0.5 or np.linalg.det(turn) < 0:
        return None
    out = np.eye(4)
    out[np.ix_(frames.axes, frames.axes)] = turn
    out[list(frames.axes), 3] = local[list(frames.axes), 3]
    return out


def about(linear: Float[np.ndarray, "3 3"], pivot: Float[np.ndarray, "3"], image: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Return the matrix with this linear part that carries `pivot` to `image`."""
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = image - linear @ pivot
    return out


def places_nothing(fixed: Grid, moving: Grid, frames: Frames) -> bool:
    """Tell whether the headers' position is a stand-in for one that was not recorded.

    Fields of view of different lengths along every axis that lie upright with their corners on one another: scanners place them around the
    organ, programs that know of no position begin them in one corner.
    """
    local = frames.from_world(frames.header)
    if not np.allclose(local[:3, :3], np.eye(3), atol=1e-3):
        return False
    axes, voxel = list(frames.axes), fixed.spacing / frames.radius_mm
    half_fixed, half_moving = (grid.spacing * (np.array(grid.shape) - 1) / 2 / frames.radius_mm for grid in (fixed, moving))
    apart = np.abs(half_fixed - half_moving)
    in_a_corner = np.abs(np.abs(local[:3, 3]) - apart) < 0.05 * voxel
    return bool((in_a_corner & (apart > voxel))[axes].all())


def _orientations(fixed: Mass, moving: Mass, upright: Float[np.ndarray, "3 3"], axes: tuple[int, ...]) -> list[Float[np.ndarray, "3 3"]]:
    """Return the header's orientation first, then turns of it, then those that bring the principal axes together."""
    out = [upright]
    count = len(generators(axes))
    for n in range(count):
        for degrees in TURNS_DEG:
            angles = np.zeros(count)
            angles[n] = np.deg2rad(degrees)
            out.append(rotation(angles, axes) @ upright)
    block = np.ix_(axes, axes)
    for signs in itertools.product((-1.0, 1.0), repeat=len(axes)):
        turn = np.eye(3)
        turn[block] = moving.axes[block] @ np.diag(signs) @ fixed.axes[block].T
        if np.linalg.det(turn) > 0:
            out.append(turn)
    return out


def _shifts(frames: Frames, fields_mm: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]) -> list[Float[np.ndarray, "3"]]:
    """Return shifts along each axis, in radii: a step either way, or as many as it takes to bring a short field anywhere in a long one."""
    out = [np.zeros(3)]
    for axis in frames.axes:
        room = abs(fields_mm[0][axis] - fields_mm[1][axis]) / 2 / frames.radius_mm
        count = min(max(1, math.ceil(room / SHIFT - 0.5)), MOST_SHIFTS)
        out += [sign * n * SHIFT * np.eye(3)[axis] for n in range(1, count + 1) for sign in (-1, 1)]
    return out


def turn_between(local: Float[np.ndarray, "4 4"], upright: Float[np.ndarray, "3 3"]) -> float:
    """Return by how many degrees a start is turned against the headers."""
    left, _, right = np.linalg.svd(local[:3, :3] @ upright.T)
    cosine = np.clip((np.trace(left @ right) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosine)))


def candidates(
    pair: Pair,
    frames: Frames,
    masses: tuple[Mass, Mass],
    fields_mm: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]],
    start: StartName,
) -> Iterator[Candidate]:
    """Score the start positions that the setting allows, the headers' own first.

    Parameters
    ----------
    masses : (Mass, Mass)
        Of fixed and moving, each in its local frame, whose anchor is the center of the field of view.
    fields_mm : two (3,) arrays
        Lengths of the fields of view along the axes.
    start : str
        "header" yields the headers' position alone, "landmarks" likewise where the pairs place the images instead of the headers, "center"
        the brought-together centers in the headers' orientation, "auto" all.
    """
    header = header_start(frames)
    upright = np.eye(3) if header is None else header[:3, :3]
    if header is not None and start != "center":
        yield Candidate(header, similarity(pair, header, derivatives=False).value, is_header=True)
    if start in ("header", "landmarks"):
        return
    places = _places(masses)
    if start == "center":
        yield from _tried(pair, upright, [upright], places, [np.zeros(3)], from_content=False)
        return
    turns, shifts = _orientations(*masses, upright, frames.axes), _shifts(frames, fields_mm)
    yield from _tried(pair, upright, turns, places, shifts, from_content=np.array_equal(upright, np.eye(3)))
    if header is not None:
        pivot = masses[0].center
        yield from _tried(pair, upright, turns, [(pivot, header[:3, :3] @ pivot + header[:3, 3])], shifts, from_content=False)


def content_candidates(
    pair: Pair, frames: Frames, masses: tuple[Mass, Mass], fields_mm: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
) -> Iterator[Candidate]:
    """Score start positions that know nothing of the headers but which array axis is which."""
    turns = _orientations(*masses, np.eye(3), frames.axes)
    yield from _tried(pair, np.eye(3), turns, _places(masses), _shifts(frames, fields_mm), from_content=True)


_Place = tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]


def _places(masses: tuple[Mass, Mass]) -> list[_Place]:
    """Return what may come together: the centers of mass, and those of the fields of view."""
    return [(masses[0].center, masses[1].center), (np.zeros(3), np.zeros(3))]


def _tried(
    pair: Pair, upright: Float[np.ndarray, "3 3"], turns: list[Float[np.ndarray, "3 3"]], places: list[_Place],
    shifts: list[Float[np.ndarray, "3"]], from_content: bool,
) -> Iterator[Candidate]:
    """Score every turn in every place with every shift."""
    for turn, (pivot, image), shift in itertools.product(turns, places, shifts):
        local = about(turn, pivot, image + shift)
        value = similarity(pair, local, derivatives=False).value
        yield Candidate(local, value * (1 - TURN_COST * turn_between(local, upright) / 180), from_content=from_content)


def best_distinct(found: Sequence[Candidate], count: int, apart: float = 0.2) -> list[Candidate]:
    """Return the best few that lie apart; the headers' own is always among them."""
    kept = [candidate for candidate in found if candidate.is_header]
    for candidate in sorted(found, key=lambda c: -c.value):
        if len(kept) >= count:
            break
        if all(distance(candidate.local, other.local) > apart for other in kept):
            kept.append(candidate)
    return kept


def find_start(level: tuple[Placed, Placed], frames: Frames, measure: Measure, start: StartName) -> Generator[Best, None, Best | None]:
    """Try the starts on the coarsest level and climb rigidly from ever fewer of them; None if none overlaps."""
    pair = pair_of(*level, frames, measure)
    masses = (mass_of(level[0], frames.fixed_to_world, frames.axes), mass_of(level[1], frames.moving_to_world, frames.axes))
    fields = (level[0].grid.spacing * level[0].grid.shape, level[1].grid.spacing * level[1].grid.shape)
    found: list[Candidate] = []
    for number, candidate in enumerate(candidates(pair, frames, masses, fields, start)):
        found.append(candidate)
        if number % 32 == 0:
            top = max(found, key=lambda c: c.value)
            yield Best(top.local, top.value, measure, 0.1, "trying start positions")
    finalists = yield from _finalists(pair, frames, found)
    chosen = _chosen(finalists) if finalists else None
    if chosen is None or similarity(pair, chosen.local, derivatives=False).overlap < LEAST_OVERLAP:
        return None
    sure = _is_sure(level, frames, pair, chosen.local)
    if sure and start == "auto":
        by_content = [c for c in found if c.from_content] or list(content_candidates(pair, frames, masses, fields))
        chosen = _same_place(chosen, (yield from _finalists(pair, frames, by_content)))
    return Best(chosen.local, chosen.value, measure, 0.3, "", sure)


def _finalists(pair: Pair, frames: Frames, found: list[Candidate]) -> Generator[Best, None, list[Candidate]]:
    """Climb rigidly from ever fewer of the starts; yields the best so far."""
    kept = found
    for steps, count, apart in ((6, KEPT_STARTS, 0.2), (20, 3, 0.02)):
        climbed: list[Candidate] = []
        for candidate in best_distinct(kept, count, apart):
            climbed.append(_climbed(pair, frames, candidate, "rigid", steps))
            top = max(climbed, key=lambda c: c.value)
            yield Best(top.local, top.value, pair.measure, 0.2, "climbing from the best start positions")
        kept = climbed
    return kept


def _same_place(chosen: Candidate, by_content: list[Candidate]) -> Candidate:
    """Exchange the chosen start for one that came to the same place and is as good, but owes nothing to the headers' world origins.

    The levels that follow would end within a hundredth of a voxel of each other from either, and the deformation amplifies even that.
    """
    as_good = [c for c in by_content if c.value >= chosen.value - HEADER_MARGIN * abs(chosen.value)]
    near = [c for c in as_good if distance(c.local, chosen.local) < SAME_PLACE]
    return max(near, key=lambda c: c.value) if near else chosen


def cautious_start(level: tuple[Placed, Placed], frames: Frames, measure: Measure, start: StartName) -> Generator[Best, None, Best | None]:
    """Choose between the headers' position and the fields of view brought together, by shifting alone."""
    header = header_start(frames)
    upright = np.eye(3) if header is None else header[:3, :3]
    pair = pair_of(*level, frames, measure, upright)
    climbed: list[Candidate] = []
    if header is not None and start != "center":
        climbed.append(_climbed(pair, frames, Candidate(header, 0.0, is_header=True), "shift", 20))
    if start not in ("header", "landmarks"):
        climbed.append(_climbed(pair, frames, Candidate(about(upright, np.zeros(3), np.zeros(3)), 0.0), "shift", 20))
    scored = [replace(c, value=similarity(pair, c.local, derivatives=False).value) for c in climbed]
    if not scored:
        return None
    chosen = _chosen(scored)
    best = Best(chosen.local, chosen.value, measure, 0.3, "shifting", is_sure=False)
    yield best
    return best


def field_start(level: tuple[Placed, Placed], frames: Frames, measure: Measure) -> Generator[Best, None, Best]:
    """Choose the likeliest shift between images of which only the fields of view tell where they are.

    The logarithm of its posterior is the similarity, in standard deviations over the shifts tried, with a Gaussian prior (`FIELD_SPREAD`)
    around the fields of view brought together. Without the prior the similarity of such images has its highest peaks anywhere; climbing it
    from the middle ends in the nearest of many. Ultrasound and MR of six prostates: mean Dice .74 (.72 to .74 for a spread of .17 to .4),
    against .65 for the middle alone, .56 for the similarity alone and .62 for climbing the similarity of descriptors.
    """
    header = header_start(frames)
    upright = np.eye(3) if header is None else header[:3, :3]
    pair = pair_of(*level, frames, measure, upright)
    steps = [np.linspace(-FIELD_REACH, FIELD_REACH, FIELD_STEPS) if n in frames.axes else np.zeros(1) for n in range(3)]
    tried = [about(upright, np.zeros(3), np.array(shift)) for shift in itertools.product(*steps)]
    middle = about(upright, np.zeros(3), np.zeros(3))
    found = []
    for number, local in enumerate(tried):
        found.append(similarity(pair, local, derivatives=False).value)
        if number % 256 == 0:
            so_far = 0.3 + 0.7 * number / len(tried)
            yield Best(middle, found[len(found) // 2], measure, so_far, "trying shifts", is_sure=False)
    values = np.array(found)
    distances = np.array([np.square(local[:3, 3]).sum() for local in tried])
    posterior = (values - values.mean()) / max(float(values.std()), 1e-9) - distances / (2 * FIELD_SPREAD**2)
    chosen = int(np.argmax(posterior))
    return Best(tried[chosen], found[chosen], measure, 1.0, "shifting", is_sure=False)


def _climbed(pair: Pair, frames: Frames, start: Candidate, freedom: Freedom, steps: int) -> Candidate:
    local = start.local
    reached = before = similarity(pair, local, derivatives=False).value
    for best, score in climb(pair, frames, start.local, freedom, steps):
        local, reached = best, score.value
    return replace(start, local=local, value=start.value + reached - before)


def _chosen(climbed: list[Candidate]) -> Candidate:
    """Choose the best, the headers' own where that is practically as good."""
    best = max(climbed, key=lambda c: c.value)
    header = [c for c in climbed if c.is_header and c.value >= best.value - HEADER_MARGIN * abs(best.value)]
    return header[0] if header else best


def _is_sure(level: tuple[Placed, Placed], frames: Frames, pair: Pair, local: Float[np.ndarray, "4 4"]) -> bool:
    """Tell whether the images resemble each other enough to believe a turn or a stretch.

    Mutual information says little by its size, which depends on how many tissues there are; structure descriptors do.
    """
    judge = pair if pair.measure == "ncc" else pair_of(*level, frames, "mind_ssc", local[:3, :3])
    header = header_start(frames)
    turn = turn_between(local, np.eye(3) if header is None else header[:3, :3])
    wanted = SURE_UPRIGHT + (SURE_TURNED - SURE_UPRIGHT) * min(turn / SURE_TURN_DEG, 1.0)
    return similarity(judge, local, derivatives=False).value >= wanted
