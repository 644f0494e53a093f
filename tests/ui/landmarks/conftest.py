"""A result in a real window, the Landmarks dock over it, and a hand on the mouse."""

import pytest
from window_helpers import CanvasMouse

from napari_deformreg.ui.landmarks import keeper
from napari_deformreg.ui.landmarks_dock import LandmarksDock
from napari_deformreg.ui.result_layers import result_layers
from napari_deformreg.ui.result_panel import ResultPanel


@pytest.fixture(autouse=True)
def unsaved(tmp_path, monkeypatch):
    """Unsaved pairs of tests are kept apart from the user's."""
    monkeypatch.setattr(keeper, "kept_folder", lambda: tmp_path / "unsaved")
    return tmp_path / "unsaved"


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy()


@pytest.fixture
def panel(viewer, qtbot, outcome, picture):
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    with qtbot.waitSignal(panel.shown, timeout=300_000):
        panel.show_outcome(outcome, picture, result_layers(picture), None, None)
    yield panel
    panel.shut_down()


@pytest.fixture
def dock(viewer, panel, qtbot):
    """The dock, with the case taken over; the engine may still be getting ready."""
    dock = LandmarksDock(viewer)
    viewer.window.add_dock_widget(dock, name="Landmarks")
    qtbot.waitUntil(lambda: dock.desk.case.now is not None, timeout=300_000)
    yield dock
    dock.shut_down()


@pytest.fixture
def mouse(viewer, dock):
    dock.page.place_button.setChecked(True)
    return CanvasMouse(viewer, dock)
