"""Tables of the review: plain rows in Qt's model and view, sorted by any column, walked through by key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSignalBlocker, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QKeyEvent, QMouseEvent, QShowEvent
from qtpy.QtWidgets import QAbstractItemView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from ...qa import Grade

ROWS_MEASURED = 20
"""Columns are as wide as the first rows need; asking all of them takes too long."""

MARGIN = 8
"""Of a cell, left and right together, in pixels."""

Row = Mapping[str, Any]

ROLE = Qt.ItemDataRole

GRADE_COLORS = {Grade.GREEN: "#2e7d32", Grade.AMBER: "#a15c00", Grade.RED: "#c62828", Grade.NOT_MEASURED: "#616161"}
"""Behind white text; each keeps a contrast of 4.5 to 1."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key : str
        Of the row's value.
    title, tip : str
        Over the column, and when the mouse rests there.
    text : callable
        Writes the value for people.
    longest : str
        The column is as wide as this at least: a text that may come below the rows that are measured.
    characters : int
        The column is about this wide at most when it is filled; 0 for no limit. A hand may widen it.
    """

    key: str
    title: str
    tip: str = ""
    text: Callable[[Any], str] = str
    longest: str = ""
    characters: int = 0


def digits(places: int) -> Callable[[Any], str]:
    """Give a writer of numbers with so many places; a dash for what does not exist."""
    return lambda number: "–" if missing(number) else f"{number:.{places}f}"


def missing(value: Any) -> bool:
    """Tell whether a cell has nothing to show."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


class RowsModel(QAbstractTableModel):
    """Rows of a table, as Qt asks for them.

    Parameters
    ----------
    columns : sequence of Column
        From left to right.
    grade : callable, optional
        Tells the grade of a row's cell, or None.
    """

    def __init__(self, columns: Sequence[Column], grade: Callable[[Row, str], Grade | None] | None = None, parent: Any = None) -> None:
        super().__init__(parent)
        self.columns = list(columns)
        self.rows: list[Row] = []
        self._grade = grade

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count the rows."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = ROLE.DisplayRole) -> Any:
        """Give a column's title and tip."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        return {ROLE.DisplayRole: column.title, ROLE.ToolTipRole: f"<p>{column.tip}</p>" if column.tip else None}.get(ROLE(role))

    def data(self, index: QModelIndex, role: int = ROLE.DisplayRole) -> Any:
        """Give a cell's text, value, side and colors."""
        if not index.isValid():
            return None
        row, column = self.rows[index.row()], self.columns[index.column()]
        value = row.get(column.key)
        if role == ROLE.DisplayRole:
            return "–" if missing(value) else column.text(value)
        if role == ROLE.UserRole:
            return value
        if role == ROLE.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignLeft if isinstance(value, str) else Qt.AlignmentFlag.AlignRight
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        if role == ROLE.ToolTipRole:
            return row.get(f"{column.key}_tip")
        return self._color(row, column.key, role)

    def _color(self, row: Row, key: str, role: int) -> QBrush | None:
        grade = self._grade(row, key) if self._grade is not None and role in (ROLE.BackgroundRole, ROLE.ForegroundRole) else None
        if grade is None or grade not in GRADE_COLORS:
            return None
        return QBrush(QColor(GRADE_COLORS[grade] if role == ROLE.BackgroundRole else "white"))


class _Sorted(QSortFilterProxyModel):
    """Sorts by the values, not by their texts; what does not exist comes last either way."""

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Compare two cells."""
        source = self.sourceModel()
        one, other = (source.data(index, ROLE.UserRole) for index in (left, right))
        if missing(one) or missing(other):
            descending = self.sortOrder() == Qt.SortOrder.DescendingOrder
            return bool(missing(one) if descending else not missing(one)) and missing(one) != missing(other)
        try:
            return bool(one < other)
        except TypeError:
            return str(one) < str(other)


class _Graded(QStyledItemDelegate):
    """Keeps the color of a grade where a row is chosen."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Leave graded cells unselected."""
        super().initStyleOption(option, index)
        if index.data(ROLE.BackgroundRole) is not None:
            option.state &= ~QStyle.StateFlag.State_Selected


class RowTable(QTableView):
    """A table whose rows are chosen one at a time; `chosen` gives the row."""

    chosen = Signal(object)

    def __init__(self, model: RowsModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows_model = model
        self._fresh = False
        self._fitting = False
        self._sorted = _Sorted(self)
        self._sorted.setSourceModel(model)
        self.setModel(self._sorted)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setItemDelegate(_Graded(self))
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        # Unsorted until a title is clicked: rows come in the order that matters most, the worst first.
        self.setSortingEnabled(True)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._sorted.sort(-1)
        self.horizontalHeader().setResizeContentsPrecision(ROWS_MEASURED)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.selectionModel().currentRowChanged.connect(self._on_current)
        self.clicked.connect(self._on_clicked)

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows; none is chosen. The columns of a table that is not seen get their widths later, as that takes the longest."""
        self.rows_model.set_rows(rows)
        self._fitting = True
        if self.isVisible():
            self.fit()

    def fit(self) -> None:
        """Make the columns as wide as the rows need, once for the same rows."""
        if not self._fitting:
            return
        self._fitting = False
        self.resizeColumnsToContents()
        letters = self.fontMetrics()
        for place, column in enumerate(self.rows_model.columns):
            width = max(self.columnWidth(place), letters.horizontalAdvance(column.longest) + MARGIN)
            most = column.characters * letters.averageCharWidth() or width
            self.setColumnWidth(place, min(width, most))

    def show_rows(self, rows: Sequence[Row], key: str, value: Any) -> None:
        """Show other rows, and choose the first one with this value; nobody is told of either."""
        with QSignalBlocker(self):
            if rows != self.rows_model.rows:
                self.set_rows(rows)
            current = self.current()
            if value is None:
                self.setCurrentIndex(QModelIndex())
            elif current is None or current.get(key) != value:
                self.choose_value(key, value)

    def row_at(self, place: int) -> Row:
        """Return a row by its place as it is sorted now."""
        source = int(self._sorted.mapToSource(self._sorted.index(place, 0)).row())
        return self.rows_model.rows[source]

    def current(self) -> Row | None:
        """Return the chosen row."""
        index = self.currentIndex()
        return self.row_at(index.row()) if index.isValid() else None

    def choose(self, place: int) -> None:
        """Choose the row at a place, as sorted now."""
        if 0 <= place < self._sorted.rowCount():
            self.setCurrentIndex(self._sorted.index(place, 0))

    def choose_worst(self) -> None:
        """Choose the row that was given first, whatever the table is sorted by."""
        if self.rows_model.rows:
            self._go(self._sorted.mapFromSource(self.rows_model.index(0, 0)).row())

    def choose_value(self, key: str, value: Any) -> None:
        """Choose the first row with this value."""
        found = (n for n in range(self._sorted.rowCount()) if self.row_at(n).get(key) == value)
        self.choose(next(found, -1))

    def step(self, direction: int) -> None:
        """Choose the next row (1) or the one before (-1), as sorted now; it stops at the ends."""
        index = self.currentIndex()
        count = self._sorted.rowCount()
        if count:
            self._go(min(max(index.row() + direction, 0), count - 1) if index.isValid() else 0)

    def _go(self, place: int) -> None:
        """Choose a row; where it is chosen already, go there again: someone may have looked elsewhere meanwhile."""
        if place == self.currentIndex().row():
            self.chosen.emit(self.row_at(place))
        else:
            self.choose(place)

    def showEvent(self, event: QShowEvent) -> None:
        """Fit the columns at the latest when the table is seen."""
        self.fit()
        super().showEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Walk by the same keys as everywhere, row by row; Qt would go by pages."""
        direction = {Qt.Key.Key_PageDown: 1, Qt.Key.Key_PageUp: -1}.get(event.key())
        if direction is not None:
            self.step(direction)
        elif event.key() == Qt.Key.Key_Home:
            self.choose_worst()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Notice whether a click changes the chosen row."""
        self._fresh = False
        super().mousePressEvent(event)

    def _on_current(self, index: QModelIndex, before: QModelIndex) -> None:
        if index.isValid():
            self._fresh = True
            self.chosen.emit(self.row_at(index.row()))

    def _on_clicked(self, index: QModelIndex) -> None:
        if not self._fresh and index.isValid():
            self.chosen.emit(self.row_at(index.row()))  # The same row again: go there again.
