import numpy as np
import pytest
from grids import GRIDS

from napari_deformreg.errors import InputError
from napari_deformreg.space import LabelMap, LandmarkPairs, Landmarks, Volume


def test_pairs_are_tied_by_name_not_by_order():
    fixed = Landmarks(np.array([[1.0, 0, 0], [2, 0, 0]]), ("a", "b"))
    moving = Landmarks(np.array([[20.0, 0, 0], [10, 0, 0]]), ("b", "a"))
    pairs = LandmarkPairs.match(fixed, moving)
    assert pairs.names == ("a", "b")
    np.testing.assert_array_equal(pairs.moving_points[:, 0], [10, 20])


def test_unmatched_names_are_named():
    fixed = Landmarks(np.zeros((2, 3)), ("a", "b"))
    moving = Landmarks(np.zeros((1, 3)), ("c",))
    with pytest.raises(InputError, match=r"2 fixed, 1 moving; only in fixed: a, b; only in moving: c"):
        LandmarkPairs.match(fixed, moving)


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        (np.zeros((2, 3)), ("a",), "2 landmark points but 1 names"),
        (np.zeros((2, 3)), ("a", "a"), "more than once: a"),
        (np.array([[0, 0, np.inf]]), ("far",), "finite numbers; these are not: far"),
    ],
)
def test_impossible_landmarks_are_refused(points, names, message):
    with pytest.raises(InputError, match=message):
        Landmarks(points, names)


def test_arrays_must_fit_their_grid():
    with pytest.raises(InputError, match="shape"):
        Volume(np.zeros((2, 2, 2), np.float32), GRIDS["RAS"])


def test_labels_leave_the_background_out():
    data = np.zeros(GRIDS["RAS"].shape, np.int16)
    data[0, 0, :2] = (7, 3)
    labels = LabelMap(data, GRIDS["RAS"])
    assert labels.labels == (3, 7)
    assert labels.data.dtype == np.int32
