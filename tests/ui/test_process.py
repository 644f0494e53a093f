"""Work in a process of its own: what goes in and out, how it ends, and that it does end."""

import os
import time

import numpy as np
import pytest
import work_for_tests
from window_helpers import QUICK

from napari_deformreg.errors import EngineError, InputError
from napari_deformreg.result import Control
from napari_deformreg.ui import work
from napari_deformreg.ui.process import in_process
from napari_deformreg.workflow import finished


def test_arrays_go_there_and_back():
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    value = finished(in_process(work_for_tests.doubling, array))
    assert value["pid"] != os.getpid()
    np.testing.assert_array_equal(value["array"], 2 * array)
    np.testing.assert_array_equal(value["again"], array)


def test_steps_come_through():
    steps = in_process(work_for_tests.doubling, np.zeros(3))
    assert {step.index for step in steps if step.stage == "refine"} == {0, 1, 2}


def test_an_error_on_purpose_comes_back_as_it_was():
    with pytest.raises(InputError, match=r"^no overlap$"):
        finished(in_process(work_for_tests.failing, "no overlap"))


@pytest.mark.parametrize(
    ("work_done", "words"), [(work_for_tests.crashing, "RuntimeError: engine on fire"), (work_for_tests.dying, "ended")]
)
def test_a_crash_is_an_error_with_its_reason(work_done, words):
    with pytest.raises(EngineError, match=words):
        finished(in_process(work_done))


def test_closing_kills_the_process_in_the_middle_of_anything(tmp_path):
    diary = tmp_path / "diary"
    steps = in_process(work_for_tests.stuck, diary)
    while not diary.exists():
        next(steps)
    began = time.monotonic()
    steps.close()
    assert time.monotonic() - began < 0.5
    written = diary.stat().st_size
    time.sleep(0.3)
    assert diary.stat().st_size == written


def test_finish_now_goes_in():
    steps = in_process(work_for_tests.obedient)
    while next(steps).stage != "refine":
        pass
    assert _told(steps, Control.FINISH_NOW) == 0.5


def _told(steps, control):
    """Send a control and return what the generator returns, whenever it ends."""
    try:
        steps.send(control)
    except StopIteration as end:
        return end.value
    return finished(steps)


def test_a_registration_in_a_process_equals_one_here(inputs, outcome):
    there, picture = finished(in_process(work.registering, inputs, QUICK))
    np.testing.assert_array_equal(there.result.displacement.displacement_mm, outcome.result.displacement.displacement_mm)
    np.testing.assert_array_equal(picture.moved.data, outcome.moved.data)
    assert there.report.to_mapping().keys() == outcome.report.to_mapping().keys()
