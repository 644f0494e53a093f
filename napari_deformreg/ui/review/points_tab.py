"""The Points tab: every landmark pair before and after; which judge the registration, and which drove it."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QVBoxLayout, QWidget

from ...qa import METRICS, Grade, GradedFigure, LandmarkRow, Review
from .. import result_layers as parts
from .desk import Desk
from .error_plot import ErrorPlot
from .tab import ReviewTab, in_a_row, note, walk_buttons
from .tables import Column, Row, RowsModel, RowTable, digits

_AXIS = "Where the fixed landmark came to lie minus the moving one, in mm towards {}."

COLUMNS = (
    Column("name", "landmark", "The pair's name."),
    Column("role", "role", "Target: it judges the registration (TRE). Fiducial: it drove it, so it shows the fit only (FRE)."),
    Column("before_mm", "before mm", "Distance by the headers alone.", digits(2)),
    Column("after_mm", "after mm", METRICS["tre_mm"].definition, digits(2)),
    Column("right", "Δ R", _AXIS.format("the right"), digits(2)),
    Column("anterior", "Δ A", _AXIS.format("the front"), digits(2)),
    Column("superior", "Δ S", _AXIS.format("the head"), digits(2)),
    Column("inverse_residual_mm", "inverse mm", METRICS["landmark_residual_mm"].definition, digits(3)),
    Column("outside", "field", "Whether one of the two lies outside the fixed image, where only the affine is known."),
)

STATISTICS = {"mean": "mean", "median": "median", "p95": "95 %", "max": "largest"}


class PointsTab(ReviewTab):
    """Landmarks in a table and a plot; choosing one goes there."""

    title = "Points"

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self.figures = note()
        self.table = RowTable(RowsModel(COLUMNS, _grade))
        self.table.chosen.connect(self._go_to)
        self.plot = ErrorPlot()
        self.plot.chosen.connect(lambda name: self.table.choose_value("name", name))
        self.walk_buttons = walk_buttons(self, "landmark")
        column = QVBoxLayout(self)
        column.addWidget(self.figures)
        column.addLayout(in_a_row(*self.walk_buttons))
        column.addWidget(self.table, 2)
        column.addWidget(self.plot, 1)
        column.addStretch(0)

    def refresh(self) -> None:
        """Show the landmarks of the case."""
        self.regrade()
        for widget in (*self.walk_buttons, self.table, self.plot):
            widget.setVisible(bool(self.table.rows_model.rows))

    def regrade(self) -> None:
        """Show the same landmarks by other tolerances, the worst first."""
        review = self.desk.review
        landmarks = [] if review is None else sorted(review.landmarks, key=lambda row: -row.after_mm)
        self.table.set_rows([landmark_row(row) for row in landmarks])
        self.plot.show_errors(landmarks, None if review is None else _limits(review.figures))
        self.figures.setText("" if review is None else landmark_text(review))

    def step(self, direction: int) -> None:
        """Go to the next or previous landmark."""
        self.table.step(direction)

    def go_to_worst(self) -> None:
        """Go to the worst landmark."""
        self.table.choose_worst()

    def _go_to(self, row: Row) -> None:
        self.desk.show(parts.FIXED_LANDMARKS, parts.MOVED_LANDMARKS)
        self.plot.mark(row["name"])
        self.desk.go_to(row["fixed_mm"], max(self.desk.seen_mm, 6 * row["after_mm"]), max(self.desk.ring_mm, 2.5 * row["after_mm"]))


def landmark_row(landmark: LandmarkRow) -> Row:
    """Write one landmark as a row."""
    right, anterior, superior = landmark.after_axes_mm
    before = ", ".join(f"{n:.2f}" for n in landmark.before_axes_mm)
    places = {"right": right, "anterior": anterior, "superior": superior}
    tips = {f"{key}_tip": f"before: {before} mm (R, A, S)" for key in places}
    return {**dict(landmark), **places, **tips, "role": landmark.kind, "outside": "outside" if landmark.outside_field else "inside"}


def landmark_text(review: Review) -> str:
    """Write the landmarks' figures in words; targets and fiducials apart."""
    if not review.landmarks:
        return "No landmark pairs were given, so nothing here was measured."
    lines = [_figures_text(title, metric, review.figures) for title, metric in (("Target", "tre_mm"), ("Fiducial", "fre_mm"))]
    outside = sum(row.outside_field for row in review.landmarks)
    lines.append(f"{outside} of {len(review.landmarks)} pairs lie outside the field." if outside else "All pairs lie inside the field.")
    return "<br>".join(lines)


def _figures_text(title: str, metric: str, figures: Iterable[GradedFigure]) -> str:
    found = {f.figure.removeprefix(f"{metric}_"): f for f in figures if f.figure.startswith(f"{metric}_") and f.value is not None}
    if not found:
        drove = "no landmark drove the registration" if metric == "fre_mm" else "no landmark is left to judge it"
        return f"<b>{title} error:</b> none, as {drove}."
    said = [
        f"{word} {found[key].value:.2f}" + ("" if found[key].before is None else f" (before {found[key].before:.2f})")
        for key, word in STATISTICS.items() if key in found
    ]  # fmt: skip
    n = next(iter(found.values())).n
    return f"<b>{title} error (mm), n = {n}:</b> {', '.join(said)}"


def _limits(figures: Iterable[GradedFigure]) -> tuple[float, float | None] | None:
    mean = next((f for f in figures if f.figure == "tre_mm_mean" and f.limit is not None), None)
    return None if mean is None or mean.limit is None else (mean.limit, mean.amber)


def _grade(row: Row, key: str) -> Grade | None:
    return row["grade"] if key == "after_mm" else None
