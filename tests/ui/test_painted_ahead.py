"""Texts that were painted unseen leave nothing behind."""

import pytest

from napari_deformreg.ui.painted_ahead import paint_ahead
from napari_deformreg.ui.turns import Turns

pytestmark = pytest.mark.window


def look_of(viewer):
    text, bar = viewer.canvas.overlays.text, viewer.canvas.overlays.scale_bar
    return text.text, text.opacity, text.visible, bar.opacity, bar.visible


def test_everything_is_as_it_was(make_napari_viewer, qtbot):
    viewer, turns, seen = make_napari_viewer(), Turns(), []
    before = look_of(viewer)
    viewer.canvas.overlays.text.events.text.connect(lambda: seen.append((viewer.canvas.overlays.text.text, look_of(viewer)[1])))
    turns.run(paint_ahead(viewer, "RL"))
    qtbot.waitUntil(lambda: not turns.busy, timeout=20_000)
    assert [text for text, _ in seen][:2] == ["R", "RL"]
    assert all(opacity == 0 for _, opacity in seen)
    assert look_of(viewer) == before


def test_stopping_half_way_restores_too(make_napari_viewer, qtbot):
    viewer, turns = make_napari_viewer(), Turns()
    before = look_of(viewer)
    turns.run(paint_ahead(viewer, "RL"))
    qtbot.waitUntil(lambda: viewer.canvas.overlays.text.text != "", timeout=20_000)
    turns.stop()
    assert look_of(viewer) == before


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_text_of_the_users_own_stays(make_napari_viewer, qtbot, when):
    viewer, turns = make_napari_viewer(), Turns()
    text = viewer.canvas.overlays.text
    if when == "before":
        text.text, text.visible = "mine", True
    turns.run(paint_ahead(viewer, "RLAPSI"))
    if when == "meanwhile":
        qtbot.waitUntil(lambda: text.text != "", timeout=20_000)
        text.text = "mine"
    qtbot.waitUntil(lambda: not turns.busy, timeout=20_000)
    assert (text.text, text.opacity) == ("mine", 1.0)
