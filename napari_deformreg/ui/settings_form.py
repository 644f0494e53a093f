"""A form for any frozen settings model, made from its fields: ``value()`` gives the model, ``setValue()`` shows one."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QGroupBox, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from ..errors import SettingsError

DECIMALS = 6
"""Digits after the point that a number box shows; every default and bound has fewer."""


@dataclass(frozen=True, eq=False)
class _Editor:
    """One field's widget, with what reads and writes it."""

    widget: QWidget
    read: Callable[[], Any]
    write: Callable[[Any], None]


class SettingsForm(QWidget):
    """Edits one settings model; nested models become groups.

    Parameters
    ----------
    model : type of BaseModel
        Whose fields are shown.
    hidden : tuple of str
        Fields that are edited elsewhere; `value` leaves them as they were set.
    title : str
        What the model is a part of, for messages.
    """

    changed = Signal()

    def __init__(self, model: type[BaseModel], hidden: tuple[str, ...] = (), title: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._title = title
        self._last: BaseModel = model()
        self._editors: dict[str, _Editor] = {}
        self._groups: dict[str, SettingsForm] = {}
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        outer.addLayout(rows)
        for name, field in model.model_fields.items():
            if name not in hidden:
                self._add(name, field, rows, outer)
        self.setValue(self._last)

    def value(self) -> Any:
        """Return the model as it is shown.

        Raises
        ------
        SettingsError
            If a value is out of bounds or not understood; names the field.
        """
        shown: dict[str, Any] = {name: editor.read() for name, editor in self._editors.items()}
        shown.update({name: group.value() for name, group in self._groups.items()})
        given = {name: shown.get(name, getattr(self._last, name)) for name in self._model.model_fields}
        try:
            return self._model.model_validate(given)
        except ValueError as error:
            raise SettingsError(_first_line(error, self._title)) from error

    def setValue(self, value: BaseModel) -> None:
        """Show a model."""
        self._last = value
        for name, editor in self._editors.items():
            editor.write(getattr(value, name))
        for name, group in self._groups.items():
            group.setValue(getattr(value, name))

    def _tell(self, *_: object) -> None:
        self.changed.emit()

    def _add(self, name: str, field: FieldInfo, rows: QFormLayout, outer: QVBoxLayout) -> None:
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            group = SettingsForm(field.annotation, title=_words(name))
            group.changed.connect(self.changed)
            box = QGroupBox(_words(name))
            box.setToolTip((field.annotation.__doc__ or "").strip().splitlines()[0])
            inside = QVBoxLayout(box)
            inside.setContentsMargins(6, 4, 6, 4)
            inside.addWidget(group)
            outer.addWidget(box)
            self._groups[name] = group
            return
        editor = _editor(field, self._tell)
        editor.widget.setToolTip(f"<p>{field.description or ''}</p>")
        editor.widget.setObjectName(name)
        rows.addRow(_words(name), editor.widget)
        self._editors[name] = editor


def _words(name: str) -> str:
    """Turn a field's name into words, with its unit in brackets."""
    for suffix, unit in (("_mm", "mm"), ("_vox", "voxels")):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} ({unit})"
    return name.replace("_", " ")


def _first_line(error: ValueError, title: str) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    first = details()[0]
    message = first["msg"].removeprefix("Value error, ")
    fields = [_words(str(part)) for part in first["loc"] if isinstance(part, str)]
    where = ": ".join(filter(None, [title, *fields]))
    # An error of the model as a whole says in its message what it got.
    return f"Setting '{where}': {message}; got {first.get('input')!r}." if fields else f"Settings '{where}': {message}."


def _editor(field: FieldInfo, changed: Callable[..., None]) -> _Editor:
    """Choose the widget that suits a field's type."""
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return _choice(get_args(kind), changed)
    if kind is bool:
        return _switch(changed)
    if kind in (int, float):
        return _number(kind, _bounds(field), changed)
    if kind is str:
        return _text(changed)
    if _is_tuple(kind):
        return _numbers(optional=type(None) in get_args(kind), changed=changed)
    raise TypeError(f"The settings form has no widget for {kind!r}; add one in {__name__}.")


def _is_tuple(kind: Any) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(get_origin(part) is tuple for part in get_args(kind))
    return get_origin(kind) is tuple


def _bounds(field: FieldInfo) -> tuple[float, float]:
    low, high = -1e9, 1e9
    for mark in field.metadata:
        if isinstance(mark, Ge | Gt):
            low = float(mark.ge if isinstance(mark, Ge) else mark.gt)  # type: ignore[arg-type]
        if isinstance(mark, Le | Lt):
            high = float(mark.le if isinstance(mark, Le) else mark.lt)  # type: ignore[arg-type]
    return low, high


def _choice(options: tuple[Any, ...], changed: Callable[..., None]) -> _Editor:
    widget = QComboBox()
    widget.addItems([str(option) for option in options])
    widget.currentIndexChanged.connect(changed)
    _ignore_wheel(widget)
    return _Editor(widget, widget.currentText, lambda value: widget.setCurrentText(str(value)))


def _text(changed: Callable[..., None]) -> _Editor:
    widget = QLineEdit()
    widget.textChanged.connect(changed)
    return _Editor(widget, lambda: widget.text().strip(), widget.setText)


def _switch(changed: Callable[..., None]) -> _Editor:
    widget = QCheckBox()
    widget.toggled.connect(changed)
    return _Editor(widget, widget.isChecked, widget.setChecked)


def _number(kind: type, bounds: tuple[float, float], changed: Callable[..., None]) -> _Editor:
    widget: Any = QSpinBox() if kind is int else _Number()
    if kind is float:
        widget.setDecimals(DECIMALS)
        widget.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    widget.setRange(kind(bounds[0]), kind(bounds[1]))
    widget.valueChanged.connect(changed)
    _ignore_wheel(widget)
    return _Editor(widget, widget.value, lambda value: widget.setValue(kind(value)))


class _Number(QDoubleSpinBox):
    """A number box without a tail of zeros."""

    def textFromValue(self, value: float) -> str:
        """Write a number with the digits it has."""
        return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _numbers(optional: bool, changed: Callable[..., None]) -> _Editor:
    widget = QLineEdit()
    widget.setPlaceholderText("automatic" if optional else "numbers, separated by commas")
    widget.textChanged.connect(changed)

    def read() -> Any:
        text = widget.text().strip()
        if not text:
            return None if optional else ()
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError as error:
            raise SettingsError(f"Expected numbers separated by commas for '{_words(widget.objectName())}'; got {text!r}.") from error

    def write(value: Any) -> None:
        widget.setText(
            "" if value is None else ", ".join(f"{number:g}" if number == float(f"{number:g}") else repr(number) for number in value)
        )

    return _Editor(widget, read, write)


def _ignore_wheel(widget: QWidget) -> None:
    """Scrolling through the form must not turn the numbers under the pointer."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelFilter(widget))


class _WheelFilter(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Wheel:
            return False
        event.ignore()
        return True
