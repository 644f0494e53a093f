"""Painted color scales: what the colors of the arrows and of the Jacobian mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from . import overlays

_HEIGHT, _MARGIN, _BAR = 38, 30, 12

_PERCENT_TICKS = ((-75, "≤ −75"), (-50, "−50"), (0, "0"), (100, "+100"), (300, "≥ +300"))
"""Volume change at the quarters of a scale that is even in log2."""


class Legend(QWidget):
    """A horizontal color scale with ticks.

    Parameters
    ----------
    stops : sequence of (place, color)
        Colors from 0 (left) to 1 (right).
    """

    def __init__(self, stops: Sequence[tuple[float, QColor]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stops = list(stops)
        self._ticks: list[tuple[float, str]] = []
        self._swatch: tuple[QColor, str] | None = None
        self.setMinimumHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places of the scale and what is written there."""
        return tuple(self._ticks)

    def set_ticks(self, ticks: Sequence[tuple[float, str]], swatch: tuple[QColor, str] | None = None) -> None:
        """Label places of the scale, and one color beside it."""
        self._ticks, self._swatch = list(ticks), swatch
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint scale, ticks and the extra color."""
        painter = QPainter(self)
        left = _MARGIN + (60 if self._swatch else 0)
        bar = QRectF(left, 3, max(self.width() - left - _MARGIN, 10), _BAR)
        gradient = QLinearGradient(bar.topLeft(), bar.topRight())
        for place, color in self._stops:
            gradient.setColorAt(place, color)
        painter.fillRect(bar, QColor(110, 110, 110))
        painter.fillRect(bar, gradient)
        painter.setPen(self.palette().windowText().color())
        for place, text in self._ticks:
            x = bar.left() + place * bar.width()
            painter.drawLine(QPointF(x, bar.bottom()), QPointF(x, bar.bottom() + 3))
            painter.drawText(QRectF(x - 30, bar.bottom() + 3, 60, 18), Qt.AlignmentFlag.AlignHCenter, text)
        if self._swatch:
            color, text = self._swatch
            painter.fillRect(QRectF(_MARGIN - 10, 3, 34, _BAR), color)
            painter.drawText(QRectF(_MARGIN - 28, bar.bottom() + 3, 70, 18), Qt.AlignmentFlag.AlignHCenter, text)
        painter.end()


def jacobian_legend() -> Legend:
    """Make the legend of the Jacobian heatmap: even steps in log2, folds in their own color."""
    colors, places = overlays.jacobian_colors()
    low, high = overlays.JACOBIAN_RANGE
    values = low + places * (high - low)
    stops = [((np.log2(value) + 2) / 4, _color(rgba)) for value, rgba in zip(values, colors, strict=True) if value > 0]
    legend = Legend(stops)
    ticks = [((np.log2(1 + percent / 100) + 2) / 4, text) for percent, text in _PERCENT_TICKS]
    legend.set_ticks(ticks, (_color(np.array(overlays.FOLD_COLOR)), "fold"))
    legend.setToolTip(
        "<p>Local volume change from fixed to moving, the affine part included: the determinant of the Jacobian minus 1, in percent. Even "
        "steps are equal factors. Blue shrinks, red grows, clear is unchanged, violet is folded.</p>"
    )
    return legend


def length_legend() -> Legend:
    """Make the legend of the displacement's length, of arrows and map alike; `show_longest` labels it."""
    places = np.linspace(0, 1, 17)
    colors = ensure_colormap(overlays.MAGNITUDE_COLORMAP).map(places)
    legend = Legend([(float(place), _color(rgba)) for place, rgba in zip(places, colors, strict=True)])
    legend.setToolTip("<p>Length of the displacement, the affine part left out; nearly all of the image (99.5 %) lies on this scale.</p>")
    return legend


def show_longest(legend: Legend, longest_mm: float) -> None:
    """Label the legend of lengths in millimeters, with as many digits as tell its ticks apart (a mouse moves by tenths of a millimeter)."""
    step = max(longest_mm / 4, 1e-9)
    places = max(1, math.ceil(-math.log10(step)))
    inner = [(part, f"{part * longest_mm:.{places}f}" if part else "0") for part in (0.0, 0.25, 0.5, 0.75)]
    legend.set_ticks([*inner, (1.0, f"≥ {longest_mm:.{places}f}")])


def _color(rgba: Float[np.ndarray, "4"]) -> QColor:
    return QColor.fromRgbF(*(float(np.clip(part, 0, 1)) for part in rgba))
