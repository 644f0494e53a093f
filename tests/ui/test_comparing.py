"""The modes in a real window, by keys and clicks: what they show, and that the layers come back as they were."""

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.compare_bar import BEFORE_KEY, MODES
from napari_deformreg.ui.comparing import COMPARISON
from napari_deformreg.ui.comparison import Mode, within
from napari_deformreg.ui.result_layers import result_layers
from napari_deformreg.ui.result_panel import ResultPanel

pytestmark = pytest.mark.window

SHOWN = (parts.FIXED, parts.MOVED, parts.MOVING_BEFORE, parts.JACOBIAN)
LOOK = ("visible", "opacity", "blending", "contrast_limits")


@pytest.fixture
def desk(make_napari_viewer_proxy, qtbot, outcome, picture):
    viewer = make_napari_viewer_proxy(show=True)
    panel = ResultPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Result")
    wanted = [entry for entry in result_layers(picture) if entry[1]["name"] in SHOWN]
    with qtbot.waitSignal(panel.shown, timeout=240_000):
        panel.show_outcome(outcome, picture, wanted, None, None)
    found = {parts.part_of(layer): layer for layer in viewer.layers}
    yield Desk(viewer, panel, found, qtbot)
    panel.shut_down()


class Desk:
    """The window, and what a user does with it."""

    def __init__(self, viewer, panel, found, qtbot):
        self.viewer, self.panel, self.found, self.qtbot = viewer, panel, found, qtbot
        self.comparison = panel.compare.comparison
        self.canvas = next(widget for widget in QApplication.allWidgets() if type(widget).__name__.startswith("CanvasBackend"))

    def press(self, key):
        self.qtbot.keyClick(self.canvas, getattr(Qt.Key, f"Key_{key}"))
        self.settle()

    def click(self, button):
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.settle()

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.comparison.busy, timeout=60_000)

    def looks(self):
        return {
            name: (*(getattr(layer, prop) for prop in LOOK), layer.colormap.name)
            for name, layer in self.found.items()
            if name in (parts.FIXED, parts.MOVED, parts.MOVING_BEFORE)
        } | {f"{name} is shown": layer.visible for name, layer in self.found.items()}

    def composite(self):
        return next(layer for layer in self.viewer.layers if layer.name == COMPARISON)


def in_window(layer):
    return within(np.asarray(layer.data), layer.contrast_limits)


def test_a_key_shows_a_mode_and_gives_the_layers_back(desk):
    before, names = desk.looks(), [layer.name for layer in desk.viewer.layers]
    zoom, grid = desk.viewer.scene.camera.zoom, desk.viewer.canvas.grid.enabled
    text = desk.viewer.canvas.overlays.text
    desk.qtbot.waitUntil(lambda: text.text.startswith("axial   R ◂ ▸ L"), timeout=60_000)
    for mode, (_, key, _) in MODES.items():
        desk.press(key)
        assert desk.comparison.mode == mode
        assert desk.panel.compare.buttons[mode].isChecked()
        assert desk.looks() != before
        assert text.text.startswith("axial   R ◂ ▸ L")
        assert len(text.text.splitlines()) == 2, "what is seen is written below"
        assert text.visible
        desk.press(key)
        assert len(text.text.splitlines()) == 1
        assert desk.comparison.mode == Mode.BLEND
        assert desk.looks() == before
        assert [layer.name for layer in desk.viewer.layers] == names
        assert desk.viewer.scene.camera.zoom == pytest.approx(zoom)
        assert desk.viewer.canvas.grid.enabled == grid


def test_modes_one_after_the_other_show_what_they_promise(desk):
    before = desk.looks()
    fixed, moved = desk.found[parts.FIXED], desk.found[parts.MOVED]
    desk.press("K")
    board = np.asarray(desk.composite().data[12])
    choices = np.stack([in_window(fixed)[12], in_window(moved)[12]])
    assert (np.abs(choices - board).min(0) < 1e-6).all()
    assert not fixed.visible
    assert desk.composite().visible
    desk.press("D")
    np.testing.assert_allclose(np.asarray(desk.composite().data), np.abs(in_window(fixed) - in_window(moved)), atol=1e-6)
    desk.press("U")
    assert (fixed.colormap.name, moved.colormap.name, moved.blending) == ("green", "magenta", "additive")
    assert COMPARISON not in desk.viewer.layers
    desk.press("T")
    assert desk.viewer.canvas.grid.enabled
    assert [layer.name for layer in desk.viewer.layers if layer.visible] == [fixed.name, moved.name]
    assert fixed.colormap.name == "gray"
    desk.press("W")
    assert not desk.viewer.canvas.grid.enabled
    desk.click(desk.panel.compare.buttons[Mode.WIPE])
    assert desk.looks() == before


def test_before_takes_the_place_of_moved_in_every_mode(desk):
    before = desk.looks()
    fixed, moving = desk.found[parts.FIXED], desk.found[parts.MOVING_BEFORE]
    desk.press("D")
    desk.press(BEFORE_KEY)
    assert desk.panel.compare.before.isChecked()
    np.testing.assert_allclose(np.asarray(desk.composite().data), np.abs(in_window(fixed) - in_window(moving)), atol=1e-6)
    desk.press("D")
    assert moving.visible
    assert not desk.found[parts.MOVED].visible
    desk.click(desk.panel.compare.before)
    assert desk.looks() == before
    # The wipe follows its slider, and the axis along the screen.
    desk.press("W")
    rule = desk.composite().data.rule
    assert rule.axis == 2
    desk.panel.compare.wipe.setValue(250)
    rule = desk.composite().data.rule
    assert rule.place == round(0.75 * (desk.found[parts.MOVED].data.shape[2] - 1)), "a quarter from the left, where x is largest"
    desk.viewer.dims.order = (2, 0, 1)
    assert desk.composite().data.rule.axis == 1
    desk.comparison.set_wipe_at(tuple(desk.found[parts.MOVED].data_to_world((0, 5, 0))))
    assert desk.composite().data.rule.place == 5


def test_labels_and_points_stay_with_their_image_side_by_side(desk, picture):
    viewer, grid = desk.viewer, desk.viewer.canvas.grid
    for data, arguments, kind in result_layers(picture):
        if arguments["name"] not in SHOWN:
            viewer.add_layer(Layer.create(data, {**arguments, "visible": False}, kind))
    found = {parts.part_of(layer): layer for layer in viewer.layers}
    order = [layer.name for layer in viewer.layers]
    for part in (parts.FIXED_LABELS, parts.MOVED_LABELS, parts.FIXED_LANDMARKS):
        found[part].visible = True
    desk.press("T")

    def column(part):
        return grid.position(list(viewer.layers).index(found[part]), list(viewer.layers))[1]

    assert [column(part) for part in (parts.FIXED, parts.FIXED_LABELS, parts.FIXED_LANDMARKS)] == [0, 0, 0]
    assert [column(part) for part in (parts.MOVED, parts.MOVED_LABELS)] == [1, 1]
    late = viewer.add_points([[1.0, 2.0, 3.0]], name="mine", units="mm", axis_labels=("z", "y", "x"))
    found["mine"] = late
    desk.settle()
    assert grid.actual_shape(list(viewer.layers)) == (1, 2)
    found[parts.MOVED_LANDMARKS].visible = True
    assert column(parts.MOVED_LANDMARKS) == 1
    desk.press(BEFORE_KEY)
    assert not found[parts.MOVED_LABELS].visible, "what was moved does not lie over moving as it was"
    desk.press("T")
    assert [layer.name for layer in viewer.layers] == [*order, "mine"]
    assert found[parts.MOVED_LABELS].visible


def test_the_modes_work_in_space_too(desk, qtbot):
    desk.viewer.dims.ndisplay = 3
    shown = {}
    for key in ("K", "D"):
        desk.press(key)
        qtbot.wait(100)
        shown[key] = desk.viewer.screenshot(canvas_only=True, flash=False)
        assert desk.composite().visible
        desk.press(key)
    assert all(picture[..., :3].std() > 1 for picture in shown.values()), "something is drawn"
    assert np.abs(shown["K"].astype(float) - shown["D"]).max() > 50


def test_flicker_shows_both_in_turn(desk, qtbot):
    desk.panel.compare.interval.setValue(100)
    desk.press("R")
    seen = []
    desk.comparison.flickered.connect(seen.append)
    qtbot.waitUntil(lambda: len(seen) >= 4, timeout=60_000)
    assert seen[:4] in (["fixed", "moved"] * 2, ["moved", "fixed"] * 2)
    desk.press("R")
    count = len(seen)
    qtbot.wait(300)
    assert len(seen) == count
    # The blend slider goes back to the blend.
    desk.press("U")
    desk.panel.controls.blend.setValue(70)
    desk.settle()
    assert desk.comparison.mode == Mode.BLEND
    assert desk.found[parts.MOVED].opacity == pytest.approx(0.7)
    assert desk.found[parts.MOVED].colormap.name == "gray"


def test_contrast_is_linked_and_reaches_the_composite(desk):
    fixed, moved, moving = (desk.found[part] for part in (parts.FIXED, parts.MOVED, parts.MOVING_BEFORE))
    low, high = fixed.contrast_limits
    start = moved.contrast_limits
    desk.press("K")
    fixed.contrast_limits = (low, low + (high - low) / 2)
    assert moved.contrast_limits == pytest.approx([start[0], start[0] + (start[1] - start[0]) / 2])
    assert moving.contrast_limits == pytest.approx(moved.contrast_limits)
    assert desk.composite().data.fixed_limits == pytest.approx(tuple(fixed.contrast_limits))
    desk.panel.compare.link.setChecked(False)
    moved.contrast_limits = start
    assert fixed.contrast_limits == pytest.approx([low, low + (high - low) / 2])
    assert desk.composite().data.other_limits == pytest.approx(tuple(start))


def test_a_deleted_layer_ends_the_mode_and_the_others_come_back(desk):
    before = desk.looks()
    for removed in (COMPARISON, parts.MOVING_BEFORE, parts.MOVED):
        desk.press("K")
        assert desk.comparison.mode == Mode.CHECKERBOARD
        desk.viewer.layers.remove(desk.composite() if removed == COMPARISON else desk.found.pop(removed))
        desk.settle()
        assert desk.comparison.mode == Mode.BLEND
        assert COMPARISON not in desk.viewer.layers
        after = desk.looks()
        assert after == {name: look for name, look in before.items() if name in after}
    desk.press("K")
    assert desk.comparison.mode == Mode.BLEND, "there is nothing left to compare with"
    assert not desk.panel.compare.buttons[Mode.CHECKERBOARD].isEnabled()


def test_the_cursor_is_read_live(desk, qtbot, picture):
    bar, canvas = desk.panel.compare, desk.canvas
    qtbot.mouseMove(canvas, QPoint(canvas.width() // 2, canvas.height() // 2))
    qtbot.mouseMove(canvas, QPoint(canvas.width() // 2 + 4, canvas.height() // 2 + 4))
    qtbot.waitUntil(lambda: bar.values["fixed"].text() not in ("", "–"), timeout=60_000)
    voxel = np.array([[12, 7, 5]])
    place = desk.found[parts.MOVED].data_to_world((5, 7, 12))
    bar.read_at(tuple(place))
    assert bar.values["moved"].text() == f"{float(np.asarray(desk.found[parts.MOVED].data)[tuple(voxel[0, ::-1])]):.4g}"
    assert "mm" in bar.values["in moving"].text()
    # Keys are gone with the panel.
    desk.press("K")
    desk.panel.shut_down()
    assert COMPARISON not in desk.viewer.layers
    desk.press("K")
    assert COMPARISON not in desk.viewer.layers
