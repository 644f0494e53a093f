"""Labels drawn on one image as they lie on the other, kept up to date in boxes. Lives in the other process; imports no Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32, Integer

from ...space import Box, DisplacementField, Grid, TransformChain
from .directions import Side

if TYPE_CHECKING:
    from ...engine.correction import CorrectionSession


@dataclass(frozen=True, eq=False)
class DrawnLabels:
    """Labels as they were drawn.

    Attributes
    ----------
    data : (i, j, k) integer array
        On `grid`.
    side : Side
        Which image they were drawn on.
    """

    data: Integer[np.ndarray, "i j k"]
    grid: Grid
    side: Side


@dataclass(frozen=True, eq=False)
class LabelsUpdate:
    """What a box of the other image's grid shows now; nothing changed outside of it.

    Attributes
    ----------
    any_left : bool
        Whether any label lies on that image at all.
    """

    box: Box
    data: Integer[np.ndarray, "i j k"]
    any_left: bool


@dataclass(eq=False)
class CarriedLabels:
    """One label map and its partner on the other grid.

    The number of the voxel that each voxel of the partner shows is kept: what is painted is read through it, and a correction changes it
    in a box.
    """

    drawn: DrawnLabels
    grid: Grid
    numbers: Int32[np.ndarray, "i j k"]
    shown: Integer[np.ndarray, "i j k"]
    stale: list[Box] = field(default_factory=list)
    """Boxes of the fixed grid in which the transform changed that carries these labels."""

    @classmethod
    def of(cls, drawn: DrawnLabels, session: CorrectionSession, moving_grid: Grid) -> CarriedLabels:
        """Carry all of them."""
        from ...engine import labels_at

        grid = session.fixed_grid if drawn.side is Side.MOVING else moving_grid
        numbers = _numbers(drawn, session, grid, Box.whole(grid.shape))
        own = DrawnLabels(np.ascontiguousarray(drawn.data), drawn.grid, drawn.side)
        return cls(own, grid, numbers, labels_at(own.data, numbers))

    def whole(self) -> LabelsUpdate:
        """Return everything."""
        return LabelsUpdate(Box.whole(self.grid.shape), self.shown, bool(self.shown.any()))

    def note(self, forward: Box, backward: Box) -> None:
        """Take notice that the displacement and its inverse changed in these boxes of the fixed grid."""
        self.stale.append(forward if self.drawn.side is Side.MOVING else backward)

    def painted(self, box: Box, values: Integer[np.ndarray, "i j k"]) -> LabelsUpdate | None:
        """Take over what was painted into a box of the drawn labels; None if the partner shows nothing of it."""
        from ...engine import labels_at

        self.drawn.data[box.slices] = values
        return self._shown(Box.whole(self.grid.shape), labels_at(self.drawn.data, self.numbers))

    def follow(self, session: CorrectionSession) -> LabelsUpdate | None:
        """Carry them anew where the transform changed; None if nothing is shown otherwise."""
        from ...engine import labels_at

        stale, self.stale = self.stale, []
        boxes = [found for one in stale if (found := self._target_box(one, session)) is not None]
        if not boxes:
            return None
        box = boxes[0]
        for one in boxes[1:]:
            box = box.joined(one)
        self.numbers[box.slices] = _numbers(self.drawn, session, self.grid, box)
        return self._shown(box, labels_at(self.drawn.data, self.numbers[box.slices]))

    def _target_box(self, box: Box, session: CorrectionSession) -> Box | None:
        """Return the partner's voxels that look at a box of the fixed grid."""
        if self.drawn.side is Side.MOVING:
            return box
        # Moving voxels go through the affine's inverse first, which carries a box to a parallelepiped: its corners say how far it reaches.
        corners = box.widened(1, session.fixed_grid.shape).grid(session.fixed_grid).corners()
        landed = self.grid.world_to_voxel(session.automatic.affine.map(corners))
        return Box.around(landed, np.full(3, 1.0), self.grid.shape)

    def _shown(self, box: Box, now: Integer[np.ndarray, "i j k"]) -> LabelsUpdate | None:
        """Note what a box shows, and return as much of it as is new."""
        changed = np.argwhere(now != self.shown[box.slices])
        if not len(changed):
            return None
        low, high = changed.min(axis=0), changed.max(axis=0) + 1
        part = now[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].copy()
        start, stop = low + box.start, high + box.start
        new = Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))
        self.shown[new.slices] = part
        return LabelsUpdate(new, part, bool(self.shown.any()))


def _numbers(drawn: DrawnLabels, session: CorrectionSession, grid: Grid, box: Box) -> Int32[np.ndarray, "i j k"]:
    """Return which drawn voxel each voxel of a box shows: labels are pulled, those on moving by fixed_to_moving, those on fixed back."""
    from ...engine import nearest_voxels

    affine, fixed = session.automatic.affine, session.fixed_grid
    if drawn.side is Side.MOVING:
        part = DisplacementField(box.grid(fixed), session.fields.displacement_mm[box.slices])
        chain = TransformChain((part, affine))
    else:
        chain = TransformChain((affine.inverse(), DisplacementField(fixed, session.fields.inverse_mm)))
    return nearest_voxels(drawn.grid, box.grid(grid), chain)
