"""How a result's field is drawn: where, how dense, how long, and what its colors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QWidget

from . import legends
from .overlays import ARROW_LIMIT
from .regions import EVERYWHERE, Region


class FieldControls(QWidget):
    """Choices for arrows, deformed grid and maps, with their legends."""

    spacing_chosen = Signal(float)
    slab_chosen = Signal(int)
    scale_chosen = Signal(float)
    region_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._regions: list[Region] = [EVERYWHERE]
        self.region = QComboBox()
        self.region.setToolTip("<p>Where arrows, grid, displacement length and volume change are shown.</p>")
        self.region.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.region.setMinimumContentsLength(12)
        self.region.currentIndexChanged.connect(self._on_region)
        self.spacing = QDoubleSpinBox()
        self.spacing.setRange(0.1, 100.0)
        self.spacing.setDecimals(1)
        self.spacing.setSuffix(" mm")
        self.spacing.setToolTip(f"<p>Distance between arrows and between grid lines; never more than {ARROW_LIMIT} are drawn.</p>")
        self.spacing.valueChanged.connect(self.spacing_chosen)
        self.slab = QSpinBox()
        self.slab.setRange(0, 999)
        self.slab.setSpecialValueText("all slices")
        self.slab.setToolTip(
            "<p>Arrows of this many slices around the displayed one are drawn, projected onto it. In 3-D the grid spans them too.</p>"
        )
        self.slab.valueChanged.connect(self._on_slab)
        self.scale = QDoubleSpinBox()
        self.scale.setRange(0.1, 50.0)
        self.scale.setDecimals(1)
        self.scale.setPrefix("× ")
        self.scale.setToolTip("<p>How many times as long as they are the arrows are drawn; their colors keep the true length.</p>")
        self.scale.valueChanged.connect(self.scale_chosen)
        self.arrow_note = QLabel("")
        self.length_legend = legends.length_legend()
        self.jacobian_legend = legends.jacobian_legend()
        self._lay_out()
        self.bind(1.0, 1.0, (EVERYWHERE,))

    def bind(self, longest_mm: float, spacing_mm: float, regions: Sequence[Region]) -> None:
        """Start over for a field; nobody is told."""
        self._regions = list(regions)
        with QSignalBlocker(self.region):
            self.region.clear()
            self.region.addItems([region.title for region in regions])
        for widget, value in ((self.spacing, spacing_mm), (self.slab, 1), (self.scale, 1.0)):
            with QSignalBlocker(widget):
                widget.setValue(value)
        self.slab.setSuffix(" slice")
        self.arrow_note.setText("")
        legends.show_longest(self.length_legend, longest_mm)

    def name_regions(self, names: Mapping[int, str]) -> None:
        """Call structures by other names; the chosen one stays chosen, and nobody is told."""
        for row, region in enumerate(self._regions):
            if region.number is not None and region.number in names:
                self._regions[row] = replace(region, title=names[region.number])
                self.region.setItemText(row, names[region.number])

    def choose_foreground(self) -> None:
        """Show the field where it counts, if that is known: around the body it only hides what matters."""
        inside = next((n for n, region in enumerate(self._regions) if region.foreground), 0)
        self.region.setCurrentIndex(inside)

    def state(self) -> dict[str, Any]:
        """Tell the choices, in plain values."""
        region = self._regions[max(self.region.currentIndex(), 0)].title
        return {"region": region, "spacing_mm": self.spacing.value(), "slab": self.slab.value(), "scale": self.scale.value()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Choose as it was chosen; a region that is no longer there is left out."""
        self.region.setCurrentIndex(max(self.region.findText(str(state["region"])), 0))
        self.spacing.setValue(float(state["spacing_mm"]))
        self.slab.setValue(int(state["slab"]))
        self.scale.setValue(float(state["scale"]))

    def note_arrows(self, count: int, spacing_mm: float) -> None:
        """Tell how many arrows are drawn, and how far apart where that is not what was asked for."""
        thinned = f", every {spacing_mm:.1f} mm to stay below {ARROW_LIMIT}" if spacing_mm > self.spacing.value() + 0.05 else ""
        self.arrow_note.setText(f"{count} arrows{thinned}")

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        arrows = QHBoxLayout()
        for widget in (self.spacing, self.slab):
            arrows.addWidget(widget)
        for title, legend in (("displacement in mm", self.length_legend), ("volume change in percent", self.jacobian_legend)):
            form.addRow(QLabel(title))
            form.addRow(legend)
        form.addRow("field within", self.region)
        form.addRow("arrows every", arrows)
        form.addRow("their length", self.scale)
        form.addRow(self.arrow_note)

    def _on_region(self, row: int) -> None:
        if 0 <= row < len(self._regions):
            self.region_chosen.emit(self._regions[row])

    def _on_slab(self, slices: int) -> None:
        self.slab.setSuffix("" if slices == 0 else " slice" if slices == 1 else " slices")
        self.slab_chosen.emit(slices)
