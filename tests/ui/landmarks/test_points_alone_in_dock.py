"""Fits through the pairs alone in the Landmarks dock: shown as a registration, with residuals, undone to the bit, judged honestly."""

import numpy as np
import pytest
from landmark_helpers import settle
from qtpy.QtCore import Qt

from napari_deformreg.engine import resample
from napari_deformreg.io import WeightedPairs
from napari_deformreg.space import LandmarkPairs
from napari_deformreg.space.point_fits import fit_pairs
from napari_deformreg.ui import result_layers as parts
from napari_deformreg.ui.landmarks.points_page import KINDS

pytestmark = pytest.mark.window


def press(button, qtbot):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def page(dock, outcome, qtbot):
    """With the case's own landmarks as pairs, the last one held out of the fit."""
    settle(dock, qtbot)
    dock.page.at_once.setChecked(False)
    inputs = outcome.inputs
    pairs = LandmarkPairs.match(inputs.fixed_landmarks, inputs.moving_landmarks)
    dock.desk.join(WeightedPairs(pairs, np.ones(len(pairs))), "the case")
    press(dock.page.points.title, qtbot)
    return dock.page.points


def test_every_fit_is_shown_with_its_residuals_and_taken_back(dock, page, viewer, panel, outcome, qtbot):
    now, inputs = dock.desk.case.now, outcome.inputs
    before = now.displacement.displacement_mm.copy()
    pairs, shown = dock.desk.pairs.landmark_pairs(), {parts.part_of(layer): layer for layer in viewer.layers}
    moved_before = np.array(shown[parts.MOVED].data)
    for kind, _ in KINDS:
        page.kind.setCurrentIndex(page.kind.findData(kind))
        press(page.fit_button, qtbot)
        settle(dock, qtbot)
        fit = fit_pairs(pairs, kind)
        tolerance = 0.25 if kind == "thin_plate" else 0.02
        np.testing.assert_allclose(now.partners(pairs.fixed_points), fit.map(pairs.fixed_points), atol=tolerance)
        rows = {row["name"]: row["residual_mm"] for row in dock.page.table.rows_model.rows}
        for name, left in zip(pairs.names, np.linalg.norm(fit.map(pairs.fixed_points) - pairs.moving_points, axis=1), strict=True):
            assert rows[name] == pytest.approx(left, abs=2 * tolerance)
        wanted = now.placement.to_layer_array(resample(inputs.moving, inputs.fixed.grid, fit).data)
        difference = np.abs(np.asarray(shown[parts.MOVED].data) - wanted)
        assert np.percentile(difference, 99) < 0.02 * np.ptp(wanted)
    assert not panel.save_button.isEnabled()
    for _ in KINDS:
        press(dock.page.undo_button, qtbot)
        settle(dock, qtbot)
    np.testing.assert_array_equal(now.displacement.displacement_mm, before)
    np.testing.assert_allclose(shown[parts.MOVED].data, moved_before, atol=1e-3 * np.ptp(moved_before))
    assert panel.save_button.isEnabled()


def test_a_fit_follows_every_step_and_too_few_pairs_are_told(dock, page, qtbot):
    now = dock.desk.case.now
    dock.page.at_once.setChecked(True)
    page.kind.setCurrentIndex(page.kind.findData("affine"))
    page.follow.setChecked(True)
    name = dock.desk.pairs.names[0]
    dock.desk.do("move", dock.desk.pairs.moved(name, fixed_mm=np.add(dock.desk.pairs[name].fixed_mm, 3.0)))
    settle(dock, qtbot)
    pairs = dock.desk.pairs.landmark_pairs()
    np.testing.assert_allclose(now.partners(pairs.fixed_points), fit_pairs(pairs, "affine").map(pairs.fixed_points), atol=0.02)
    page.follow.setChecked(False)
    dock.page.at_once.setChecked(False)
    for one in dock.desk.pairs.names[2:]:
        dock.desk.choose(one)
        dock.act("delete")
    steps = dock.desk.history.to_undo
    press(page.fit_button, qtbot)
    assert dock.desk.history.to_undo is steps, "no step for what cannot be done"
    assert "pairs" in dock.page.message.text()


def test_pairs_that_drove_do_not_judge(dock, page, panel, outcome, qtbot):
    """Measure: the case's own landmarks were fitted, all but the one that was held out; what is judged is that one alone."""
    held = dock.desk.pairs.names[-1]
    dock.desk.choose(held)
    press(dock.page.hold_out_button, qtbot)
    page.kind.setCurrentIndex(page.kind.findData("rigid"))
    press(page.fit_button, qtbot)
    settle(dock, qtbot)
    assert not panel.save_button.isEnabled()
    before = dock.desk.case.now.displacement.displacement_mm.copy()
    press(dock.page.measure_button, qtbot)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: panel.save_button.isEnabled() and not dock.desk.case.busy, timeout=300_000)
    errors = panel.current.outcome.landmarks
    assert [name for name, drove in zip(errors.pairs.names, errors.drove, strict=True) if not drove] == [held]
    np.testing.assert_array_equal(panel.current.outcome.result.displacement.displacement_mm, before)
    driven = LandmarkPairs.match(outcome.inputs.fixed_landmarks, outcome.inputs.moving_landmarks)
    which = driven.names.index(held)
    kept = [n for n in range(len(driven)) if n != which]
    fit = fit_pairs(LandmarkPairs(tuple(driven.names[n] for n in kept), driven.fixed_points[kept], driven.moving_points[kept]), "rigid")
    truth = np.linalg.norm(fit.map(driven.fixed_points[which][None])[0] - driven.moving_points[which])
    assert errors.after_mm[errors.pairs.names.index(held)] == pytest.approx(truth, abs=0.05)
    press(dock.page.undo_button, qtbot)
    settle(dock, qtbot)
    assert not panel.save_button.isEnabled(), "what is shown is not what was measured"
    np.testing.assert_array_equal(dock.desk.case.now.displacement.displacement_mm, outcome.result.displacement.displacement_mm)
