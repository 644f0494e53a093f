"""The Structures tab: overlap, distances, volumes and volume change of each structure; contours on the images."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtWidgets import QVBoxLayout, QWidget

from ...qa import METRICS, Grade, StructureRow
from .. import result_layers as parts
from ..turns import Turns
from .desk import Desk
from .tab import ReviewTab, in_a_row, note, switch, walk_buttons
from .tables import Column, Row, RowsModel, RowTable, digits

_DICE = METRICS["dice"].definition
_MDA = f"Mean distance to agreement in mm. {METRICS['mean_surface_distance_mm'].definition}"
_HD95 = f"In mm. {METRICS['hd95_mm'].definition}"
_CHANGE = METRICS["structure_volume_change"].definition

COLUMNS = (
    Column("name", "structure", "Name, or number where the labels have none."),
    Column("dice_before", "Dice before", _DICE, digits(3)),
    Column("dice_after", "Dice", _DICE, digits(3)),
    Column("mean_surface_distance_before_mm", "MDA before", _MDA, digits(2)),
    Column("mean_surface_distance_after_mm", "MDA mm", _MDA, digits(2)),
    Column("hd95_before_mm", "HD95 before", _HD95, digits(2)),
    Column("hd95_after_mm", "HD95 mm", _HD95, digits(2)),
    Column("p1", "change 1 %", _CHANGE, digits(2)),
    Column("p50", "50 %", _CHANGE, digits(2)),
    Column("p99", "99 %", _CHANGE, digits(2)),
    Column("folded_voxels", "folded", "Voxels of the structure that fold by the stricter test."),
    Column("fixed_ml", "fixed ml", "Volume in the fixed image.", digits(2)),
    Column("moving_ml", "moving ml", "Volume before: in the moving image.", digits(2)),
    Column("moved_ml", "moved ml", "Volume after: moved onto the fixed grid.", digits(2)),
)

SIDES_SEEN = 3.5
"""What is seen around a structure, in sides of a cube of its volume."""


class StructuresTab(ReviewTab):
    """Structures in a table; choosing one goes there."""

    title = "Structures"

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._turns = Turns(self)
        self.table = RowTable(RowsModel(COLUMNS, _grade))
        self.table.chosen.connect(self._go_to)
        self.contours = switch("Contours", "Outline fixed (thick) and moved (thin) structures over the images.", self._outline)
        self.only = switch("Only this one", "Draw the chosen structure alone.", lambda only: self._single_out(self.table.current()))
        self.message = note()
        self.previous_button, self.next_button = walk_buttons(self, "structure")
        column = QVBoxLayout(self)
        column.addLayout(in_a_row(self.previous_button, self.next_button, self.contours, self.only))
        column.addWidget(self.table, 1)
        column.addWidget(self.message)

    def refresh(self) -> None:
        """Show the structures of the case."""
        self.regrade()
        rows = self.table.rows_model.rows
        for widget in (self.previous_button, self.next_button, self.contours, self.only):
            widget.setEnabled(bool(rows))
        both = sum(bool(row["in_both"]) for row in rows)
        self.message.setText(f"{both} of {len(rows)} structures occur in both images." if rows else "No labels were given.")

    def regrade(self) -> None:
        """Color the same rows by other tolerances."""
        review = self.desk.review
        self.table.set_rows([] if review is None else [structure_row(row) for row in review.structures])

    def step(self, direction: int) -> None:
        """Go to the next or previous structure."""
        self.table.step(direction)

    def release(self) -> None:
        """Stop drawing."""
        self._turns.stop()

    def _go_to(self, row: Row) -> None:
        self.contours.setChecked(True)
        self._single_out(row)
        if row["center_mm"] is not None:
            self.desk.go_to(row["center_mm"], SIDES_SEEN * max(float(row["fixed_volume_mm3"]) ** (1 / 3), 12.0))

    def _outline(self, outlined: bool) -> None:
        self._turns.run(self._draw(outlined))

    def _draw(self, outlined: bool) -> Iterator[None]:
        """Change one property a turn: each makes napari draw the slice anew."""
        for part, width in ((parts.FIXED_LABELS, 2), (parts.MOVED_LABELS, 1)):
            always = part == parts.MOVED_LABELS
            looks = {"contour": width if outlined or always else 0, "opacity": 1.0 if outlined or always else 0.35, "visible": outlined}
            for name, value in looks.items():
                layer = self.desk.layer(part)
                if layer is not None and getattr(layer, name) != value:
                    setattr(layer, name, value)
                    yield

    def _single_out(self, row: Row | None) -> None:
        for part in (parts.FIXED_LABELS, parts.MOVED_LABELS):
            layer = self.desk.layer(part)
            if layer is not None:
                if row is not None:
                    layer.selected_label = int(row["label"])
                layer.show_selected_label = self.only.isChecked() and row is not None


def structure_row(row: StructureRow) -> Row:
    """Write one structure as a row, with its volumes in milliliters and the percentiles of its volume change."""
    volumes = {f"{side}_ml": _milliliters(getattr(row, f"{side}_volume_mm3")) for side in ("fixed", "moving", "moved")}
    return {**dict(row), **{name: row.volume_change.get(name) for name in ("p1", "p50", "p99")}, **volumes}


def _milliliters(mm3: float | None) -> float | None:
    return None if mm3 is None else mm3 / 1000


def _grade(row: Row, key: str) -> Grade | None:
    graded = {"dice_after": "dice_grade", "mean_surface_distance_after_mm": "mean_surface_distance_grade"}
    return row[graded[key]] if key in graded else None
