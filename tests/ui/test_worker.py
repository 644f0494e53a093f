"""The runner: steps arrive on the GUI thread, every run ends in exactly one way, and cancel is quick whatever the run does."""

import threading
import time

import pytest

from napari_deformreg.errors import DeformregError, InputError
from napari_deformreg.result import Control, Step
from napari_deformreg.ui.worker import Runner

pytestmark = pytest.mark.window


@pytest.fixture
def runner(qtbot):
    runner = Runner()
    runner.ends = []
    runner.succeeded.connect(lambda value: runner.ends.append(("succeeded", value)))
    runner.failed.connect(lambda error: runner.ends.append(("failed", error)))
    runner.canceled.connect(lambda: runner.ends.append(("canceled", None)))
    yield runner
    runner.drop()


def _ended(runner, qtbot, timeout=3000):
    qtbot.waitUntil(lambda: bool(runner.ends), timeout=timeout)
    qtbot.wait(50)
    assert len(runner.ends) == 1
    assert not runner.busy
    return runner.ends[0]


def test_value_and_steps_arrive_on_the_gui_thread(runner, qtbot):
    threads, work_threads = set(), set()

    def steps():
        work_threads.add(threading.get_ident())
        for n in range(5):
            time.sleep(0.12)
            yield Step("refine", fraction=n / 5)
        return "outcome"

    runner.stepped.connect(lambda step: threads.add(threading.get_ident()))
    runner.start(steps)
    assert _ended(runner, qtbot) == ("succeeded", "outcome")
    assert threads == {threading.get_ident()}
    assert threading.get_ident() not in work_threads


def test_updates_are_throttled(runner, qtbot):
    seen = []

    def steps():
        for n in range(1000):
            time.sleep(0.001)
            yield Step("refine", index=n)

    runner.stepped.connect(seen.append)
    began = time.monotonic()
    runner.start(steps)
    _ended(runner, qtbot, timeout=20000)
    assert 2 <= len(seen) <= 10 * (time.monotonic() - began) + 2


def test_an_error_on_purpose_is_delivered(runner, qtbot):
    def steps():
        yield Step("prepare")
        raise InputError("no overlap")

    runner.start(steps)
    kind, error = _ended(runner, qtbot)
    assert kind == "failed"
    assert str(error) == "no overlap"


@pytest.mark.parametrize("error", [RuntimeError("boom"), StopIteration("odd"), ZeroDivisionError("oops"), MemoryError()])
def test_any_other_error_is_wrapped_never_lost(runner, qtbot, error):
    def steps():
        yield Step("prepare")
        raise error

    runner.start(steps)
    kind, wrapped = _ended(runner, qtbot)
    assert kind == "failed"
    assert isinstance(wrapped, DeformregError)


def test_cancel_stops_the_generator_and_closes_it(runner, qtbot):
    closed = threading.Event()

    def steps():
        try:
            while True:
                time.sleep(0.02)
                yield Step("refine")
        finally:
            closed.set()

    runner.start(steps)
    qtbot.wait(200)
    began = time.monotonic()
    runner.cancel()
    assert _ended(runner, qtbot)[0] == "canceled"
    assert time.monotonic() - began < 1.0
    assert closed.wait(1)


def test_cancel_within_a_second_even_if_the_run_does_not_answer(runner, qtbot):
    release = threading.Event()

    def steps():
        yield Step("evaluate")
        release.wait(5)
        yield Step("evaluate")
        return "too late"

    runner.start(steps)
    qtbot.wait(200)
    began = time.monotonic()
    runner.cancel()
    qtbot.waitUntil(lambda: bool(runner.ends), timeout=1500)
    assert time.monotonic() - began < 1.0
    release.set()
    qtbot.wait(300)
    assert runner.ends == [("canceled", None)]


def test_finish_now_reaches_the_generator(runner, qtbot):
    def steps():
        while (yield Step("refine")) is not Control.FINISH_NOW:
            time.sleep(0.01)
        return "best so far"

    runner.start(steps)
    qtbot.wait(100)
    runner.finish_now()
    assert _ended(runner, qtbot) == ("succeeded", "best so far")


def test_one_run_at_a_time(runner):
    def steps():
        time.sleep(0.3)
        yield Step("refine")

    runner.start(steps)
    with pytest.raises(DeformregError, match="under way"):
        runner.start(steps)


def test_a_dropped_run_says_nothing(runner, qtbot):
    def steps():
        for _ in range(10):
            time.sleep(0.02)
            yield Step("refine")

    runner.start(steps)
    qtbot.wait(50)
    runner.drop()
    qtbot.wait(400)
    assert runner.ends == []
    assert not runner.busy
