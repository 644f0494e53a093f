"""Work in turns of the event loop, and collections that stay short meanwhile."""

import gc
import weakref

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_deformreg.ui import garbage
from napari_deformreg.ui.turns import Turns

pytestmark = pytest.mark.window


def test_one_piece_per_turn_in_order(qtbot):
    turns, done = Turns(), []

    def pieces():
        for n in range(3):
            done.append(n)
            yield

    turns.run(pieces(), lambda: done.append("end"))
    assert done == []
    assert turns.busy
    qtbot.waitUntil(lambda: not turns.busy, timeout=2000)
    assert done == [0, 1, 2, "end"]


def test_other_work_takes_the_place_of_what_is_left(qtbot):
    turns, done = Turns(), []

    def pieces(name, count):
        for _ in range(count):
            done.append(name)
            yield

    turns.run(pieces("old", 1000), lambda: done.append("old end"))
    qtbot.waitUntil(lambda: "old" in done, timeout=2000)
    turns.run(pieces("new", 2))
    qtbot.waitUntil(lambda: not turns.busy, timeout=2000)
    assert done[-2:] == ["new", "new"]
    assert "old end" not in done


def test_nothing_follows_a_stop(qtbot):
    turns, done = Turns(), []
    turns.run((done.append(n) for n in range(100)), lambda: done.append("end"))
    turns.stop()
    qtbot.wait(50)
    assert done == []


def test_a_failed_piece_is_raised_and_ends_the_work(qtbot):
    turns, done = Turns(), []

    def pieces():
        yield
        raise ValueError("broken piece")

    with qtbot.captureExceptions() as raised:
        turns.run(pieces(), lambda: done.append("end"))
        qtbot.waitUntil(lambda: not turns.busy, timeout=2000)
    assert done == ["end"]
    assert [str(error) for _, error, _ in raised] == ["broken piece"]


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self):
        self.me = self


def test_what_was_there_before_the_first_hold_is_collected_only_if_it_was_removed(qapp, monkeypatch):
    monkeypatch.setattr(garbage, "_holders", set())
    old = Ring()
    seen = weakref.ref(old)
    hold, second = garbage.Hold(), garbage.Hold()
    new = Ring()
    seen_new = weakref.ref(new)
    del old, new
    garbage.tidy([seen_new])
    assert seen_new() is None
    assert seen() is not None, "set aside: a collection does not look at it"
    garbage.tidy([seen])
    assert seen() is None
    second.release()
    assert gc.get_freeze_count() > 0
    hold.release()
    assert gc.get_freeze_count() == 0


def test_what_was_set_aside_for_a_removal_is_freed_at_rest(qapp, monkeypatch):
    """A removal sets aside what is there, the layer itself included; that must not keep it, and the images it holds, for good."""
    monkeypatch.setattr(garbage, "_holders", set())
    monkeypatch.setattr(garbage, "_spared", [])
    hold = garbage.Hold()
    layers = [Ring()]
    seen = weakref.ref(layers[0])
    garbage.remove(layers, layers[0])
    assert layers == []
    gc.collect()
    assert seen() is not None, "what napari collects at once passes it by"
    garbage.tidy([])
    assert seen() is None
    assert gc.get_freeze_count() > 0
    hold.release()
    assert gc.get_freeze_count() == 0


def test_no_collection_comes_while_it_is_put_off(qapp):
    with garbage.put_off():
        assert not gc.isenabled()
        with garbage.put_off():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_tidying_waits_until_nothing_is_under_way(qtbot, monkeypatch):
    monkeypatch.setattr(garbage, "REST_MS", 20)
    tidied, busy = [], [True]
    monkeypatch.setattr(garbage, "tidy", lambda removed: tidied.append(len(removed)))
    tidier = garbage.Tidier(lambda: busy[0])
    removed = Ring()
    tidier.ask(removed)
    qtbot.wait(150)
    assert tidied == []
    busy[0] = False
    qtbot.waitUntil(lambda: tidied == [1], timeout=2000)
    qtbot.wait(100)
    assert tidied == [1]


def test_tidying_waits_while_keys_are_pressed(qtbot, monkeypatch):
    monkeypatch.setattr(garbage, "REST_MS", 300)
    tidied = []
    monkeypatch.setattr(garbage, "tidy", lambda removed: tidied.append(len(removed)))
    window = QLineEdit()
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    tidier = garbage.Tidier(lambda: False, window)
    tidier.ask(None)
    for _ in range(8):
        QTest.keyClick(window.windowHandle(), Qt.Key.Key_K)
        qtbot.wait(100)
    assert tidied == []
    qtbot.waitUntil(lambda: tidied == [0], timeout=10_000)


def test_what_is_set_aside_is_looked_at_no_more_until_the_last_hold_goes(monkeypatch):
    monkeypatch.setattr(garbage, "_holders", set())
    garbage.set_aside()
    assert gc.get_freeze_count() == 0, "without a hold nothing would ever be collected again"
    hold = garbage.Hold()
    later = [Ring() for _ in range(100)]
    before = gc.get_freeze_count()
    garbage.set_aside()
    assert gc.get_freeze_count() >= before + len(later)
    hold.release()
    assert gc.get_freeze_count() == 0
