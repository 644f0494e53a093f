"""The linked views in a real window: a click in one moves the others, and nothing is left behind."""

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_deformreg.ui import layers
from napari_deformreg.ui.crosshair import CROSSHAIR, crosshairs_of, raise_crosshair
from napari_deformreg.ui.orthogonal_dock import OrthogonalDock

pytestmark = pytest.mark.window


@pytest.fixture
def views(make_napari_viewer_proxy, qtbot, inputs):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_layer(Layer.create(*layers.image_layer(inputs.fixed, name="fixed")))
    dock = OrthogonalDock(viewer)
    viewer.window.add_dock_widget(dock, name="Orthogonal views", area="bottom")
    qtbot.waitUntil(lambda: CROSSHAIR in viewer.layers, timeout=20_000)
    yield viewer, dock
    dock.shut_down()


def middle_of(view, place):
    spot = view.to_screen(place[view.plane.vertical], place[view.plane.horizontal])
    return QPoint(round(spot.x()), round(spot.y()))


def test_a_click_in_one_view_moves_all_others(views, qtbot):
    viewer, dock = views
    coronal, sagittal = dock.views
    assert [view.plane.name for view in dock.views] == ["coronal", "sagittal"]
    target = tuple(viewer.layers["fixed"].data_to_world((15, 12, 6)))
    qtbot.mouseClick(coronal, Qt.MouseButton.LeftButton, pos=middle_of(coronal, target))
    qtbot.waitUntil(lambda: sagittal.place[0] == pytest.approx(target[0], abs=1.0), timeout=20_000)
    assert viewer.dims.current_step[0] == 15, "the canvas shows the slice that was clicked"
    assert viewer.dims.point[2] == pytest.approx(target[2], abs=1.0)
    assert viewer.dims.point[1] == pytest.approx(dock.place[1])
    target = tuple(viewer.layers["fixed"].data_to_world((9, 4, 6)))
    qtbot.mouseClick(sagittal, Qt.MouseButton.LeftButton, pos=middle_of(sagittal, target))
    qtbot.waitUntil(lambda: viewer.dims.current_step[:2] == (9, 4), timeout=20_000)


def test_a_click_on_the_canvas_moves_the_views_and_a_drag_does_not(views, qtbot):
    viewer, dock = views
    canvas = next(widget for widget in QApplication.allWidgets() if type(widget).__name__.startswith("CanvasBackend"))
    spot = QPoint(canvas.width() // 2 + 20, canvas.height() // 2 - 15)
    qtbot.mouseMove(canvas, spot)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=spot)
    half_voxel = max(viewer.layers["fixed"].scale) / 2 + 1e-6
    qtbot.waitUntil(lambda: np.allclose(dock.place[1:], viewer.cursor.position[-2:], atol=half_voxel), timeout=20_000)
    before = dock.place
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=spot)
    for n in range(1, 5):
        qtbot.mouseMove(canvas, spot + QPoint(10 * n, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=spot + QPoint(40, 0))
    assert dock.place == before


def test_the_views_follow_the_canvas(views, qtbot):
    viewer, dock = views
    viewer.dims.set_current_step(0, 3)
    qtbot.waitUntil(lambda: dock.views[0].place[0] == pytest.approx(viewer.dims.point[0]), timeout=20_000)
    assert set(viewer.layers[CROSSHAIR].data[2:, 0, 0] * viewer.layers[CROSSHAIR].scale[0]) == {viewer.dims.point[0]}
    viewer.dims.order = (2, 0, 1)
    qtbot.waitUntil(lambda: [view.plane.name for view in dock.views] == ["axial", "coronal"], timeout=20_000)
    dock.views[0].zoomed.emit(1.0)  # whatever the canvas did while the window took shape
    viewer.scene.camera.zoom *= 3
    assert dock.views[0].zoom == pytest.approx(3)
    viewer.scene.camera.zoom /= 6
    assert dock.views[0].zoom == 1
    viewer.scene.camera.zoom *= 4
    assert dock.views[0].zoom == pytest.approx(2), "zooming out and in again brings the views back"


def test_the_views_show_what_the_layers_look_like(views, qtbot):
    viewer, dock = views
    view = dock.views[0]

    def bright():
        image = view.grab().toImage()
        return [image.pixelColor(x, image.height() // 3).red() for x in range(0, image.width(), 3)]

    shown = bright()
    assert max(shown) > 60
    viewer.layers["fixed"].visible = False
    qtbot.waitUntil(lambda: max(bright()[20:-20]) < max(shown), timeout=20_000)
    viewer.layers["fixed"].visible = True
    qtbot.waitUntil(lambda: bright() == shown, timeout=20_000)


def test_the_wheel_steps_through_slices(views, qtbot):
    viewer, dock = views
    before = viewer.dims.current_step[1]
    dock.views[0].stepped.emit(1, 1)
    assert viewer.dims.current_step[1] == before + 1


def test_the_crosshair_goes_and_comes_and_is_not_forced_on_anybody(views, qtbot):
    viewer, dock = views
    dock.show_crosshair.click()
    qtbot.waitUntil(lambda: CROSSHAIR not in viewer.layers, timeout=20_000)
    dock.show_crosshair.click()
    qtbot.waitUntil(lambda: CROSSHAIR in viewer.layers, timeout=20_000)
    del viewer.layers[CROSSHAIR]
    assert not dock.show_crosshair.isChecked()
    qtbot.wait(100)
    assert CROSSHAIR not in viewer.layers


def test_nothing_is_left_behind(views):
    viewer, dock = views
    count = len(viewer.mouse_drag_callbacks)
    dock.shut_down()
    assert [layer.name for layer in viewer.layers] == ["fixed"]
    assert len(viewer.mouse_drag_callbacks) == count - 1
    dock.shut_down()


def opened(viewer, name):
    dock = OrthogonalDock(viewer)
    viewer.window.add_dock_widget(dock, name=name, area="bottom")
    return dock


def test_two_docks_share_one_crosshair(views, qtbot):
    viewer, first = views
    second = opened(viewer, "Orthogonal views (from the menu)")
    second.redraw()
    first.redraw()
    assert [layer.name for layer in viewer.layers] == ["fixed", CROSSHAIR]
    viewer.window.remove_dock_widget(second)
    assert [layer.name for layer in viewer.layers] == ["fixed", CROSSHAIR], "the first dock still shows it"
    assert first.show_crosshair.isChecked()
    third = opened(viewer, "Orthogonal views (again)")
    third.redraw()
    del viewer.layers[CROSSHAIR]
    assert not first.show_crosshair.isChecked()
    assert not third.show_crosshair.isChecked(), "thrown away for both"
    third.show_crosshair.click()
    qtbot.waitUntil(lambda: CROSSHAIR in viewer.layers, timeout=20_000)
    viewer.window.remove_dock_widget(first)
    assert CROSSHAIR in viewer.layers
    viewer.window.remove_dock_widget(third)
    assert [layer.name for layer in viewer.layers] == ["fixed"]


def test_no_crosshair_stays_however_quickly_docks_come_and_go(views, qtbot):
    viewer, dock = views
    viewer.window.remove_dock_widget(dock)
    for n in range(6):
        quick = opened(viewer, f"quick {n}")
        quick.schedule()
        if n % 2:
            quick.redraw()
        if n % 3:
            qtbot.wait(10 * n)
        viewer.window.remove_dock_widget(quick)
        assert crosshairs_of(viewer) == []
    qtbot.wait(100)
    assert [layer.name for layer in viewer.layers] == ["fixed"]


def test_a_copy_of_the_crosshair_does_not_stay_behind(views):
    viewer, dock = views
    viewer.add_layer(Layer.create(*viewer.layers[CROSSHAIR].as_layer_data_tuple()))
    assert len(crosshairs_of(viewer)) == 2
    dock.redraw()
    assert len(crosshairs_of(viewer)) == 1
    viewer.add_layer(Layer.create(*viewer.layers[CROSSHAIR].as_layer_data_tuple()))
    dock.shut_down()
    assert [layer.name for layer in viewer.layers] == ["fixed"]


def test_the_crosshair_follows_to_images_of_another_spacing(views, inputs):
    viewer, dock = views
    viewer.layers["fixed"].scale = np.asarray(viewer.layers["fixed"].scale) / 2
    dock.redraw()
    crosshair = viewer.layers[CROSSHAIR]
    assert tuple(crosshair.scale) == tuple(viewer.layers["fixed"].scale)
    low, high = viewer.layers["fixed"].extent.world
    drawn = crosshair.extent.world
    assert (drawn[0] >= low - 1e-3).all()
    assert (drawn[1] <= high + 1e-3).all()


def test_the_crosshair_comes_above_a_later_result(views, inputs):
    viewer, _ = views
    viewer.add_layer(Layer.create(*layers.image_layer(inputs.fixed, name="later")))
    viewer.layers[CROSSHAIR].visible = False  # as opening a result hides what was there
    raise_crosshair(viewer)
    assert [layer.name for layer in viewer.layers] == ["fixed", "later", CROSSHAIR]
    assert viewer.layers[CROSSHAIR].visible
