"""The Structures tab: overlap, distances, volumes and volume change of each structure; contours on the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from ...qa import METRICS
from .. import result_layers as parts
from ..turns import Turns
from .case import ReviewTab, button, buttons, note
from .places import Places
from .tables import Column, Row, RowsModel, RowTable, digits

_SURFACE = METRICS["mean_surface_distance_mm"].definition
_HD95 = METRICS["hd95_mm"].definition

COLUMNS = (
    Column("name", "structure", "Name, or number where the labels have none."),
    Column("dice_before", "Dice before", METRICS["dice"].definition, digits(3)),
    Column("dice_after", "Dice", METRICS["dice"].definition, digits(3)),
    Column("mean_surface_distance_before_mm", "MDA before", f"Mean distance to agreement in mm. {_SURFACE}", digits(2)),
    Column("mean_surface_distance_after_mm", "MDA", f"Mean distance to agreement in mm. {_SURFACE}", digits(2)),
    Column("hd95_before_mm", "HD95 before", f"In mm. {_HD95}", digits(2)),
    Column("hd95_after_mm", "HD95", f"In mm. {_HD95}", digits(2)),
    Column("fixed_ml", "fixed ml", "Volume in the fixed image.", digits(2)),
    Column("moving_ml", "moving ml", "Volume in the moving image, before.", digits(2)),
    Column("moved_ml", "moved ml", "Volume after: moved onto the fixed grid.", digits(2)),
)


class StructuresTab(ReviewTab):
    """Structures in a table; choosing one goes there."""

    title = "Structures"

    def __init__(self, viewer: Any, places: Places, parent: QWidget | None = None) -> None:
        super().__init__(viewer, places, parent)
        self._turns = Turns(self)
        self.table = RowTable(RowsModel(COLUMNS))
        self.table.chosen.connect(self._go_to)
        self.contours = QPushButton("Contours")
        self.contours.setCheckable(True)
        self.contours.setToolTip(
            "<p>Outline the structures over the images: fixed thick, moved thin. Where they part, so do the organs.</p>"
        )
        self.contours.toggled.connect(self._outline)
        self.only = QPushButton("Only this one")
        self.only.setCheckable(True)
        self.only.setToolTip("<p>Draw the chosen structure alone.</p>")
        self.only.toggled.connect(lambda only: self._single_out(self.table.current()))
        self.message = note()
        self.previous_button = button("◂ Previous", "Go to the structure above (Page Up).", lambda: self.step(-1))
        self.next_button = button("Next ▸", "Go to the structure below (Page Down).", lambda: self.step(1))
        column = QVBoxLayout(self)
        column.addLayout(buttons(self.previous_button, self.next_button, self.contours, self.only))
        column.addWidget(self.table, 1)
        column.addWidget(self.message)

    def refresh(self) -> None:
        """Show the structures of the case."""
        rows = [] if self.case is None else [structure_row(row) for row in self.case.picture.report.get("structures") or ()]
        self.table.set_rows(rows)
        for widget in (self.previous_button, self.next_button, self.contours, self.only):
            widget.setEnabled(bool(rows))
        none = "No structures: register with labels of both images, or they were not found again."
        count = sum(bool(row.get("in_both_images", True)) for row in rows)
        self.message.setText(f"{count} of {len(rows)} structures occur in both images." if rows else none)

    def step(self, direction: int) -> None:
        """Go to the next or previous structure."""
        self.table.step(direction)

    def release(self) -> None:
        """Stop drawing."""
        self._turns.stop()
        super().release()

    def _go_to(self, row: Row) -> None:
        if self.case is None:
            return
        if not self.contours.isChecked():
            self.contours.setChecked(True)
        self._single_out(row)
        if row.get("center_mm") is not None:
            self.places.go_to(tuple(row["center_mm"]), self.case.placement, 2.5 * max(float(row.get("extent_mm") or 40.0), 20.0))

    def _outline(self, outlined: bool) -> None:
        self._turns.run(self._draw(outlined))

    def _draw(self, outlined: bool) -> Iterator[None]:
        """Change one property a turn: each makes napari draw the slice anew."""
        for part, width in ((parts.FIXED_LABELS, 2), (parts.MOVED_LABELS, 1)):
            layer = self.layer(part)
            if layer is None:
                continue
            layer.contour = width if outlined or part == parts.MOVED_LABELS else 0
            yield
            layer.opacity = 1.0 if outlined or part == parts.MOVED_LABELS else 0.35
            yield
            layer.visible = outlined
            yield

    def _single_out(self, row: Row | None) -> None:
        for part in (parts.FIXED_LABELS, parts.MOVED_LABELS):
            layer = self.layer(part)
            if layer is not None:
                if row is not None:
                    layer.selected_label = int(row["label"])
                layer.show_selected_label = self.only.isChecked() and row is not None


def structure_row(row: Mapping[str, Any]) -> Row:
    """Write one structure of report.json as a row, with its volumes in milliliters."""
    volumes = {
        f"{side}_ml": None if row.get(f"{side}_volume_mm3") is None else row[f"{side}_volume_mm3"] / 1000
        for side in ("fixed", "moving", "moved")
    }
    return {**row, **volumes}
