"""One fold is repaired, alone, and what it cost is said."""

from dataclasses import replace

import numpy as np
import pytest

from napari_deformreg.errors import InputError
from napari_deformreg.phantom import small_pair
from napari_deformreg.settings import Settings
from napari_deformreg.space import DisplacementField
from napari_deformreg.space.jacobian import digital_minimum, displacement_mm_to_vox
from napari_deformreg.workflow import Inputs, evaluate, finished, repair_fold, run

QUICK = Settings.from_mapping(
    {"affine": {"mode": "rigid", "start": "header"}, "search": {"mode": "off"}, "refine": {"shrink_factors": (2.0,), "steps": (5,)}}
)
PLACES = ((7, 15, 11), (16, 9, 12))


@pytest.fixture(scope="module")
def folded():
    """Two folds, far apart, planted into a registration that has none."""
    pair = small_pair(shape=(24, 24, 24), seed=3)
    outcome = finished(run(Inputs(pair.fixed, pair.moving), QUICK))
    assert not outcome.folds.regions
    u = outcome.result.displacement.displacement_mm.copy()
    for place in PLACES:
        u[place] += 2.5 * outcome.inputs.fixed.grid.spacing
    grid = outcome.inputs.fixed.grid
    return evaluate(outcome.inputs, replace(outcome.result, displacement=DisplacementField(grid, u), velocity_vox=None))


@pytest.fixture(scope="module")
def repaired(folded):
    return finished(repair_fold(folded, folded.folds.regions[0].label))


def test_the_chosen_fold_goes_and_the_other_stays(folded, repaired):
    assert len(folded.folds.regions) == 2
    first, second = folded.folds.regions
    after = repaired.outcome
    assert [region.center_voxel for region in after.folds.regions] == [second.center_voxel]
    # Asked of the field itself, too: nothing folds where the fold was.
    smallest = digital_minimum(displacement_mm_to_vox(after.result.displacement.displacement_mm, after.inputs.fixed.grid))
    assert (smallest[folded.folds.labels == first.label] > 0).all()
    changed = (after.result.displacement.displacement_mm != folded.result.displacement.displacement_mm).any(-1)
    reach = np.abs(np.argwhere(changed) - np.array(first.center_voxel)).max()
    assert 0 < reach <= 6, "only the surroundings are changed"


def test_the_inverse_belongs_to_the_repaired_field(folded, repaired):
    at = folded.folds.regions[0].center_voxel
    near = tuple(slice(n - 2, n + 3) for n in at)
    before, after = (np.nanmax(outcome.report.consistency.map_mm[near]) for outcome in (folded, repaired.outcome))
    assert after < 0.25 * before


def test_what_it_cost_is_the_similarity_before_and_after(folded, repaired):
    whole = {name: folded.report.value(name).value for name in ("ncc", "lncc", "nmi")}
    assert vars(repaired.whole_before) == pytest.approx(whole)
    assert vars(repaired.whole_after) == pytest.approx({name: repaired.outcome.report.value(name).value for name in whole})
    assert repaired.near_voxels < repaired.whole_voxels
    assert "repaired" in repaired.text


def test_a_fold_that_is_not_there(folded):
    with pytest.raises(InputError, match="no fold region 9"):
        finished(repair_fold(folded, 9))
