"""Everything a run gives: the steps on the way, the outcome, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from .settings import Settings
from .space import AffineTransform, Box, DisplacementField, Grid, InversePoints, Landmarks, TransformChain, invert_points

StageName = Literal[
    "read", "prepare", "affine", "search", "predict", "refine", "folds", "inverse", "evaluate", "write", "train", "validate"
]  # fmt: skip


class Control(Enum):
    """What the consumer of a run may send into its generator. To cancel, close the generator instead."""

    FINISH_NOW = "finish now"
    """Stop refining and go on with the best so far."""


@dataclass(frozen=True)
class Step:
    """One sign of life from a long run.

    Attributes
    ----------
    stage : str
        What is being done.
    level, levels : int
        Pyramid level, 0 the coarsest, and how many there are.
    index, count : int
        Step within the level, from 1, and how many there can be.
    loss : float or None
        Value of the loss (lower is better), where there is one.
    fraction : float
        Estimated part of the whole run that is done, 0 to 1, never falling.
    seconds_left : float or None
        Estimate; None while there is nothing to estimate from.
    message : str
        For people.
    """

    stage: StageName
    level: int = 0
    levels: int = 1
    index: int = 0
    count: int = 0
    loss: float | None = None
    fraction: float = 0.0
    seconds_left: float | None = None
    message: str = ""


class Status(Enum):
    """How a registration ended; the value is the advice shown to the user."""

    CONVERGED = "Converged: no level could be improved further by the given tolerance."
    STEPS_USED_UP = "Ended after the given number of steps; more steps may improve it a little."
    FINISHED_EARLY = "Ended early at the user's wish; the best state so far was kept."
    KEPT_START = (
        "The deformation did not make the images more similar; the start position was kept. "
        "Check that the two images show the same region."
    )
    FROM_ELSEWHERE = "Made by another tool; this program only judges it."
    FOLDS_LEFT = "Some folds could not be repaired; see the fold list and judge these places with care."


@dataclass(frozen=True)
class StartChoice:
    """Which start the refinement took, and what each was worth.

    Attributes
    ----------
    chosen : str
        One of the names in `losses`.
    losses : mapping of str to float
        The loss at each start on one coarse lattice, lower is better; `none` is the affine alone.
    model_sha256 : str
        Of the network's file; empty without a network.
    """

    chosen: str
    losses: Mapping[str, float]
    model_sha256: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        others = " and ".join(f"{name} ({loss:.3f})" for name, loss in self.losses.items() if name != self.chosen)
        return f"start: {self.chosen} ({self.losses[self.chosen]:.3f})" + (f" against {others}" if others else "")


@dataclass(frozen=True)
class TransformFile:
    """A file that a transform was read from, and how it was understood."""

    name: str
    sha256: str
    convention: str
    """In words, e.g. `displacement in LPS mm, by its intent code 1007`."""


@dataclass(frozen=True)
class TransformOrigin:
    """Where a transform comes from that was not made here."""

    made_by: str
    """The tool, as far as the user named it."""
    files: tuple[TransformFile, ...]
    """In the order in which fixed points go through them."""
    inverse: str
    """Where moving_to_fixed comes from."""


@dataclass(frozen=True)
class Provenance:
    """Where a result came from, enough to trace and repeat it."""

    version: str
    device: str
    seconds: Mapping[StageName, float]
    notices: tuple[str, ...] = ()
    """What the user should know: fallbacks, resampling, clipped intensities."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    start: StartChoice | None = None
    """Where the refinement started; None where it had no choice."""
    driving_points_mm: tuple[tuple[float, float, float], ...] | None = None
    """Fixed landmarks (RAS+ mm) that drove it; None where nobody noted them."""
    origin: TransformOrigin | None = None
    """None for a registration of this program."""


@dataclass(frozen=True, eq=False)
class RegistrationResult:
    """The outcome: fixed points go through the displacement (on the fixed grid), then through the affine.

    Attributes
    ----------
    affine : AffineTransform
        World RAS+ mm, fixed to moving.
    displacement, inverse_displacement : DisplacementField
        u on the fixed grid and the field of its inverse, both fixed to fixed space.
    velocity_vox : (i, j, k, 3) float array or None
        The stationary velocity on `velocity_grid`, in its voxels a unit time; exp(v) is u up to upsampling and repair. None where u is
        composed of several flows.
    """

    affine: AffineTransform
    displacement: DisplacementField
    inverse_displacement: DisplacementField
    velocity_vox: Float[np.ndarray, "i j k 3"] | None
    velocity_grid: Grid | None
    status: Status
    history: tuple[Step, ...]
    settings: Settings
    provenance: Provenance

    @cached_property
    def fixed_to_moving(self) -> TransformChain:
        """Carries fixed points to moving space; images are pulled with it."""
        return TransformChain((self.displacement, self.affine))

    @cached_property
    def moving_to_fixed(self) -> TransformChain:
        """Carries moving points to fixed space (interpolated inverse field; for landmarks use `moving_points_in_fixed`)."""
        return TransformChain((self.affine.inverse(), self.inverse_displacement))

    def moving_points_in_fixed(self, points: Float[np.ndarray, "n 3"]) -> InversePoints:
        """Carry moving world points to fixed space, solved point by point with Newton steps; residuals in fixed-space mm."""
        target = self.affine.inverse().map(points)
        return invert_points(self.displacement, target, start=self.inverse_displacement.map(target))

    def moving_landmarks_in_fixed(self, landmarks: Landmarks) -> Landmarks:
        """Carry moving landmarks to fixed space."""
        return Landmarks(self.moving_points_in_fixed(landmarks.points).points, landmarks.names)


PairRole = Literal["drove", "outside", "excluded"]
"""What a landmark pair did in a correction: it took part; it lies beyond the corrected place; its weight is 0."""

CorrectionKind = Literal["pairs", "preview", "harder", "softer", "rigid", "points", "back"]
"""What a correction is: solved from pairs and image; the pairs' spline alone; a region solved again; everything replaced by a fit through
the pairs alone; what was there at first."""


@dataclass(frozen=True)
class PairFit:
    """How well one landmark pair is met.

    Attributes
    ----------
    name : str
        Of the pair.
    before_mm, after_mm : float
        Distance of the carried fixed point to the moving point, before and after the correction.
    part : float
        What the pair makes of the points' part in the fit after it: its weighted squared distance over the sum of all, 0 to 1.
    role : str
        What it did.
    """

    name: str
    before_mm: float
    after_mm: float
    part: float
    role: PairRole


@dataclass(frozen=True, eq=False)
class FieldPatch:
    """What a correction changes of one displacement field.

    Attributes
    ----------
    box : Box
        Voxels of the field's grid; outside of it nothing changes.
    before_mm, after_mm : (i, j, k, 3) float32 array
        World vectors (RAS+ mm) in the box.
    """

    box: Box
    before_mm: Float[np.ndarray, "i j k 3"]
    after_mm: Float[np.ndarray, "i j k 3"]


@dataclass(frozen=True, eq=False)
class Correction:
    """A local change of a registration, which knows what was there before: undo and redo are a stack of these.

    Attributes
    ----------
    kind : str
        What it is.
    forward, backward : FieldPatch
        Of the displacement and of its inverse, both on the fixed grid; the preview leaves the inverse as it is.
    moved, moved_before : (i, j, k) float32 array
        The moving image pulled into the box of `forward`, after and before.
    jacobian : (i, j, k) float32 array
        Local volume change after it in that box, the affine included.
    pairs : tuple of PairFit
        Every pair that was given, in its order.
    similarity_before, similarity_after : float
        The run's data term over the corrected place, lower is better.
    folds_before, folds_after : int
        Voxels that fail the digital test where the change is felt.
    largest_change_mm : float
        Longest change of a displacement.
    beyond_radius_mm : float
        Longest change of a displacement farther than the radius (or the margin) from what was touched.
    seconds : float
        Spent.
    notices : tuple of str
        What the user should know: the radius is too small, a pair needs a fold, ...
    """

    kind: CorrectionKind
    forward: FieldPatch
    backward: FieldPatch
    moved: Float[np.ndarray, "i j k"]
    moved_before: Float[np.ndarray, "i j k"]
    jacobian: Float[np.ndarray, "i j k"]
    pairs: tuple[PairFit, ...]
    similarity_before: float
    similarity_after: float
    folds_before: int
    folds_after: int
    largest_change_mm: float
    beyond_radius_mm: float
    seconds: float
    notices: tuple[str, ...] = ()

    @property
    def box(self) -> Box:
        """Voxels of the fixed grid whose displacement and moved image change."""
        return self.forward.box


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A proposed partner of a fixed landmark.

    Attributes
    ----------
    point : (3,) float array
        In the moving image, RAS+ mm.
    confidence : float
        0 to 1: how sure it is that the true partner lies within two voxels.
    moved_mm : float
        How far it lies from where the present registration carries the fixed landmark.
    """

    point: Float[np.ndarray, "3"]
    confidence: float
    moved_mm: float


@dataclass(frozen=True)
class PairDoubt:
    """How one landmark pair agrees with the others and with the registration.

    Attributes
    ----------
    name : str
        Of the pair.
    by_others_mm : float or None
        How far it lies from where the pairs around it and the automatic registration together expect it; None with too few neighbors.
    by_registration_mm : float
        How far it lies from where the automatic registration alone carries it.
    needs_fold : bool
        Whether no fold-free map can meet it and its neighbors at once.
    is_outlier : bool
        Whether it should be looked at.
    looks_worse : float or None
        How much less the images look alike at the pair than at the best place around: 0 as much, 1 not at all; None if not looked at.
    reason : str
        Why, for people; empty if it is none.
    """

    name: str
    by_others_mm: float | None
    by_registration_mm: float
    needs_fold: bool
    is_outlier: bool
    reason: str = ""
    looks_worse: float | None = None
