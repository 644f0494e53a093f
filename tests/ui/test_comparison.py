"""Two images as one array: what is asked for is what the whole volume would hold there."""

import numpy as np
import pytest

from napari_deformreg.ui.comparison import Checkerboard, Composite, Wipe, difference, linked_limits, places_of

RNG = np.random.default_rng(0)
FIXED = RNG.uniform(0, 100, (6, 8, 10)).astype(np.float32)
OTHER = RNG.uniform(0, 1000, (6, 8, 10)).astype(np.float32)
KEYS = [(3, slice(None), slice(None)), (slice(None), 2, slice(None)), (slice(None), slice(None), 7), (slice(1, 5, 2), slice(None), 4), ...]


def composite(rule, fixed=FIXED, other=OTHER):
    return Composite(fixed, other, (0.0, 100.0), (0.0, 1000.0), rule)


@pytest.mark.parametrize("key", KEYS)
def test_places_are_the_indices_of_what_is_asked_for(key):
    grids = np.meshgrid(*[np.arange(n) for n in FIXED.shape], indexing="ij")
    for found, expected in zip(places_of(key, FIXED.shape), grids, strict=True):
        np.testing.assert_array_equal(found, expected[key])


def test_checkerboard_fields_alternate():
    """Neighboring fields come from different images, diagonal ones from the same; every voxel comes from one of the two."""
    rule = Checkerboard((2, 2, 5))
    shown = composite(rule)[3]
    fixed, other = FIXED[3] / 100, OTHER[3] / 1000
    for row in range(4):
        for column in range(2):
            field = (slice(2 * row, 2 * row + 2), slice(5 * column, 5 * column + 5))
            np.testing.assert_allclose(shown[field], (other if (row + column) % 2 else fixed)[field], rtol=1e-6)


def test_checkerboard_fields_stay_where_they_are_while_one_scrolls():
    rule = Checkerboard((2, 2, 5))
    chosen = [rule.shows_other(places_of((z, slice(None), slice(None)), FIXED.shape)) for z in range(6)]
    assert all((one == chosen[0]).all() for one in chosen)
    assert chosen[0].mean() == 0.5


@pytest.mark.parametrize("rule", [Checkerboard((3, 3, 3)), difference])
def test_a_slice_of_the_volume_is_the_slice_in_every_plane(rule):
    """The whole volume's checkerboard alternates across slices too, so it is compared by what each voxel may be."""
    whole = np.asarray(composite(rule))
    assert whole.shape == FIXED.shape
    assert whole.dtype == np.float32
    for key in KEYS[:3]:
        part = composite(rule)[key]
        choices = np.stack([FIXED[key] / 100, OTHER[key] / 1000, np.abs(FIXED[key] / 100 - OTHER[key] / 1000)])
        assert (np.abs(choices - part).min(0) < 1e-6).all()
        if rule is difference:
            np.testing.assert_array_equal(part, whole[key])


def test_difference_of_identical_images_is_zero_and_of_opposite_ones_one():
    same = Composite(FIXED, FIXED, (0.0, 100.0), (0.0, 100.0), difference)
    assert not np.asarray(same).any()
    black, white = np.zeros((2, 3, 4)), np.full((2, 3, 4), 7.0)
    np.testing.assert_array_equal(Composite(black, white, (0.0, 7.0), (0.0, 7.0), difference)[1], 1)


def test_difference_of_one_image_on_two_scales_is_zero():
    """Each image is judged within its own contrast: a scanner's gain is no difference."""
    twice = Composite(FIXED, 20 * FIXED + 5, (0.0, 100.0), (5.0, 2005.0), difference)
    np.testing.assert_allclose(np.asarray(twice), 0, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_wipe_shows_fixed_above_the_line_and_the_other_below(axis):
    place = 4
    shown = np.moveaxis(np.asarray(composite(Wipe(axis, place))), axis, 0)
    fixed, other = np.moveaxis(FIXED / 100, axis, 0), np.moveaxis(OTHER / 1000, axis, 0)
    np.testing.assert_allclose(shown[place + 1 :], fixed[place + 1 :], rtol=1e-6)
    np.testing.assert_allclose(shown[:place], other[:place], rtol=1e-6)
    np.testing.assert_array_equal(shown[place], 1)


def test_what_is_beyond_the_contrast_is_cut_off():
    shown = Composite(np.array([[[-5.0, 50, 500]]]), np.zeros((1, 1, 3)), (0.0, 100.0), (0.0, 1.0), Wipe(0, -1))
    np.testing.assert_allclose(np.asarray(shown), [[[0, 0.5, 1]]])


def test_linked_contrast_is_the_same_part_of_what_was_first_shown():
    assert linked_limits((10.0, 60.0), (0.0, 100.0), (0.0, 100.0)) == (10, 60)
    assert linked_limits((10.0, 60.0), (0.0, 100.0), (500.0, 1500.0)) == (600, 1100)
    there = linked_limits((-150.0, 250.0), (-1000.0, 200.0), (0.0, 80.0))
    assert linked_limits(there, (0.0, 80.0), (-1000.0, 200.0)) == pytest.approx((-150, 250))
    low, high = linked_limits((5.0, 5.0), (0.0, 1.0), (0.0, 1.0))
    assert high > low
