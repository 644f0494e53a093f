"""One scale from a preview to the best: what it multiplies, and that nothing folds on the way."""

import numpy as np
import pytest
import torch
from test_stages import errors_mm, structure_points

from napari_deformreg.engine import register, start_stage
from napari_deformreg.engine.case import Run, prepared_case
from napari_deformreg.engine.model_start import Start
from napari_deformreg.engine.plan import plan_levels
from napari_deformreg.engine.tensors import choose_device
from napari_deformreg.errors import SettingsError
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import EFFORTS, PRESETS, Settings
from napari_deformreg.space import AffineTransform, Grid
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox

QUICK = Settings().changed(refine={"steps": (20, 20, 20, 15), "cpu_velocity_mvox": 0.016})


@pytest.fixture(scope="module")
def pair():
    return small_pair((32, 32, 32), seed=3)


@pytest.mark.parametrize("effort", ["fast", "best"])
def test_every_effort_recovers_the_truth_without_folds(pair, effort):
    asked = QUICK.changed(effort=effort)
    result = register(pair.fixed, pair.moving, asked)
    assert result.settings == asked, "what the effort makes of the settings is not what was asked for"
    before = np.linalg.norm(structure_points(pair) - pair.fixed_to_moving.map(structure_points(pair)), axis=1)
    assert errors_mm(pair, result).mean() < {"fast": 0.3, "best": 0.2}[effort] * before.mean()
    assert not digital_fold_mask(displacement_mm_to_vox(result.displacement.displacement_mm, pair.fixed.grid)).any()
    points = structure_points(pair)
    back = result.moving_to_fixed.map(result.fixed_to_moving.map(points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.05 * pair.fixed.grid.spacing[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_effort_scales_work_and_the_default_changes_nothing(preset):
    settings = Settings.from_preset(preset)
    assert settings.at_effort is settings
    grid, cpu = Grid((160, 192, 224), np.eye(4)), choose_device("cpu")
    work = {
        effort: sum(level.work for level in plan_levels(grid, settings.changed(effort=effort).at_effort, cpu)) for effort in EFFORTS
    }
    assert work["fast"] < 0.5 * work["default"]
    assert (work["best"] > 1.5 * work["default"]) if preset == "brain-mri" else (work["best"] == work["default"])
    lattices = {
        effort: max(np.prod(level.shape) for level in plan_levels(grid, settings.changed(effort=effort).at_effort, cpu))
        for effort in EFFORTS
    }
    assert lattices["fast"] < lattices["default"] == lattices["best"]


def test_scaled_settings_are_settings():
    """What the engine runs is within the bounds of what a file may say, from the extremes too."""
    extreme = Settings().changed(refine={"steps": (2000, 0, 1, 2000), "tolerance": 1.0, "cpu_velocity_mvox": 0.001})
    for effort in EFFORTS:
        scaled = extreme.changed(effort=effort).at_effort
        assert Settings.from_json(scaled.to_json()) == scaled


def test_effort_is_kept_in_the_settings_file():
    settings = Settings.from_preset("lung-ct").changed(effort="fast")
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(SettingsError, match="effort"):
        Settings.from_json('{"effort": "faster"}')


@pytest.mark.parametrize(
    ("effort", "network", "searches"),
    [
        ("fast", "wins", []), ("fast", "loses", []),
        ("default", "wins", ["rival"]), ("default", "loses to the search", ["rival", "full"]), ("default", "loses", ["full"]),
        ("best", "wins", ["full"]),
    ],
)  # fmt: skip
def test_the_search_beside_a_network(pair, monkeypatch, effort, network, searches):
    made = []
    sizes = {start_stage.RIVAL_VOXELS: "rival", start_stage.SEARCH_VOXELS: "full"}
    found = {name: Start(name, torch.zeros((1, 3, 4, 4, 4))) for name in ("network", "rival", "full")}
    best = {"wins": "network", "loses to the search": "full", "loses": "full"}[network]

    def search(case, affine, voxels, run):
        if voxels:
            made.append(sizes[voxels])
        return [found[sizes[voxels]]] if voxels else []
        yield

    def predict(case, affine, run):
        return [found["network"]]
        yield

    def choose(case, affine, starts, run):
        names = [start.name for start in starts]
        if names == ["network"]:
            return None if network == "loses" else found["network"]
        return found["network"] if best == "network" else next(start for start in starts if start.name in ("full", "rival"))

    for name, stand_in in (("_search", search), ("_predict", predict), ("_chosen_start", choose)):
        monkeypatch.setattr(start_stage, name, stand_in)
    cpu = choose_device("cpu")
    run = Run(QUICK.changed(effort=effort), QUICK, cpu, model=object())
    case = prepared_case(cpu, pair.fixed, pair.moving, QUICK, (None, None), None, (None, None))
    with pytest.raises(StopIteration) as end:
        next(start_stage.start_steps(case, AffineTransform.identity(), run))
    assert made == searches
    spared = effort == "fast" and network == "loses"
    assert end.value.value is (None if spared else found[best])
