"""What the Landmarks dock shows of fits through the pairs alone, without the images."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QVBoxLayout, QWidget

from ...space.point_fits import FitName
from ..buttons import button
from ..review.tab import in_a_row, note
from .folding_box import FoldingBox

KINDS: tuple[tuple[FitName, str], ...] = (
    ("rigid", "rigid"), ("similarity", "similarity"), ("affine", "affine"), ("thin_plate", "thin-plate spline"),
)  # fmt: skip
"""What can be fitted, and what it is called."""


class PointsPage(FoldingBox):
    """Widgets for fits through the pairs alone."""

    fitted = Signal(object)
    """This kind of fit is wanted now."""
    followed = Signal(object)
    """This kind of fit is wanted after every step; None for none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Points alone, without the images", parent)
        self.kind = QComboBox()
        for kind, title in KINDS:
            self.kind.addItem(title, kind)
        tip = "Replace the whole registration by this fit through all pairs that drive; it can be undone."
        self.fit_button = button("Fit", tip, lambda: self.fitted.emit(self.chosen))
        self.follow = QCheckBox("after every step")
        self.follow.setToolTip("<p>Fit anew whenever a pair changes, in place of the local correction.</p>")
        self.kind.currentIndexChanged.connect(lambda row: self._tell())
        self.follow.toggled.connect(lambda on: self._tell())
        column = QVBoxLayout(self.inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(in_a_row(self.kind, self.fit_button, self.follow))
        column.addWidget(note("The residual of each pair is in the table; what the images show is not looked at."))

    @property
    def chosen(self) -> FitName:
        """The chosen kind."""
        kind: FitName = KINDS[max(int(self.kind.currentIndex()), 0)][0]
        return kind

    def _tell(self) -> None:
        self.followed.emit(self.chosen if self.follow.isChecked() else None)
