"""The canvas rests while layers change, and shows everything afterwards."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QLabel

from napari_deformreg.ui import canvas_rest
from napari_deformreg.ui.adding import LayerAdder
from napari_deformreg.ui.canvas_rest import CanvasRest, ResizeRest, StepRest, at_rest

pytestmark = pytest.mark.window


class Paintings(QObject):
    """Counts how often a widget is painted while it may be."""

    def __init__(self, widget):
        super().__init__()
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and watched.updatesEnabled():
            self.count += 1
        return False


@pytest.fixture
def window(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    layer = viewer.add_image(np.random.default_rng(1).random((20, 30, 40)).astype(np.float32), contrast_limits=(0, 1))
    label = QLabel("member")
    viewer.window.add_dock_widget(label, name="member")
    qtbot.wait(300)
    parent = label
    while parent.parentWidget() is not None:
        parent = parent.parentWidget()
    canvas = next(child for child in parent.findChildren(QObject) if child.inherits("QOpenGLWidget"))
    return viewer, layer, label, canvas


def test_changes_are_painted_once_and_only_when_nobody_lets_it_rest(window, qtbot):
    _, layer, label, canvas = window
    one, other = CanvasRest(label), CanvasRest(label)
    paintings = Paintings(canvas)
    one.begin()
    one.begin()
    with other.during():
        assert at_rest()
        for opacity in (0.2, 0.4, 0.6):
            layer.opacity = opacity
            qtbot.wait(50)
        one.end()
        qtbot.wait(50)
        assert paintings.count == 0
    assert not at_rest()
    qtbot.waitUntil(lambda: paintings.count >= 1, timeout=5000)
    one.end()
    assert canvas.updatesEnabled()


def test_a_turned_plane_is_shown_as_without_the_rest_but_not_painted_at_once(window, qtbot):
    viewer, _, label, canvas = window
    viewer.dims.order = (1, 0, 2)
    qtbot.wait(300)
    expected = viewer.screenshot(canvas_only=True, flash=False)
    viewer.dims.order = (0, 1, 2)
    qtbot.wait(300)
    resizing, paintings = ResizeRest(label), Paintings(canvas)
    resizing.start()
    viewer.dims.order = (1, 0, 2)
    assert paintings.count == 0
    qtbot.waitUntil(lambda: paintings.count >= 1, timeout=5000)
    qtbot.wait(300)
    assert not at_rest()
    np.testing.assert_array_equal(viewer.screenshot(canvas_only=True, flash=False), expected)
    resizing.stop()
    viewer.dims.order = (0, 1, 2)
    assert canvas.updatesEnabled()


def test_what_belongs_to_no_window_or_to_one_that_is_gone_rests_without_a_canvas(window, qtbot):
    viewer, _, label, _ = window
    for member in (None, QObject(), QLabel()):
        with CanvasRest(member).during():
            assert not at_rest()
    rest = CanvasRest(label)
    rest.begin()
    viewer.close()
    qtbot.wait(50)
    rest.end()


def test_layers_are_added_with_the_list_painted_afterwards_and_the_last_one_selected(window, qtbot):
    viewer, first, label, _ = window
    told = []
    viewer.layers.selection.events.active.connect(lambda event: told.append(getattr(event.value, "name", None)))
    names = next(child for child in canvas_rest.topmost(label).findChildren(QObject) if child.inherits("QtLayerList"))
    painted_at_once = []
    viewer.layers.events.inserted.connect(lambda event: painted_at_once.append(names.updatesEnabled()))
    adder = LayerAdder(viewer, label)
    image = np.zeros((20, 30, 40), np.float32)
    with qtbot.waitSignal(adder.done, timeout=20_000) as signal:
        adder.add([(image, {"name": name, "contrast_limits": (0.0, 1.0)}, "image") for name in ("second", "third")])
    assert [layer.name for layer in signal.args[0]] == ["second", "third"]
    assert [layer.name for layer in viewer.layers] == [first.name, "second", "third"]
    assert painted_at_once == [False, False]
    assert names.updatesEnabled()
    assert viewer.layers.selection.active.name == "third"
    assert [name for name in told if name is not None] == ["second", "third"]
    chosen = names.selectionModel().selectedIndexes()
    assert [index.data() for index in chosen] == ["third"]


def test_thumbnails_wait_while_slices_pass_and_are_told_once_afterwards(window, qtbot, monkeypatch):
    # A machine that has more to do may take its time for a step.
    monkeypatch.setattr(canvas_rest, "STEPS_END_MS", 3000)
    viewer, layer, label, _ = window
    hidden = viewer.add_image(np.zeros((20, 30, 40), np.float32), contrast_limits=(0, 1), visible=False)
    told = []
    for each in (layer, hidden):
        each.events.thumbnail.connect(lambda event, name=each.name: told.append(name))
    rest = StepRest(viewer, label)
    rest.start()
    names = next(child for child in canvas_rest.topmost(label).findChildren(QObject) if child.inherits("QtLayerList"))
    viewer.dims.set_current_step(0, 5)
    before = np.array(layer.thumbnail)
    told.clear()
    for n in range(6, 9):
        viewer.dims.set_current_step(0, n)
        qtbot.wait(20)
    assert told == []
    assert not names.updatesEnabled()
    assert not np.array_equal(layer.thumbnail, before), "the thumbnail itself follows the slices"
    qtbot.waitUntil(lambda: told == [layer.name], timeout=20_000)
    assert names.updatesEnabled()
    viewer.dims.set_current_step(0, 3)
    rest.stop()
    told.clear()
    viewer.dims.set_current_step(0, 4)
    assert told == [layer.name], "nothing is held back any more"
