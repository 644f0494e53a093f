"""The form shows every setting and gives it back unchanged."""

import json
from pathlib import Path

import pytest
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFileDialog, QLineEdit

from napari_deformreg.errors import SettingsError
from napari_deformreg.settings import PRESETS, Settings
from napari_deformreg.ui import model_choice
from napari_deformreg.ui.register_page import RegisterPage
from napari_deformreg.ui.settings_form import SettingsForm

pytestmark = pytest.mark.window


@pytest.fixture
def form(qtbot):
    form = SettingsForm(Settings)
    qtbot.addWidget(form)
    return form


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_comes_back(form, preset):
    settings = Settings.from_preset(preset)
    form.setValue(settings)
    assert form.value() == settings


def test_unusual_values_come_back(form):
    settings = Settings.from_mapping(
        {
            "seed": 12345,
            "intensity_range": (-1000.25, 1e-7),
            "refine": {"shrink_factors": (7.3, 1.0), "steps": (3, 999), "regularizer_weight": 0.012345, "symmetric": False},
            "folds": {"repair": False, "margin": 0.333},
        }
    )
    form.setValue(settings)
    assert form.value() == settings


def test_a_past_runs_settings_load_back(qtbot):
    """What settings.json holds is shown as it was."""
    page = RegisterPage()
    qtbot.addWidget(page)
    past = Settings.from_preset("lung-ct").changed(device="cpu", seed=7, refine={"similarity": "lncc"})
    page.set_settings(Settings.from_json(past.to_json()))
    assert json.loads(page.settings().to_json()) == json.loads(past.to_json())


def test_edits_arrive_in_the_value(form, qtbot):
    with qtbot.waitSignal(form.changed):
        form.findChild(QDoubleSpinBox, "reach_mm").setValue(50.5)
    form.findChild(QComboBox, "similarity").setCurrentText("nmi")
    steps = tuple(range(10, 10 + len(Settings().refine.shrink_factors)))
    form.findChild(QLineEdit, "steps").setText(", ".join(map(str, steps)))
    value = form.value()
    assert value.search.reach_mm == 50.5
    assert value.affine.similarity == "nmi"
    assert value.refine.steps == steps


def test_nonsense_is_named(form):
    form.findChild(QLineEdit, "steps").setText("ten, 20")
    with pytest.raises(SettingsError, match=r"steps.*'ten, 20'"):
        form.value()


def test_out_of_bounds_is_named(form):
    form.findChild(QLineEdit, "shrink_factors").setText("0.25")
    with pytest.raises(SettingsError, match=r"refine: shrink factors.*0.25"):
        form.value()


def test_choosing_a_preset_shows_its_settings_and_help(qtbot):
    page = RegisterPage()
    qtbot.addWidget(page)
    page.preset.setCurrentText("multimodal")
    assert page.settings().refine.similarity == Settings.from_preset("multimodal").refine.similarity
    assert "contrasts" in page.preset_help.text()


def test_every_field_explains_itself(form):
    found = form.findChildren((QComboBox, QDoubleSpinBox, QLineEdit))
    widgets = [widget for widget in found if widget.objectName() and not widget.objectName().startswith("qt_")]
    assert widgets
    assert [widget.objectName() for widget in widgets if widget.toolTip() == "<p></p>"] == []


def test_networks_are_offered_with_a_sentence_each(qtbot, monkeypatch):
    bundled = list(model_choice.BUNDLED_MODELS)
    monkeypatch.setitem(model_choice.BUNDLED_MODELS, "head-1", "For heads.")
    monkeypatch.setitem(model_choice.SENTENCES, "head-1", "For heads.")
    monkeypatch.setitem(model_choice.PRESET_MODELS, "brain-mri", "head-1")
    page = RegisterPage()
    qtbot.addWidget(page)
    offered = [page.model.combo.itemText(n) for n in range(page.model.combo.count())]
    assert offered == ["auto", "none", *bundled, "head-1", model_choice.OPEN]
    assert all(model_choice.SENTENCES[name] for name in bundled)
    assert "names no network" in page.model.help.text()
    page.preset.setCurrentText("brain-mri")
    assert "takes head-1: For heads." in page.model.help.text()
    page.model.combo.setCurrentText("none")
    assert page.settings().model == "none"
    assert "No network" in page.model.help.text()
    page.preset.setCurrentText("generic")
    assert page.settings().model == "none", "the choice outlives a change of preset"


def test_a_past_runs_network_file_is_shown(qtbot):
    page = RegisterPage()
    qtbot.addWidget(page)
    page.set_settings(Settings().changed(model="/data/mine.safetensors"))
    assert page.model.combo.currentText() == "mine.safetensors"
    assert page.settings().model == "/data/mine.safetensors"


def test_opening_a_checkpoint_tells_the_file_and_keeps_the_choice_until_it_is_checked(qtbot, monkeypatch):
    page = RegisterPage()
    qtbot.addWidget(page)
    page.model.combo.setCurrentText("none")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/data/mine.safetensors", ""))
    with qtbot.waitSignal(page.model.file_given) as given:
        page.model.combo.setCurrentText(model_choice.OPEN)
    assert given.args == [Path("/data/mine.safetensors")]
    assert page.settings().model == "none"
    page.model.take_file(given.args[0], "A fine network.")
    assert page.settings().model == "/data/mine.safetensors"
    assert page.model.help.text() == "A fine network."
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    page.model.combo.setCurrentText(model_choice.OPEN)
    assert page.settings().model == "/data/mine.safetensors"
