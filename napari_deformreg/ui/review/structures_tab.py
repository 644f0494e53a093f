"""The Structures tab: overlap, distances, volumes and volume change of each structure; contours on the images."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from ...qa import METRICS, Grade, StructureRow, number_text
from .. import result_layers as parts
from ..buttons import button, switch
from .contours import COLORS, Contours
from .desk import Desk
from .side_switch import SideSwitch
from .tab import ReviewTab, in_a_row, note, walk_buttons
from .tables import Column, Row, RowsModel, RowTable, digits

_DICE = METRICS["dice"].definition
_MDA = f"Mean distance to agreement in mm. {METRICS['mean_surface_distance_mm'].definition}"
_HD95 = f"In mm. {METRICS['hd95_mm'].definition}"
_CHANGE = METRICS["structure_volume_change"].definition

COLUMNS = (
    Column("name", "structure", "Name, or number where the labels have none."),
    Column("dice_after", "Dice", _DICE, digits(3)),
    Column("mean_surface_distance_after_mm", "MDA mm", _MDA, digits(2)),
    Column("hd95_after_mm", "HD95 mm", _HD95, digits(2)),
    Column("p1", "factor 1 %", _CHANGE, digits(2)),
    Column("p50", "50 %", _CHANGE, digits(2)),
    Column("p99", "99 %", _CHANGE, digits(2)),
    Column("folded_voxels", "folded", "Voxels of the structure that fold by the stricter test."),
    Column("fixed_ml", "fixed ml", "Volume in the fixed image.", number_text),
    Column("moving_ml", "moving ml", "Volume before: in the moving image.", number_text),
    Column("moved_ml", "moved ml", "Volume after: moved onto the fixed grid.", number_text),
    Column("dice_before", "Dice before", _DICE, digits(3)),
    Column("mean_surface_distance_before_mm", "MDA before mm", _MDA, digits(2)),
    Column("hd95_before_mm", "HD95 before mm", _HD95, digits(2)),
)

SIDES_SEEN = 3.0
"""Width of what is seen around a large structure, in sides of a cube of its volume."""

SIDE_TITLES = {parts.FIXED_LABELS: "fixed", parts.MOVED_LABELS: "moved"}

NAMES_FILTER = "Tables of names (*.txt *.ctbl *.lut *.label *.csv *.tsv *.nrrd)"


class StructuresTab(ReviewTab):
    """Structures in a table; choosing one goes there."""

    title = "Structures"
    names_given = Signal(object)
    """A file with the names of the structures."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._outlines = Contours(desk, self)
        self.table = RowTable(RowsModel(COLUMNS, _grade))
        self.table.chosen.connect(self._go_to)
        self.contours = switch(
            "Contours",
            "Outline the structures on the slice, fixed and moved in the colors beside. Where the lines part, so do the organs.",
            self._outline,
        )
        self.only = switch("Chosen only", "Outline the chosen structure alone.", self._outline)
        self.only.setChecked(True)
        self.sides = {part: SideSwitch(title, COLORS[part]) for part, title in SIDE_TITLES.items()}
        for part, side in self.sides.items():
            side.toggled.connect(lambda shown, part=part: self._outlines.show_side(part, shown))
            side.colored.connect(lambda color, part=part: self._outlines.color_side(part, color))
        self.message = note()
        self.walk_buttons = walk_buttons(self, "structure")
        self.names_button = button(
            "Names…", "Name the structures by a color table of FreeSurfer, 3D Slicer or ITK-SNAP, a CSV or TSV; or drop it on the dock.",
            self._ask_names,
        )  # fmt: skip
        column = QVBoxLayout(self)
        column.addLayout(in_a_row(*self.walk_buttons, self.names_button))
        column.addLayout(in_a_row(self.contours, *self.sides.values(), self.only))
        column.addWidget(self.table, 1)
        column.addWidget(self.message)

    def refresh(self) -> None:
        """Show the structures of the case."""
        self.regrade()
        if self.contours.isChecked():
            self._outline()  # After a repair.
        rows = self.table.rows_model.rows
        for widget in (*self.walk_buttons, self.contours, *self.sides.values(), self.only, self.names_button):
            widget.setEnabled(bool(rows))
        both = sum(bool(row["in_both"]) for row in rows)
        self.message.setText(f"{both} of {len(rows)} structures occur in both images." if rows else "No labels were given.")

    def regrade(self) -> None:
        """Show the same structures by other tolerances, the worst first."""
        review = self.desk.review
        structures = () if review is None else sorted(review.structures, key=lambda row: -(row.mean_surface_distance_after_mm or 0.0))
        self.table.set_rows([structure_row(row) for row in structures])

    @property
    def busy(self) -> bool:
        """Whether contours are still to come."""
        return self._outlines.busy

    def step(self, direction: int) -> None:
        """Go to the next or previous structure."""
        self.table.step(direction)

    def go_to_worst(self) -> None:
        """Go to the worst structure."""
        self.table.choose_worst()

    def release(self) -> None:
        """Stop drawing."""
        self._outlines.stop()

    def forget(self) -> None:
        """Take the contours of the case before away."""
        self.contours.setChecked(False)

    def _go_to(self, row: Row) -> None:
        if row["center_mm"] is not None:
            self.desk.go_to(row["center_mm"], max(self.desk.seen_mm, SIDES_SEEN * float(row["fixed_volume_mm3"]) ** (1 / 3)))
        if self.contours.isChecked():
            self._outline()
        else:
            self.contours.setChecked(True)

    def _ask_names(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Names of the structures", "", f"{NAMES_FILTER};;All files (*)")
        if name:
            self.names_given.emit(Path(name))

    def _outline(self, toggled: bool = True) -> None:
        if not self.contours.isChecked() or self.desk.review is None:
            self._outlines.hide()
            return
        row = self.table.current()
        self._outlines.show(int(row["label"]) if row is not None and self.only.isChecked() else None)


def structure_row(row: StructureRow) -> Row:
    """Write one structure as a row, with its volumes in milliliters and the percentiles of its volume change."""
    volumes = {f"{side}_ml": _milliliters(getattr(row, f"{side}_volume_mm3")) for side in ("fixed", "moving", "moved")}
    before = {
        f"{name}_after{unit}_tip": f"before: {write(getattr(row, f'{name}_before{unit}'))}"
        for name, unit, write in (("dice", "", digits(3)), ("mean_surface_distance", "_mm", digits(2)), ("hd95", "_mm", digits(2)))
    }
    return {**dict(row), **{name: row.volume_change.get(name) for name in ("p1", "p50", "p99")}, **volumes, **before}


def _milliliters(mm3: float | None) -> float | None:
    return None if mm3 is None else mm3 / 1000


def _grade(row: Row, key: str) -> Grade | None:
    graded = {"dice_after": "dice_grade", "mean_surface_distance_after_mm": "mean_surface_distance_grade"}
    return row[graded[key]] if key in graded else None
