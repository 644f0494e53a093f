"""The review of one registration: graded figures, tables, and what a person thinks of it. Plain and frozen; as JSON it reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ..errors import FileFormatError, InputError
from ..result import TransformFile
from .grading import GradedFigure, grade_of, graded
from .review_tables import ConsistencyRow, FoldCount, FoldRow, LandmarkRow, StructureRow
from .tolerances import Frozen, Grade, Tolerances, first_mistake

RESEARCH_USE_ONLY = "Research use only. Not a medical device."

SNAPSHOTS_AT_MOST = 10


class Verdict(StrEnum):
    """A reviewer's judgment: the five levels of uncertainty after TG-132 (doi 10.1002/mp.12256, the words are ours), or none yet."""

    UNDECIDED = "undecided"
    WHOLE = "whole image aligned"
    LOCAL = "region of interest aligned"
    WITH_CARE = "usable with care"
    DIAGNOSIS_ONLY = "to look at only"
    NOT_ACCEPTABLE = "not acceptable"

    @property
    def level(self) -> int | None:
        """Level of uncertainty, 0 the best; None while undecided."""
        return None if self is Verdict.UNDECIDED else list(Verdict).index(self) - 1

    @property
    def help(self) -> str:
        """One sentence for people."""
        return _VERDICT_HELP[self]


_VERDICT_HELP = {
    Verdict.UNDECIDED: "Nobody has judged it yet.",
    Verdict.WHOLE: "Level 0: anatomy agrees everywhere in the image, within about 1 mm.",
    Verdict.LOCAL: "Level 1: anatomy agrees in the region that matters, within about 1 mm; elsewhere it may not.",
    Verdict.WITH_CARE: "Level 2: usable, with deformation or doubt that margins and readers must allow for.",
    Verdict.DIAGNOSIS_ONLY: "Level 3: good enough to look at side by side, not to carry contours or doses over.",
    Verdict.NOT_ACCEPTABLE: "Level 4: the alignment must not be used.",
}


class Snapshot(Frozen):
    """A picture of the canvas with a caption."""

    caption: str = ""
    taken: str = ""
    """Date and time, UTC."""
    png: Annotated[bytes, Field(exclude=True, repr=False)] = b""
    """The picture; beside the JSON in a file of its own."""


class ImageFacts(Frozen):
    """What was registered."""

    role: Literal["fixed", "moving"]
    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str


class Subject(Frozen):
    """What is reviewed."""

    images: tuple[ImageFacts, ImageFacts]
    """Fixed and moving."""
    made_by: str
    """The tool that made the transform."""
    transforms: tuple[TransformFile, ...] = ()
    """In the order in which fixed points go through them; empty for a registration of this program."""
    inverse: str
    """Where moving_to_fixed comes from."""
    foreground: str = ""
    """How the domain of most figures was chosen."""

    @property
    def largest_voxel_mm(self) -> float:
        """Largest voxel dimension of the two images; a 2-D image's thickness does not count."""
        return max(size for image in self.images for size, n in zip(image.spacing_mm, image.shape, strict=True) if n > 1)


class Review(Frozen):
    """Everything about one registration that a reviewer signs."""

    format: Literal["deformreg-review/1"] = "deformreg-review/1"
    created: str
    """Date and time of the figures, UTC."""
    software: str
    intended_use: str = RESEARCH_USE_ONLY
    subject: Subject
    attention: tuple[str, ...] = ()
    """What to look at first, worst first."""
    tolerances: Tolerances
    figures: tuple[GradedFigure, ...]
    """Those with a tolerance first, then those for information."""
    fold_counts: tuple[FoldCount, ...] = ()
    fold_regions: int = 0
    """How many there are; `folds` has the worst of them."""
    folds: tuple[FoldRow, ...] = ()
    landmarks: tuple[LandmarkRow, ...] = ()
    structures: tuple[StructureRow, ...] = ()
    consistency: ConsistencyRow | None = None
    reviewer: str = ""
    verdict: Verdict = Verdict.UNDECIDED
    comment: str = ""
    signed: str = ""
    """When the verdict was given, UTC; empty while there is none."""
    snapshots: Annotated[tuple[Snapshot, ...], Field(max_length=SNAPSHOTS_AT_MOST)] = ()
    session: dict[str, Any] = Field(default_factory=dict)
    """Layers, settings and view of the window, as it wrote them; nothing here reads it."""

    @property
    def has_opinion(self) -> bool:
        """Whether a person has added anything."""
        return bool(self.reviewer or self.comment or self.snapshots or self.verdict is not Verdict.UNDECIDED)

    def with_opinion(self, *, reviewer: str, verdict: Verdict, comment: str, signed: str = "") -> Review:
        """Return the review with a verdict, dated now unless told otherwise; an undecided one bears no date.

        Raises
        ------
        InputError
            If a verdict has no reviewer.
        """
        reviewer = reviewer.strip()
        if verdict is not Verdict.UNDECIDED and not reviewer:
            raise InputError(f"The verdict {verdict.value!r} has no reviewer; expected a name. Say who judges.")
        when = "" if verdict is Verdict.UNDECIDED else signed or now()
        return self.model_copy(update={"reviewer": reviewer, "verdict": verdict, "comment": comment, "signed": when})

    def with_snapshots(self, snapshots: tuple[Snapshot, ...]) -> Review:
        """Return the review with these pictures.

        Raises
        ------
        InputError
            If there are too many, or one is no PNG.
        """
        if len(snapshots) > SNAPSHOTS_AT_MOST:
            raise InputError(f"A review holds at most {SNAPSHOTS_AT_MOST} snapshots, not {len(snapshots)}. Leave some out.")
        if any(not snapshot.png.startswith(b"\x89PNG") for snapshot in snapshots):
            raise InputError("A snapshot of a review must be a PNG picture; got other bytes. Encode it as PNG.")
        return self.model_copy(update={"snapshots": snapshots})

    def with_session(self, session: Mapping[str, Any]) -> Review:
        """Return the review with the window's state; anything that JSON can hold."""
        return self.model_copy(update={"session": json.loads(json.dumps(session))})

    def named(self, names: Mapping[int, str]) -> Review:
        """Return the review with other names of its structures, by their numbers; nothing is measured again."""
        changed = {row.name: names[row.label] for row in self.structures if names.get(row.label, row.name) != row.name}
        if not changed:
            return self
        longest_first = "|".join(re.escape(name) for name in sorted(changed, key=len, reverse=True))
        anywhere = re.compile(rf"(?<!\w)({longest_first})(?!\w)")

        def renamed(text: str) -> str:
            return anywhere.sub(lambda found: changed[found[1]], text)

        figures = tuple(
            figure.model_copy(update={"structure": changed.get(figure.structure, figure.structure), "domain": renamed(figure.domain)})
            if figure.structure
            else figure
            for figure in self.figures
        )
        structures = tuple(row.model_copy(update={"name": changed.get(row.name, row.name)}) for row in self.structures)
        folds = tuple(row.model_copy(update={"structure": changed.get(row.structure, row.structure)}) for row in self.folds)
        attention = tuple(map(renamed, self.attention))
        return self.model_copy(update={"figures": figures, "structures": structures, "folds": folds, "attention": attention})

    def graded_by(self, tolerances: Tolerances) -> Review:
        """Return the review judged by other tolerances; nothing is measured again."""
        size = self.subject.largest_voxel_mm
        point, dice, distance = (tolerances.of(name) for name in ("tre_mm_mean", "dice", "mean_surface_distance_mm"))
        landmarks = tuple(
            row.model_copy(update={"grade": Grade.INFO if row.kind == "fiducial" else grade_of(row.after_mm, point, size)})
            for row in self.landmarks
        )
        structures = tuple(
            row.model_copy(
                update={
                    "dice_grade": grade_of(row.dice_after, dice, size),
                    "mean_surface_distance_grade": grade_of(row.mean_surface_distance_after_mm, distance, size),
                }
            )
            for row in self.structures
        )
        figures = graded(self.figures, tolerances, size)
        return self.model_copy(update={"tolerances": tolerances, "figures": figures, "landmarks": landmarks, "structures": structures})

    def to_json(self) -> str:
        """Write the review as JSON; the pictures of the snapshots are not in it."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> Review:
        """Read a review back; its snapshots come without pictures.

        Raises
        ------
        FileFormatError
            If it is no review.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise FileFormatError(f"This is no review that this version reads: {first_mistake(error)}. Make it again.") from error


def now() -> str:
    """Date and time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
