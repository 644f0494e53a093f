"""A registration that starts from landmark pairs, some of them held out to judge it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_deformreg.errors import SettingsError
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings
from napari_deformreg.space import AffineTransform, Grid, Landmarks, Volume
from napari_deformreg.workflow import Inputs, finished, run
from napari_deformreg.workflow.inputs import driving_landmarks

QUICK = {"affine": {"mode": "rigid", "start": "landmarks"}, "search": {"mode": "off"}, "refine": {"mode": "off"}, "model": "none"}


@pytest.fixture(scope="module")
def turned():
    """The moving image lies 400 mm away, turned by 170 degrees: no header helps, and no search tries that."""
    pair = small_pair(shape=(32, 32, 32), seed=3)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(170) * np.array([0.6, 0.64, 0.48])).as_matrix()
    matrix[:3, 3] = [400.0, -50.0, 90.0]
    away = AffineTransform(matrix)
    moving = Volume(pair.moving.data, Grid(pair.moving.grid.shape, matrix @ pair.moving.grid.affine), "moving")
    points = Landmarks(away.map(pair.moving_landmarks.points), pair.moving_landmarks.names)
    return Inputs(pair.fixed, moving, fixed_landmarks=pair.fixed_landmarks, moving_landmarks=points)


def test_held_out_pairs_judge_what_the_others_started(turned):
    outcome = finished(run(turned, Settings.from_mapping({**QUICK, "held_out": 0.5})))
    errors = outcome.landmarks
    assert np.count_nonzero(errors.drove) == 5
    assert errors.before_mm.min() > 200
    assert errors.after_mm[~errors.drove].mean() < 4.0


def test_every_other_pair_is_held_out(turned):
    kept = driving_landmarks(turned, Settings.from_mapping({**QUICK, "held_out": 0.5}))
    assert kept.names == turned.landmark_pairs.names[::2]
    assert len(driving_landmarks(turned, Settings.from_mapping(QUICK))) == 10
    assert driving_landmarks(turned, Settings()) is None


def test_too_few_pairs(turned):
    with pytest.raises(SettingsError, match="needs at least 3 pairs; got 1"):
        finished(run(turned, Settings.from_mapping({**QUICK, "held_out": 0.9})))
    with pytest.raises(SettingsError, match="got 0"):
        finished(run(replace(turned, fixed_landmarks=None, moving_landmarks=None), Settings.from_mapping(QUICK)))
