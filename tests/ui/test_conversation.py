"""A partner in another process that keeps its state."""

import os
import time

import numpy as np
import pytest
from work_for_tests import Parrot

from napari_deformreg.errors import EngineError, InputError
from napari_deformreg.ui.conversation import Conversation


@pytest.fixture
def talk(qtbot):
    talk = Conversation(Parrot)
    yield talk
    talk.stop()


def answers(talk, qtbot, *requests):
    """Ask everything at once; give all answers and errors, in order."""
    got = []
    for method, *arguments in requests:
        talk.ask(method, *arguments, then=got.append, failed=got.append)
    qtbot.waitUntil(lambda: len(got) == len(requests), timeout=180_000)
    return got


def test_it_keeps_its_state_and_answers_in_order(talk, qtbot):
    array = np.arange(1e6)
    first, second, refused, stumbled, pid = answers(talk, qtbot, ("say", array), ("say", "b"), ("refuse",), ("stumble",), ("pid",))
    np.testing.assert_array_equal(first[0], array)
    assert second[1] == "b"
    assert isinstance(refused, InputError)
    assert str(refused) == "I do not like that"
    assert isinstance(stumbled, EngineError)
    assert "oops" in str(stumbled)
    assert pid != os.getpid()
    assert not talk.busy
    assert answers(talk, qtbot, ("say", "c"))[0][1:] == ["b", "c"], "an error does not end it"
    with qtbot.waitSignal(talk.ended, timeout=60_000):
        talk.ask("sleep", 60, then=lambda _: None, failed=lambda error: None)
        os.kill(pid, 9)
    fresh = answers(talk, qtbot, ("say", "again"), ("pid",))
    assert fresh[0] == ["again"], "another one begins without the old one's memory"
    talk.stop()
    until = time.monotonic() + 30
    while _alive(fresh[1]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(fresh[1])


def test_what_a_generator_yields_is_told_ahead_and_in_order(talk, qtbot):
    ahead, got = [], []
    talk.ask("spell", "abc", then=got.append, failed=got.append, ahead=ahead.append)
    talk.ask("spell", "dxe", then=got.append, failed=got.append, ahead=ahead.append)
    talk.ask("spell", "f", then=got.append, failed=got.append)
    qtbot.waitUntil(lambda: len(got) == 3, timeout=180_000)
    assert ahead == ["a", "b", "c", "d"]
    assert got[0] == "abc"
    assert isinstance(got[1], InputError)
    assert got[2] == "f", "who does not want the parts gets the whole"
    assert not talk.busy


def test_who_waits_is_told_that_the_other_side_is_gone(talk, qtbot):
    (error,) = answers(talk, qtbot, ("die",))
    assert isinstance(error, EngineError)
    assert "process ended" in str(error)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
