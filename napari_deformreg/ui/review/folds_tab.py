"""The Folds tab: how much folds by both tests, and where, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QVBoxLayout, QWidget

from ...qa import METRICS, FoldRow, Review, number_text
from .. import result_layers as parts
from .desk import Desk
from .repair_bar import RepairBar
from .tab import ReviewTab, in_a_row, note, walk_buttons
from .tables import Column, Row, RowsModel, RowTable, digits

COLUMNS = (
    Column("label", "#", "Number of the region in the layer of folds; those in the foreground come first, the worst first."),
    Column("volume_mm3", "mm³", "Volume of the region in the fixed image.", number_text),
    Column("voxels", "voxels", "Size in voxels of the fixed grid; voxels that touch by face, edge or corner belong together."),
    Column("smallest_determinant", "smallest det", METRICS["digital_minimum"].definition, digits(3)),
    Column("where", "lies", "Whether it lies in the fixed foreground, where it matters most."),
    Column("structure", "structure", "Structure of the fixed labels in which most of it lies."),
    Column("center", "center R, A, S (mm)", "World point (RAS+ mm) of the voxel with the smallest determinant."),
)

COUNT_COLUMNS = (
    Column("test", "voxels that fold by", "Each test inside the mask (the fixed foreground) and over the whole grid."),
    Column("inside", "inside mask"),
    Column("everywhere", "whole grid"),
)

class FoldsTab(ReviewTab):
    """Fold regions in a table; choosing one goes there."""

    title = "Folds"

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self.counts = RowTable(RowsModel(COUNT_COLUMNS))
        self.counts.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.counts.setSortingEnabled(False)
        self.counts.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.counts.setFixedHeight(26 + 22 * 2 + 6)
        self.table = RowTable(RowsModel(COLUMNS))
        self.table.chosen.connect(self._go_to)
        self.repair = RepairBar(desk)
        self.message = note()
        self.walk_buttons = walk_buttons(self, "fold")
        column = QVBoxLayout(self)
        column.addWidget(self.counts)
        column.addLayout(in_a_row(*self.walk_buttons))
        column.addWidget(self.table, 1)
        column.addWidget(self.message)
        column.addWidget(self.repair)

    def refresh(self) -> None:
        """Show the folds of the case."""
        review = self.desk.review
        self.counts.set_rows([] if review is None else list(count_rows(review)))
        folds = () if review is None else review.folds
        self.table.set_rows([fold_row(fold) for fold in folds])
        for widget in self.walk_buttons:
            widget.setEnabled(bool(folds))
        self.message.setText("" if review is None else _sentence(review))
        self.repair.choose(None)

    def forget(self) -> None:
        """Take back no repair of the case before."""
        self.repair.forget()

    def release(self) -> None:
        """Stop a repair."""
        self.repair.release()

    def step(self, direction: int) -> None:
        """Go to the next or previous fold."""
        self.table.step(direction)

    def go_to_worst(self) -> None:
        """Go to the worst fold."""
        self.table.choose_worst()

    def _go_to(self, row: Row) -> None:
        self.repair.choose(int(row["label"]))
        self.desk.show(parts.FOLDS)
        self.desk.go_to_fold(row["center_mm"], float(row["volume_mm3"]))


def fold_row(fold: FoldRow) -> Row:
    """Write one fold region as a row."""
    inside = fold.foreground_voxels
    where = "foreground" if inside == fold.voxels else "outside" if inside == 0 else f"{inside} in foreground"
    return {**dict(fold), "center": ", ".join(f"{n:.1f}" for n in fold.center_mm), "where": where}


def count_rows(review: Review) -> Iterator[Row]:
    """Write the counts as rows: a test each, inside the mask and over the whole grid."""
    rows: dict[str, dict[str, str]] = {}
    for count in review.fold_counts:
        row = rows.setdefault(count.test, {"test": count.test, "test_tip": f"<p>{count.definition}</p>"})
        place = "everywhere" if "inside" in row else "inside"
        row[place] = f"{count.folded}  ({'0' if count.folded == 0 else f'{count.percent:.2g}'} %)"
        row[f"{place}_tip"] = f"<p>{count.definition}</p><p>Domain: {count.domain}, {count.voxels} voxels.</p>"
    yield from rows.values()


def _sentence(review: Review) -> str:
    if not review.fold_regions:
        return "Nothing folds, by the stricter of the two tests and over the whole grid."
    listed = len(review.folds)
    count = "1 fold region" if review.fold_regions == 1 else f"{review.fold_regions} fold regions"
    return count + (f"; the worst {listed} are listed." if listed < review.fold_regions else ".")
