"""Volumes made slice by slice equal those made at once."""

import numpy as np
import pytest
from napari.layers import Image

from napari_deformreg.ui.drawn_arrays import Bounded, Magnitude
from napari_deformreg.ui.regions import EVERYWHERE, Region, regions_of

INDICES = [np.s_[3], np.s_[3, 4], np.s_[:, 4], np.s_[1:6:2, :, 2], (3, 4, 5), np.s_[:, :, :]]


@pytest.fixture
def displacement(rng):
    return rng.normal(size=(7, 9, 11, 3)).astype(np.float32)


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, (7, 9, 11)).astype(np.int32)


@pytest.mark.parametrize("index", INDICES)
def test_magnitude_is_the_norm(displacement, index):
    np.testing.assert_allclose(Magnitude(displacement)[index], np.linalg.norm(displacement, axis=-1)[index], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(Magnitude(displacement)), np.linalg.norm(displacement, axis=-1), rtol=1e-6)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("number", [None, 2])
def test_outside_the_region_is_no_number(displacement, labels, index, number):
    whole = displacement[..., 0]
    inside = labels != 0 if number is None else labels == number
    np.testing.assert_array_equal(Bounded(whole, Region("r", labels, number))[index], np.where(inside, whole, np.nan)[index])
    np.testing.assert_array_equal(Bounded(whole, EVERYWHERE)[index], whole[index])


def test_napari_takes_them(displacement, labels):
    layer = Image(Bounded(Magnitude(displacement), Region("r", labels, 2)), contrast_limits=(0, 3))
    assert layer.ndim == 3
    z, y, x = np.argwhere(labels == 2)[0]
    assert np.isclose(layer.data[z, y, x], np.linalg.norm(displacement[z, y, x]))


def test_a_result_can_be_bounded_to_the_foreground_and_to_each_structure(picture, inputs):
    found = {region.title: region for region in regions_of(picture)}
    assert next(iter(found)) == "everywhere"
    names = inputs.fixed_labels.label_names
    for number, name in names.items():
        if (inputs.fixed_labels.data == number).any():
            assert found[name].inside(np.s_[:, :, :]).sum() == (inputs.fixed_labels.data == number).sum()
    foreground = found[picture.foreground.description]
    assert foreground.inside(np.s_[:, :, :]).sum() == picture.foreground.voxels
