"""The Folds tab: how much folds by both tests, and where, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QVBoxLayout, QWidget

from ...qa import METRICS
from .. import result_layers as parts
from .case import ReviewTab, button, buttons, note
from .places import Places
from .tables import Column, Row, RowsModel, RowTable, digits

COLUMNS = (
    Column("label", "#", "Number of the region in the layer of folds; those in the foreground come first, the worst first."),
    Column("volume_mm3", "mm³", "Volume of the region in the fixed image.", digits(1)),
    Column("voxels", "voxels", "Size in voxels of the fixed grid; voxels that touch by face, edge or corner belong together."),
    Column("smallest_determinant", "smallest det", METRICS["digital_minimum"].definition, digits(2)),
    Column("center", "center R A S (mm)", "World point (RAS+ mm) of the voxel with the smallest determinant."),
    Column("structure", "structure", "Structure of the fixed labels in which most of it lies."),
    Column("where", "lies", "Whether it lies in the fixed foreground, where it matters most."),
)

COUNT_COLUMNS = (
    Column("what", "folded", ""),
    Column("foreground", "inside mask", ""),
    Column("whole_grid", "whole grid", ""),
)

COUNTS = {
    "fold_digital_fraction": ("voxels, ten determinants", "digital_percent"),
    "fold_central_fraction": ("voxels, central differences", "central_percent"),
    "ndv": ("volume (NDV)", "ndv_percent"),
}

SEEN_MM = 45.0
"""Width of what is seen around a small fold; larger ones are seen at eight times their size."""


class FoldsTab(ReviewTab):
    """Fold regions in a table; choosing one goes there."""

    title = "Folds"

    def __init__(self, viewer: Any, places: Places, parent: QWidget | None = None) -> None:
        super().__init__(viewer, places, parent)
        self.counts = RowTable(RowsModel(COUNT_COLUMNS))
        self.counts.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.counts.setSortingEnabled(False)
        self.counts.setMaximumHeight(26 + 22 * (len(COUNTS) + 1))
        self.table = RowTable(RowsModel(COLUMNS))
        self.table.chosen.connect(self._go_to)
        self.message = note()
        self.previous_button = button("◂ Previous", "Go to the fold above (Page Up).", lambda: self.step(-1))
        self.next_button = button("Next ▸", "Go to the fold below (Page Down).", lambda: self.step(1))
        column = QVBoxLayout(self)
        column.addWidget(self.counts)
        column.addLayout(buttons(self.previous_button, self.next_button))
        column.addWidget(self.table, 1)
        column.addWidget(self.message)

    def refresh(self) -> None:
        """Show the folds of the case."""
        folds = {} if self.case is None else self.case.picture.report.get("folds", {})
        self.counts.set_rows(list(count_rows(folds)))
        self.counts.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        regions = folds.get("regions", ())
        self.table.set_rows([region_row(region) for region in regions])
        for widget in (self.previous_button, self.next_button):
            widget.setEnabled(bool(regions))
        self.message.setText(_sentence(folds))

    def step(self, direction: int) -> None:
        """Go to the next or previous fold."""
        self.table.step(direction)

    def _go_to(self, row: Row) -> None:
        if self.case is None:
            return
        layer = self.layer(parts.FOLDS)
        if layer is not None:
            layer.visible = True
        size_mm = float(row["volume_mm3"]) ** (1 / 3)
        self.places.go_to(row["center_mm"], self.case.placement, max(SEEN_MM, 8 * size_mm), max(6.0, 2.5 * size_mm))


def region_row(region: Mapping[str, Any]) -> Row:
    """Write one region of report.json as a row."""
    center = tuple(float(n) for n in region["center_mm"])
    inside, voxels = int(region["foreground_voxels"]), int(region["voxels"])
    where = "foreground" if inside == voxels else "outside" if inside == 0 else f"{inside} in foreground"
    return {**region, "center_mm": center, "center": "  ".join(f"{n:.1f}" for n in center), "where": where}


def count_rows(folds: Mapping[str, Any]) -> Iterator[Row]:
    """Write the counts of report.json as rows: a test each, inside the mask and over the whole grid."""
    for metric, (title, key) in COUNTS.items() if folds else ():
        row: dict[str, Any] = {"what": title, "what_tip": f"<p>{METRICS[metric].definition}</p>"}
        for domain in ("foreground", "whole_grid"):
            summary = folds[domain]
            row[domain] = _share(summary, key)
            row[f"{domain}_tip"] = f"<p>{METRICS[metric].definition}</p><p>Domain: {summary['domain']}, {summary['voxels']} voxels.</p>"
        yield row


def _share(summary: Mapping[str, Any], key: str) -> str:
    percent = summary[key]
    text = "0 %" if percent == 0 else f"{percent:.3g} %"
    count = summary.get(key.replace("percent", "count"))
    return text if count is None else f"{count}  ({text})"


def _sentence(folds: Mapping[str, Any]) -> str:
    if not folds:
        return "No result yet."
    count, listed = int(folds["region_count"]), len(folds["regions"])
    if not count:
        return "Nothing folds, by either test's finer one (ten determinants a voxel), on the whole grid."
    return f"{count} fold regions" + (f"; the worst {listed} are listed." if listed < count else ".")
