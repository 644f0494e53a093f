"""Where the refinement starts: from nothing, from the coarse search, or from a network, whichever brings this very pair nearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..errors import EngineError, InputError
from ..result import StartChoice
from ..settings import Settings
from ..space import AffineTransform, Grid
from .initialize import unfolded
from .models.predict import check_dimensions, predict_velocity
from .models.weights import TrainedModel, open_model
from .pyramid import level_grid
from .sampling import resize_field
from .tensors import Placed, guarded

NO_START = "none"

SEARCHED = "training-free"

JUDGE_VOXELS = 150_000
"""Size of the lattice on which starts are compared: 3 to 4 mm for a head, where a start's worth shows and a comparison takes a moment."""


@dataclass(frozen=True, eq=False)
class Start:
    """One place to start from.

    Attributes
    ----------
    name : str
        For people.
    velocity : (1, 3, i, j, k) tensor
        Over the fixed field of view, in voxels of its own lattice.
    """

    name: str
    velocity: Float[Tensor, "1 3 i j k"]


def settled_model(settings: Settings, fixed: Grid) -> tuple[TrainedModel | None, tuple[str, ...]]:
    """Open the model that the settings name, if any, before any long work; returns notices beside it.

    Raises
    ------
    InputError
        If a model that was asked for by name cannot be used for these images; one that only the preset named is left out with a notice.
    """
    if settings.chosen_model == "none" or settings.refine.mode == "off":
        return None, ()
    try:
        with guarded():
            model = open_model(settings.chosen_model)
        check_dimensions(model, fixed)
    except InputError as error:
        if settings.model != "auto":
            raise
        return None, (f"No network was used: {error}",)
    return model, ()


def network_start(model: TrainedModel, fixed: Placed, moving: Placed, affine: AffineTransform) -> tuple[Start | None, tuple[str, ...]]:
    """Let a network predict a start; one that cannot compute here is left out with a notice, as a start is only help."""
    try:
        with guarded():
            velocity = unfolded(predict_velocity(model, fixed, moving, affine))
    except EngineError as error:
        return None, (f"The network {model.name} gave no start: {error}",)
    if velocity is None:
        return None, (f"The network {model.name} gave no start: its velocity folds everywhere.",)
    return Start(f"network {model.name}", velocity), ()


def judge_grid(fixed: Grid) -> Grid:
    """Return the lattice on which starts are compared."""
    spacing = float(fixed.spacing.min())
    grid = fixed
    while np.prod(grid.shape, dtype=np.float64) > JUDGE_VOXELS:
        spacing *= 1.05
        grid = level_grid(fixed, spacing)
    return grid


def choose_start(
    starts: Sequence[Start], nothing: Tensor, loss: Callable[[Tensor], float], sha256: str = ""
) -> tuple[Start | None, StartChoice]:
    """Compare the starts with each other and with nothing by the loss that the refinement will lower; the first of equals wins.

    Parameters
    ----------
    starts : sequence of Start
        Beside starting from nothing.
    nothing : (1, 3, i, j, k) tensor
        Zeros on the lattice of the comparison.
    loss : callable
        Takes a velocity on that lattice.
    sha256 : str
        Of the network's file, for the record.
    """
    losses = {NO_START: loss(nothing)}
    best: Start | None = None
    for start in starts:
        value = loss(resize_field(start.velocity, (nothing.shape[2], nothing.shape[3], nothing.shape[4])))
        if value < min(losses.values()):
            best = start
        losses[start.name] = value
    return best, StartChoice(NO_START if best is None else best.name, losses, sha256)


def ways_in(start: Start, before: Tensor | None, shape: tuple[int, int, int]) -> list[Tensor]:
    """Return velocities on a level's lattice that take up a start: as it is, and added to what the coarser level changed about it.

    A coarse level sees only what its lattice can hold of a start; the rest, its detail, is brought back here.

    Parameters
    ----------
    start : Start
        The chosen one.
    before : (1, 3, ...) tensor or None
        The coarser level's result on its lattice.
    shape : tuple of int
        Of the level.
    """
    whole = resize_field(start.velocity, shape)
    if before is None:
        return [whole]
    coarse = (before.shape[2], before.shape[3], before.shape[4])
    detail = whole - resize_field(resize_field(start.velocity, coarse), shape)
    return [whole, resize_field(before, shape) + detail]


def is_used_up(start: Start, shape: tuple[int, int, int]) -> bool:
    """Tell whether a level's lattice holds all of a start, so that finer levels can take nothing more from it."""
    return all(n >= m for n, m in zip(shape, start.velocity.shape[2:], strict=True))
