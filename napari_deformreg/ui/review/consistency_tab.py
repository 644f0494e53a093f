"""The Consistency tab: whether there and back leads home, as figures and as a map; similarity for information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QVBoxLayout, QWidget

from ...qa import Grade, GradedFigure, Review
from ...space import Volume
from .. import layers, result_layers
from .desk import Desk
from .tab import ReviewTab, note, switch
from .tables import Column, Row, RowsModel, RowTable

MAP = "inverse consistency (mm)"

COLUMNS = (
    Column("title", "figure"),
    Column("before_text", "before"),
    Column("value_text", "value"),
    Column("tolerance_text", "tolerance"),
    Column("n", "n", "Number of voxels behind it."),
)


class ConsistencyTab(ReviewTab):
    """Inverse consistency, graded; similarity, not graded.

    Parameters
    ----------
    desk : Desk
        What is under review.
    need_outcome : callable
        Has the folder's figures measured again where the map is not in memory; calls back when that is done.
    """

    title = "Consistency"

    def __init__(self, desk: Desk, need_outcome: Callable[[Callable[[], Any]], Any], parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._need_outcome = need_outcome
        self._map: Any | None = None
        self.figures = _small_table(_grade)
        self.map_switch = switch(
            "Show map", "At every voxel, how far from home the way there and back leads (mm); black is 0.", self._show_map
        )
        self.text = note()
        self.similarity = _small_table(None)
        column = QVBoxLayout(self)
        column.addWidget(self.figures)
        column.addWidget(self.text)
        column.addWidget(self.map_switch)
        column.addWidget(note("<b>Similarity, for information only:</b> a registration maximizes it, and a wrong one may score high."))
        column.addWidget(self.similarity)
        column.addStretch(1)

    def refresh(self) -> None:
        """Show the figures of the case; the map is of the case before."""
        self._remove_map()
        self.regrade()
        self.map_switch.setEnabled(self.desk.review is not None)

    def regrade(self) -> None:
        """Show the same figures by other tolerances."""
        review = self.desk.review
        figures = () if review is None else review.figures
        self.figures.set_rows([figure_row(f) for f in figures if f.figure.startswith("inverse_consistency_mm")])
        self.similarity.set_rows([figure_row(f) for f in figures if f.figure in ("ncc", "lncc", "nmi")])
        self.text.setText("" if review is None else _domain_text(review))

    def release(self) -> None:
        """Take the map away."""
        self._remove_map()

    def _show_map(self, shown: bool) -> None:
        if self._map is not None and self._map in self.desk.viewer.layers:
            self._map.visible = shown
        elif shown:
            self._need_outcome(self._add_map)

    def _add_map(self) -> None:
        outcome, review = self.desk.outcome, self.desk.review
        if outcome is None or review is None or not self.map_switch.isChecked():
            return
        limit = next((f.limit for f in review.figures if f.figure == "inverse_consistency_mm_p95" and f.limit is not None), 1.0)
        volume = Volume(outcome.report.consistency.map_mm, outcome.inputs.fixed.grid, MAP)
        entry = layers.image_layer(volume, name=MAP, contrast_limits=(0.0, 2 * limit), colormap="inferno", blending="additive", opacity=0.9)
        self._map = Layer.create(*result_layers.marked_as_result(entry))
        self.desk.viewer.add_layer(self._map)

    def _remove_map(self) -> None:
        found, self._map = self._map, None
        if found is not None and found in self.desk.viewer.layers:
            self.desk.viewer.layers.remove(found)
        self.map_switch.setChecked(False)


def figure_row(figure: GradedFigure) -> Row:
    """Write one figure as a row of texts."""
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    texts = {key: "–" if value is None else f"{value:.3g}{unit}" for key, value in (("value", figure.value), ("before", figure.before))}
    tip = f"<p>{figure.definition}</p><p>Domain: {figure.domain} (n = {figure.n}).</p><p>{figure.why}</p>"
    title = f"{figure.title}: {figure.structure}" if figure.structure else figure.title
    return {
        **dict(figure), "title": title, "value_text": texts["value"], "before_text": texts["before"],
        "tolerance_text": figure.tolerance_text, **{f"{key}_tip": tip for key in ("title", "value_text", "before_text", "tolerance_text")},
    }  # fmt: skip


def _domain_text(review: Review) -> str:
    found = review.consistency
    if found is None:
        return "Not measured."
    return (
        f"Domain: {found.domain}, at {found.n} voxels; {found.left_out} that leave the grid are left out. Inverse: {found.inverse}. "
        "A large error rules a registration out; a small one proves nothing."
    )


def _small_table(grade: Callable[[Row, str], Grade | None] | None) -> RowTable:
    table = RowTable(RowsModel(COLUMNS, grade))
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setSortingEnabled(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.setFixedHeight(26 + 3 * 22 + 22)
    return table


def _grade(row: Row, key: str) -> Grade | None:
    return row["grade"] if key == "value_text" else None
