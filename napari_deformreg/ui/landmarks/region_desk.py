"""A region of the fixed image that is solved again: which one, how, and whether what came of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DeformregError, InputError
from ...settings import CorrectionSettings
from ...space import Box, LabelMap, Region, Volume
from .. import overlays
from ..layers import LayerTuple, Placement, image_layer, labels_layer
from .corrections import RegionOrder, Update
from .history import Change
from .one_layer import OneLayer
from .pair_desk import PairDesk
from .pair_list import Point, as_point
from .pair_mouse import Place
from .region_choice import RegionShape, region_around, region_of_label, region_of_shape

if TYPE_CHECKING:
    from ...engine.correction.regions import RegionKind

REGION, CHANGE = "region", "change by the region (mm)"

SIZE_MM = 30.0

SMALLEST_SHOWN_MM = 0.05
"""A change shorter than this is left out of the picture of it."""


class RegionDesk(QObject):
    """Holds the chosen region of one viewer, and what solving it again has changed.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the case is shown.
    desk : PairDesk
        Whose case and history these are.
    """

    changed = Signal()

    def __init__(self, viewer: Any, desk: PairDesk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._desk = viewer, desk
        self.shape, self.size_mm, self.margin_mm = RegionShape.BALL, SIZE_MM, CorrectionSettings().margin_mm
        self.layer: Any | None = None
        """Where a label or a drawn shape is read from."""
        self.center_mm: Point | None = None
        self.said = ""
        self.solved: Update | None = None
        """What the last region changed, until that is kept or undone."""
        self._change: Change | None = None
        self._outline, self._difference = OneLayer(viewer, parent), OneLayer(viewer, parent)
        desk.corrector.updated.connect(self._on_updated)
        desk.case.replaced.connect(lambda panel, shown: self.forget())

    @property
    def busy(self) -> bool:
        """Whether something is still to be drawn."""
        return self._outline.busy or self._difference.busy

    @property
    def picking(self) -> bool:
        """Whether the next click on the canvas is the region's center."""
        return self._desk.taking is not None

    def pick(self, on: bool) -> None:
        """Take the next click on the canvas as the center."""
        self._desk.taking = self._on_place if on else None
        self.changed.emit()

    def choose(self, shape: RegionShape, size_mm: float, margin_mm: float, layer: Any | None) -> None:
        """Take another region, and show it."""
        self.shape, self.size_mm, self.margin_mm, self.layer = shape, size_mm, margin_mm, layer
        self.outline()

    def region(self) -> Region:
        """Return the region as it is chosen now.

        Raises
        ------
        InputError
            If nothing is chosen yet, or it lies outside the fixed image.
        """
        placement = self._placement()
        if self.shape.needs_layer and self.layer is None:
            raise InputError(f"There is no layer to read a {self.shape} from; expected a {self.shape.layer_kind.capitalize()} layer.")
        if self.shape is RegionShape.LABEL:
            return region_of_label(self.layer, placement)
        if self.shape is RegionShape.DRAWN:
            return region_of_shape(self.layer, placement, self.size_mm, float(self._viewer.dims.point[-3]))
        return region_around(self.shape, self._center(placement), self.size_mm, placement)

    def outline(self) -> None:
        """Show where the region is."""
        if self._desk.case.now is None:
            return
        try:
            region = self.region()
        except DeformregError as error:
            self.said = str(error)
            self._outline.show(None)
        else:
            milliliters = np.count_nonzero(region.mask) * abs(np.linalg.det(self._placement().grid.affine[:3, :3])) / 1000
            self.said = f"{np.count_nonzero(region.mask)} voxels, {milliliters:.3g} ml."
            self._outline.show(_outline(region, self._placement()))
        self.changed.emit()

    def hide(self) -> None:
        """Show no region."""
        self.pick(False)
        self._outline.show(None)

    def solve(self, kind: RegionKind) -> None:
        """Solve the region again: harder, softer or rigid."""
        desk = self._desk
        if not desk.corrector.ready:
            return
        self.keep()
        try:
            region = self.region()
        except DeformregError as error:
            self.said = str(error)
            self.changed.emit()
            return
        pairs = desk.pairs
        order = RegionOrder(region, kind, self.margin_mm, desk.points_weight, pairs.landmark_pairs(), pairs.weights())
        self._change = desk.step(f"{kind} {self.shape}", lambda change: desk.corrector.resolve(change, order))

    def show_before(self, on: bool) -> None:
        """Show the moved image as it was before the region was solved again."""
        solved = self.solved
        if solved is None or solved.moved_before is None:
            return
        if on:
            self._desk.case.preview(Update(solved.box, solved.displacement_mm, solved.moved_before))
        else:
            self._desk.case.end_preview()

    def show_difference(self, on: bool) -> None:
        """Show by how many millimeters each place is carried elsewhere than before."""
        solved = self.solved
        if solved is None or solved.change_mm is None or not on:
            self._difference.show(None)
        else:
            self._difference.show(_difference(solved.box, solved.change_mm, self._placement()))

    def keep(self) -> None:
        """Leave the change as it is; it can still be undone as any other step."""
        if self.solved is not None:
            self._desk.case.end_preview()
        self._difference.show(None)
        self.solved = self._change = None
        self.changed.emit()

    def undo(self) -> None:
        """Take the change back, and what was done since."""
        change = self._change
        self.keep()
        if change is not None:
            self._desk.undo_until(change)

    def forget(self) -> None:
        """Let go of what belongs to another version of the case."""
        self.keep()
        self._outline.show(None)

    def stop(self) -> None:
        """Follow nothing more, and take the layers away."""
        self._desk.taking = None
        self._outline.stop()
        self._difference.stop()

    # --- what follows -----------------------------------------------------------------------------------------------

    def _placement(self) -> Placement:
        now = self._desk.case.now
        if now is None:
            raise InputError("Register two images or open a result first; then choose a region of the fixed image.")
        return now.placement

    def _center(self, placement: Placement) -> Point:
        """Return the center: what was picked, else the place that is displayed."""
        if self.center_mm is not None:
            return self.center_mm
        return as_point(placement.to_world(np.array([self._viewer.dims.point[-3:]]))[0])

    def _on_place(self, place: Place) -> None:
        self.center_mm = as_point(self._placement().to_world(np.array([place]))[0])
        self.pick(False)
        self.outline()

    def _on_updated(self, update: Update) -> None:
        if update.change_mm is not None and self._change is not None and self._change.corrected:
            self.solved = update
        elif self.solved is not None:
            self.keep()  # Something else was changed since, or this was taken back.
        self.changed.emit()


def _outline(region: Region, placement: Placement) -> LayerTuple:
    labels = LabelMap(region.mask.astype(np.int32), region.box.grid(placement.grid), REGION)
    data, arguments, kind = labels_layer(labels, name=REGION, opacity=0.9, contour=1)
    return np.ascontiguousarray(data), arguments, kind


def _difference(box: Box, change_mm: np.ndarray, placement: Placement) -> LayerTuple:
    longest = max(float(change_mm.max()), 2 * SMALLEST_SHOWN_MM)
    colors = {"colors": overlays.magnitude_colors(), "name": "change (mm)", "low_color": (0.0, 0.0, 0.0, 0.0)}
    return image_layer(
        Volume(change_mm.astype(np.float32), box.grid(placement.grid)), name=CHANGE, contrast_limits=(SMALLEST_SHOWN_MM, longest),
        colormap=colors, opacity=0.6, blending="translucent_no_depth",
    )  # fmt: skip
