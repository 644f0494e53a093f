"""Real windows (under Xvfb on a machine without a screen), one small case, and a stand-in for the engine where its timing must be known."""

import os

import pytest
from napari.layers import Layer
from window_helpers import QUICK, SlowEngine

from napari_deformreg.phantom import small_pair
from napari_deformreg.ui import layers
from napari_deformreg.ui.pictures import picture_of_outcome
from napari_deformreg.ui.review import autosave
from napari_deformreg.workflow import Inputs, finished, run

# napari then refuses any change of a layer from another thread.
os.environ["NAPARI_ENSURE_PLUGIN_MAIN_THREAD"] = "1"

@pytest.fixture(scope="session")
def pair():
    return small_pair(shape=(24, 24, 24), seed=3)


@pytest.fixture(scope="session")
def inputs(pair):
    return Inputs(
        pair.fixed, pair.moving, pair.fixed_landmarks, pair.moving_landmarks, pair.fixed_labels, pair.moving_labels
    )  # fmt: skip


@pytest.fixture(scope="session")
def outcome(inputs):
    return finished(run(inputs, QUICK))


@pytest.fixture(scope="session")
def picture(outcome):
    return picture_of_outcome(outcome)


@pytest.fixture
def add_inputs(inputs):
    """Give a function that shows the small case in a viewer."""

    def add(viewer):
        placements = {"fixed": layers.Placement(inputs.fixed.grid), "moving": layers.Placement(inputs.moving.grid)}
        entries = [
            layers.image_layer(inputs.fixed, name="fixed"),
            layers.image_layer(inputs.moving, name="moving"),
            layers.labels_layer(inputs.fixed_labels, name="fixed labels"),
            layers.labels_layer(inputs.moving_labels, name="moving labels"),
            layers.points_layer(inputs.fixed_landmarks, placements["fixed"], name="fixed landmarks"),
            layers.points_layer(inputs.moving_landmarks, placements["moving"], name="moving landmarks"),
        ]
        for entry in entries:
            viewer.add_layer(Layer.create(*entry))

    return add


@pytest.fixture
def slow_engine(outcome, picture):
    return SlowEngine(outcome, picture)


@pytest.fixture(autouse=True)
def unsaved(tmp_path, monkeypatch):
    """Unsaved reviews of tests are kept apart from the user's."""
    monkeypatch.setattr(autosave, "autosave_folder", lambda: tmp_path / "unsaved")
    return tmp_path / "unsaved"
