"""The Consistency tab: whether there and back leads home, as figures and as a map; extremes of the field; similarity for information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari.layers import Layer
from qtpy.QtWidgets import QHeaderView, QVBoxLayout, QWidget

from ...qa import Grade, Review
from ...space import Volume
from ...workflow import consistency_map
from .. import garbage, layers, result_layers
from ..buttons import switch
from ..process import in_process
from ..scrolling import scrolled
from ..work import reading_consistency
from ..worker import Runner
from .desk import Desk
from .figures import LIMITS_COLUMN, PLACE_COLUMN, figure_row, go_to_figure
from .tab import ReviewTab, in_a_row, note, walk_buttons
from .tables import Column, Row, RowsModel, RowTable

MAP = "inverse consistency (mm)"

FIGURE, BEFORE, VALUE = Column("title", "figure"), Column("before_text", "before"), Column("value_text", "value")
COUNT = Column("n", "n", "Number of voxels behind it.")

ERROR_COLUMNS = (FIGURE, VALUE, PLACE_COLUMN, LIMITS_COLUMN, COUNT)
EXTREME_COLUMNS = (FIGURE, VALUE, PLACE_COLUMN)
SIMILARITY_COLUMNS = (FIGURE, BEFORE, VALUE, COUNT)

EXTREMES = ("displacement_mm_max", "jacobian_determinant_min", "jacobian_determinant_max")


class ConsistencyTab(ReviewTab):
    """Inverse consistency, graded; similarity, not graded.

    Parameters
    ----------
    desk : Desk
        What is under review.
    """

    title = "Consistency"

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._map: Any | None = None
        self.figures = _small_table(ERROR_COLUMNS, _grade)
        self.map_switch = switch(
            "Show map", "At every voxel, how far from home the way there and back leads (mm); black is 0, or not known.", self._show_map
        )
        self.text = note()
        self.reader = Runner(self)
        self.reader.succeeded.connect(self._add_map)
        self.reader.failed.connect(lambda error: self.text.setText(str(error)))
        self.reader.stepped.connect(lambda step: self.text.setText(f"{step.message} …"))
        self.extremes = _small_table(EXTREME_COLUMNS)
        self.similarity = _small_table(SIMILARITY_COLUMNS)
        for table in (self.figures, self.extremes):
            table.chosen.connect(lambda row: go_to_figure(desk, row))
        self.walk_buttons = walk_buttons(self, "inconsistency", "extreme")
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.figures)
        column.addWidget(self.text)
        column.addLayout(in_a_row(*self.walk_buttons, self.map_switch))
        column.addWidget(note("<b>Extremes of the field</b> inside the foreground: are they meant?"))
        column.addWidget(self.extremes)
        column.addWidget(note("<b>Similarity, for information only:</b> a registration maximizes it, and a wrong one may score high."))
        column.addWidget(self.similarity)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.addWidget(scrolled(inside))

    def refresh(self) -> None:
        """Show the figures of the case; the map is of the case before."""
        self._remove_map()
        self.regrade()
        for widget in (self.map_switch, *self.walk_buttons):
            widget.setEnabled(self.desk.review is not None)

    def regrade(self) -> None:
        """Show the same figures by other tolerances."""
        review = self.desk.review
        figures = () if review is None else review.figures
        self.figures.set_rows([figure_row(f) for f in figures if f.figure.startswith("inverse_consistency_mm")])
        inside = {figure.figure: figure for figure in reversed(figures)}  # The foreground comes before the whole grid.
        self.extremes.set_rows([figure_row(inside[name]) for name in EXTREMES if name in inside])
        self.similarity.set_rows([figure_row(f) for f in figures if f.figure in ("ncc", "lncc", "nmi")])
        self.text.setText("" if review is None else _domain_text(review))

    def step(self, direction: int) -> None:
        """Go to the next or previous place at which the field is extreme."""
        self.extremes.step(direction)

    def go_to_worst(self) -> None:
        """Go to the largest inconsistency."""
        self.figures.choose_value("figure", "inverse_consistency_mm_max")

    def release(self) -> None:
        """Take the map away."""
        self._remove_map()

    def _show_map(self, shown: bool) -> None:
        outcome, case = self.desk.outcome, self.desk.shown
        if self._map is not None and self._map in self.desk.viewer.layers:
            self._map.visible = shown
        elif not shown:
            self.reader.drop()
            self.regrade()
        elif outcome is not None:
            self._add_map(consistency_map(outcome))
        elif case is not None and case.folder is not None:
            folder, paths = case.folder, case.paths
            self.reader.start(lambda: in_process(reading_consistency, folder, paths))

    def _add_map(self, errors: Volume) -> None:
        self.regrade()
        review = self.desk.review
        if review is None or not self.map_switch.isChecked():
            return
        limit = next((f.limit for f in review.figures if f.figure == "inverse_consistency_mm_p95" and f.limit is not None), 1.0)
        entry = layers.image_layer(errors, name=MAP, contrast_limits=(0.0, 2 * limit), colormap="inferno", blending="additive", opacity=0.9)
        self._map = Layer.create(*result_layers.marked_as_result(entry))
        self.desk.viewer.add_layer(self._map)

    def _remove_map(self) -> None:
        self.reader.drop()
        found, self._map = self._map, None
        if found is not None and found in self.desk.viewer.layers:
            garbage.remove(self.desk.viewer.layers, found)
        self.map_switch.setChecked(False)


def _domain_text(review: Review) -> str:
    found = review.consistency
    if found is None:
        return "Not measured."
    return (
        f"Domain: {found.domain}, at {found.n} voxels; {found.left_out} that leave the grid are left out. Inverse: {found.inverse}. "
        "A large error rules a registration out; a small one proves nothing."
    )


def _small_table(columns: Sequence[Column], grade: Callable[[Row, str], Grade | None] | None = None) -> RowTable:
    table = RowTable(RowsModel(columns, grade))
    table.setSortingEnabled(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.setFixedHeight(26 + 3 * 22 + 22)
    return table


def _grade(row: Row, key: str) -> Grade | None:
    return row["grade"] if key == "value_text" else None
