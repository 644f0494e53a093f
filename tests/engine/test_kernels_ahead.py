"""The first kernels load beside the preparation, and leave nothing behind that could hang or raise."""

import subprocess
import sys
import threading

import pytest

from napari_deformreg.engine import register_steps
from napari_deformreg.engine.kernels import ahead
from napari_deformreg.errors import InputError
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings
from napari_deformreg.space import Volume


def loading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "deformreg-kernels"]


@pytest.fixture
def first_time(monkeypatch):
    monkeypatch.setattr(ahead, "_LOADED", threading.Event())


def test_kernels_are_loaded_once_and_no_thread_is_left(first_time, monkeypatch):
    loads, load = [], ahead._load
    monkeypatch.setattr(ahead, "_load", lambda: loads.append(1) or load())
    for _ in range(2):
        with ahead.loading_kernels():
            pass
        assert not loading_threads()
    assert loads == [1]


def test_kernels_that_cannot_load_are_left_to_whoever_needs_them(first_time, monkeypatch):
    def fails(*given):
        raise OSError("the cache folder cannot be written to")

    monkeypatch.setattr(ahead.cpu, "convolve_separable", fails)
    with ahead.loading_kernels():
        pass
    assert not loading_threads()


def test_a_registration_that_is_refused_or_cancelled_leaves_no_thread(first_time):
    pair = small_pair((16, 16, 16), seed=1)
    flat = Volume(pair.fixed.data * 0, pair.fixed.grid)
    settings = Settings().changed(device="cpu")
    with pytest.raises(InputError, match="constant"):
        for _ in register_steps(flat, pair.moving, settings):
            pass
    assert not loading_threads()
    ahead._LOADED.clear()
    steps = register_steps(pair.fixed, pair.moving, settings)
    next(steps)
    steps.close()
    assert not loading_threads()


SCRIPT = """
import os
import numpy as np
from napari_deformreg.engine.kernels import ahead, cpu
with ahead.loading_kernels():
    pass
child = os.fork()
if child == 0:  # what the parent has not loaded yet is loaded in the child: numba's lock must be free
    cpu.box_sum(np.ones((1, 4, 4, 4), np.float32), 1)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
ahead._LOADED.clear()
with ahead.loading_kernels():
    raise SystemExit(5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_process_can_fork_and_exit_after_loading():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 5, done.stderr
    assert done.stderr == ""
