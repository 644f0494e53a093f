"""The Verdict tab: graded figures beside their tolerances, the reviewer's judgment, snapshots, saving."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QPlainTextEdit, QPushButton, QSplitter, QVBoxLayout, QWidget

from ...errors import DeformregError
from ...qa import Grade, Review, Verdict, counts, worst_first
from ..buttons import switch
from ..scrolling import scrolled
from .desk import Desk
from .figures import LIMITS_COLUMN, PLACE_COLUMN, figure_row, go_to_figure
from .snapshots import SnapshotList
from .tab import ReviewTab, in_a_row, note
from .tables import GRADE_COLORS, Column, Row, RowsModel, RowTable
from .tolerance_editor import ToleranceEditor

COLUMNS = (
    Column("title", "figure", characters=23),
    Column("value_text", "value", longest="0.0556 mm"),
    LIMITS_COLUMN,
    Column("grade", "grade", "Each figure is graded on its own; the whole is not.", lambda grade: str(grade.value)),
    Column("n", "n", "Points, voxels or structures behind the figure."),
    Column("before_text", "before"),
    Column("domain", "domain", "Over what it was taken."),
    PLACE_COLUMN,
)

ROWS_SEEN = 7
"""Of the table, however long the summary and however low the window."""

LINK_COLOR = "#4fc3f7"


class VerdictTab(ReviewTab):
    """What the figures say, and what the reviewer says."""

    title = "Verdict"
    changed = Signal()
    """The reviewer changed something."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self.summary = note()
        links = Qt.TextInteractionFlag
        self.summary.setTextInteractionFlags(links.LinksAccessibleByMouse | links.LinksAccessibleByKeyboard)
        self.summary.linkActivated.connect(self._tell_all)
        self._all_told = False
        self.table = RowTable(RowsModel(COLUMNS, _grade))
        rows, header = self.table.verticalHeader(), self.table.horizontalHeader()
        self.table.setMinimumHeight(ROWS_SEEN * rows.defaultSectionSize() + 2 * header.sizeHint().height())
        self.table.chosen.connect(self._on_figure)
        self.everything = switch("Information too", "List the figures that have no tolerance, too.", lambda shown: self.regrade())
        self.editor = ToleranceEditor()
        self.editor.changed.connect(self._judge_by)
        self.reviewer = QLineEdit()
        self.reviewer.setPlaceholderText("name")
        self.verdict = QComboBox()
        for verdict in Verdict:
            level = "" if verdict.level is None else f"{verdict.level}  "
            self.verdict.addItem(f"{level}{verdict.value}", verdict)
            self.verdict.setItemData(self.verdict.count() - 1, f"<p>{verdict.help}</p>", Qt.ItemDataRole.ToolTipRole)
        self.verdict_help = note()
        self.comment = QPlainTextEdit()
        self.comment.setPlaceholderText("comment")
        self.comment.setFixedHeight(64)
        self.snapshots = SnapshotList(desk.viewer)
        self.save_button = QPushButton("Save review")
        self.save_button.setToolTip("<p>Write review.json, review.html and review.pdf into the result folder, with this window's view.</p>")
        self.report_button = QPushButton("Open report")
        self.report_button.setToolTip("<p>Open the saved review.html in the browser.</p>")
        self.message = note()
        self._lay_out()
        self._connect()

    def refresh(self) -> None:
        """Show the case and its opinion."""
        review = self.desk.review
        widgets: list[Any] = [self.reviewer, self.verdict, self.comment]
        blockers = [QSignalBlocker(widget) for widget in widgets]
        self.reviewer.setText("" if review is None else review.reviewer)
        self.verdict.setCurrentIndex(0 if review is None else list(Verdict).index(review.verdict))
        self.comment.setPlainText("" if review is None else review.comment)
        del blockers
        self.snapshots.set_snapshots(() if review is None else review.snapshots)
        self.verdict_help.setText(self._verdict().help)
        for widget in (*widgets, self.snapshots, self.save_button, self.editor):
            widget.setEnabled(review is not None)
        self.regrade()

    def regrade(self) -> None:
        """Show the figures by the review's tolerances."""
        review = self.desk.review
        figures = () if review is None else review.figures
        shown = [f for f in figures if f.tolerance is not None or self.everything.isChecked()]
        self.table.set_rows([figure_row(figure) for figure in worst_first(shown)])
        self.summary.setText("" if review is None else _summary_html(review, self._all_told))
        self.editor.show_tolerances(None if review is None else review.tolerances)

    def reviewed(self) -> Review:
        """Return the review with what the reviewer says.

        Raises
        ------
        DeformregError
            If there is no case, or a verdict has no reviewer.
        """
        if self.desk.review is None:
            raise DeformregError("There is no case on the desk; expected a result. Open one first.")
        said = self.desk.review.with_opinion(reviewer=self.reviewer.text(), verdict=self._verdict(), comment=self.comment.toPlainText())
        return said.with_snapshots(self.snapshots.snapshots())

    def as_it_is(self) -> Review:
        """Return the review with what stands here now, unfinished or not."""
        if self.desk.review is None:
            raise DeformregError("There is no case on the desk; expected a result. Open one first.")
        said = {"reviewer": self.reviewer.text(), "verdict": self._verdict(), "comment": self.comment.toPlainText()}
        return self.desk.review.model_copy(update={**said, "snapshots": self.snapshots.snapshots()})

    def step(self, direction: int) -> None:
        """Go to the next or previous figure."""
        self.table.step(direction)

    def go_to_worst(self) -> None:
        """Go to the worst figure."""
        self.table.choose_worst()

    def _verdict(self) -> Verdict:
        return Verdict(self.verdict.currentData())

    def _tell_all(self, link: str) -> None:
        self._all_told = not self._all_told
        if self.desk.review is not None:
            self.summary.setText(_summary_html(self.desk.review, self._all_told))

    def _on_figure(self, row: Row) -> None:
        self.editor.edit(row["figure"], row["unit"])
        go_to_figure(self.desk, row)

    def _judge_by(self, tolerances: Any) -> None:
        self.desk.judge_by(tolerances)
        self.changed.emit()

    def _on_verdict(self, index: int) -> None:
        self.verdict_help.setText(self._verdict().help)
        self.changed.emit()

    def _connect(self) -> None:
        self.reviewer.textEdited.connect(lambda text: self.changed.emit())
        self.comment.textChanged.connect(self.changed)
        self.verdict.currentIndexChanged.connect(self._on_verdict)
        self.snapshots.changed.connect(self.changed)

    def _lay_out(self) -> None:
        lower = QWidget()
        below = QVBoxLayout(lower)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(self.editor)  # over the whole width: its source is a long sentence
        form = QFormLayout()
        below.addLayout(form)
        below.addStretch(1)
        form.addRow("reviewer", self.reviewer)
        form.addRow("verdict", self.verdict)
        form.addRow("", self.verdict_help)
        form.addRow("comment", self.comment)
        form.addRow("snapshots", self.snapshots)
        upper = QWidget()
        column = QVBoxLayout(upper)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.summary)
        column.addWidget(self.table, 1)
        column.addLayout(in_a_row(self.everything))
        split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(upper)
        split.addWidget(scrolled(lower))
        split.setSizes([500, 400])
        outer = QVBoxLayout(self)
        outer.addWidget(split, 1)
        outer.addLayout(in_a_row(self.save_button, self.report_button))
        outer.addWidget(self.message)


def _summary_html(review: Review, whole: bool) -> str:
    """Write how many figures have each grade, never one for all, and what to look at first; more on demand: the table needs the place."""
    found = counts(review.figures)
    parts = [
        f"<span style='background:{color};color:white'>&nbsp;{found[grade]} {grade.value}&nbsp;</span>"
        for grade, color in GRADE_COLORS.items()
        if found[grade]
    ]
    said, more = review.attention if whole else review.attention[:1], len(review.attention) - 1
    look = "".join(f"<br>Look at this: {sentence}" for sentence in said)
    link = "" if more < 1 else f" <a style='color:{LINK_COLOR}' href='more'>{'less' if whole else f'{more} more …'}</a>"
    return f"{' '.join(parts)}  by {review.tolerances.name}{look}{link}"


def _grade(row: Row, key: str) -> Grade | None:
    return row["grade"] if key in ("value_text", "grade") else None
