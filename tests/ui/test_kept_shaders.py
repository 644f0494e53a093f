"""Vectors that change keep the program that draws them, and look as before."""

import numpy as np
import pytest
from vispy.visuals.shaders.program import ModularProgram

from napari_deformreg.ui.kept_shaders import keep_shaders

pytestmark = pytest.mark.window


def lines(count):
    vectors = np.zeros((count, 2, 2))
    vectors[:, 0] = [[5 + 2 * n, 5] for n in range(count)]
    vectors[:, 1] = (0, 20)
    return vectors


def test_other_vectors_are_drawn_without_another_program_and_alike(make_napari_viewer_proxy, qtbot, monkeypatch):
    viewer = make_napari_viewer_proxy(show=True)
    assert keep_shaders()
    assert keep_shaders(), "again and again is once"
    # The image's colors go through a colormap of its own, the vectors' are passed on as they are.
    viewer.add_image(np.linspace(0, 1, 900, dtype=np.float32).reshape(30, 30), contrast_limits=(0, 1))
    fresh = viewer.add_vectors(lines(5), edge_color="red", edge_width=1)
    viewer.reset_view()
    qtbot.wait(300)
    expected = viewer.screenshot(canvas_only=True, flash=False)
    viewer.layers.remove(fresh)
    layer = viewer.add_vectors(lines(2), edge_color="red", edge_width=1)
    qtbot.wait(300)
    viewer.screenshot(canvas_only=True, flash=False)
    built = []
    build = ModularProgram._build
    monkeypatch.setattr(ModularProgram, "_build", lambda program: (built.append(program), build(program)))
    layer.data = lines(5)
    layer.edge_color = "red"
    qtbot.wait(300)
    np.testing.assert_array_equal(viewer.screenshot(canvas_only=True, flash=False), expected)
    assert built == []
