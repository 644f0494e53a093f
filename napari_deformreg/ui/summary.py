"""The summary of a result: what changed, what needs attention, and where it came from; made from the report's plain mapping."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

ROWS = {
    "ncc": "Similarity (NCC)",
    "nmi": "Similarity (NMI)",
    "tre_mm_mean": "TRE mean",
    "tre_mm_median": "TRE median",
    "tre_mm_max": "TRE largest",
    "dice_mean": "Dice mean",
    "hd95_mm_mean": "HD95 mean",
}
"""Values with a before and an after."""

FACTS = {
    "displacement_mm_max": "Largest displacement",
    "inverse_consistency_mm_p95": "Inverse consistency (95 %)",
    "fold_digital_fraction": "Folded, foreground",
}
"""Values of the result alone."""


class SummaryView(QWidget):
    """Shows a report's main numbers and its fold regions."""

    place_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLabel("No result yet.")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        self.folds = QListWidget()
        self.folds.setMaximumHeight(90)
        self.folds.setToolTip("Fold regions, the worst first: choose one to go there.")
        self.folds.currentItemChanged.connect(self._on_fold)
        self.folds.hide()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.text)
        outer.addWidget(self.folds)

    def show_report(self, report: Mapping[str, Any], notices: Sequence[str] = ()) -> None:
        """Show the content of a report.json."""
        self.text.setText(summary_html(report, notices))
        self.folds.clear()
        regions = report.get("folds", {}).get("regions", [])
        for region in regions:
            where = region["structure"] or "no structure"
            inside = f"{region['foreground_voxels']} in the foreground"
            item = QListWidgetItem(
                f"{region['label']}: {region['voxels']} voxels ({inside}), smallest {region['smallest_determinant']:.2f}, {where}"
            )
            item.setData(Qt.ItemDataRole.UserRole, tuple(region["center_mm"]))
            self.folds.addItem(item)
        self.folds.setVisible(bool(regions))

    def _on_fold(self, item: QListWidgetItem | None, before: QListWidgetItem | None) -> None:
        if item is not None:
            self.place_chosen.emit(item.data(Qt.ItemDataRole.UserRole))


def summary_html(report: Mapping[str, Any], notices: Sequence[str] = ()) -> str:
    """Write the summary as rich text."""
    lines = [
        "<table width='100%' cellspacing='0' cellpadding='2'>",
        "<tr><td></td><td align='right'>before</td><td align='right'><b>after</b></td></tr>",
    ]
    lines += [_row(title, *numbers) for title, *numbers in _rows(report)]
    lines.append("</table>")
    attention = [str(sentence) for sentence in report.get("attention", ())]
    lines += [f"<p style='margin:4px 0'><b>Look at this:</b> {html.escape(sentence)}</p>" for sentence in attention]
    status = report.get("provenance", {}).get("status", {})
    if status.get("advice") and status["advice"] not in attention:
        lines.append(f"<p style='margin:4px 0'>{html.escape(status['advice'])}</p>")
    seen = dict.fromkeys([*report.get("provenance", {}).get("notices", ()), *notices])
    lines += [f"<p style='margin:4px 0'><i>Notice:</i> {html.escape(str(notice))}</p>" for notice in seen]
    return "".join(lines)


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    values: dict[str, Mapping[str, Any]] = {}
    for value in report.get("values", ()):
        values.setdefault(value["name"], value)
    for name, title in ROWS.items():
        if name in values:
            yield title, _number(values[name]["before"], values[name]["unit"]), _number(values[name]["value"], values[name]["unit"])
    for name, title in FACTS.items():
        if name in values:
            yield title, "", _number(values[name]["value"], values[name]["unit"])
    percentiles = [values.get(f"jacobian_determinant_p{p}", {}).get("value") for p in (1, 99)]
    if None not in percentiles:
        yield "Volume change (1 to 99 %)", "", f"{percentiles[0]:.2f} to {percentiles[1]:.2f}"
    folds = report.get("folds", {})
    if folds:
        yield "Fold regions", "", f"{folds['region_count']}"
    yield from _origin(report.get("provenance", {}))


def _origin(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "seconds_total" in provenance:
        yield "Time", "", f"{provenance['seconds_total']:.1f} s"
    if provenance.get("device"):
        yield "Device", "", str(provenance["device"])


def _row(title: str, before: str, after: str) -> str:
    cells = (title, html.escape(before), f"<b>{html.escape(after)}</b>")
    return "<tr><td style='white-space:nowrap'>{}</td><td align='right'>{}</td><td align='right'>{}</td></tr>".format(*cells)


def _number(number: float | None, unit: str) -> str:
    if number is None:
        return "–"
    text = f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
    return text if unit == "1" else f"{text} {unit}"
