"""A text that changes often must not lay out its window anew."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_deformreg.ui.still_text import StillText


class _Layouts(QObject):
    """Counts how often a widget is asked to lay itself out."""

    def __init__(self, watched: QWidget) -> None:
        super().__init__(watched)
        self.count = 0
        watched.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.LayoutRequest
        return False


def _window(qtbot, inside: QWidget) -> QWidget:
    window = QWidget()
    QVBoxLayout(window).addWidget(inside)
    window.resize(300, 200)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    qtbot.wait(50)
    return window


def test_changing_words_ask_for_no_layout_where_a_label_does(qtbot):
    label, still = QLabel("at first"), StillText()
    for inside, tell, lays_out in ((label, label.setText, True), (still, still.tell, False)):
        window = _window(qtbot, inside)
        layouts = _Layouts(window)
        for number in range(5):
            tell(f"step {number}, a little longer")
            qtbot.wait(20)
        assert (layouts.count > 0) is lays_out


def test_a_long_text_gets_the_room_it_needs(qtbot):
    still = StillText()
    window = _window(qtbot, still)
    before = still.height()
    still.tell("A long explanation of what went wrong and what to do. " * 12, problem=True)
    qtbot.wait(50)
    assert still.height() >= still.findChild(QLabel).heightForWidth(still.width()) > before
    assert still.text().startswith("A long explanation")
    assert window.height() >= still.height()
    assert "color" in still.findChild(QLabel).styleSheet()
    still.tell("Fine.")
    assert still.findChild(QLabel).styleSheet() == ""
