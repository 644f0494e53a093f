"""Landmark pairs and their history: plain values, no window."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_deformreg.errors import InputError
from napari_deformreg.io import write_landmarks
from napari_deformreg.space import LandmarkPairs, Landmarks
from napari_deformreg.ui.landmarks.history import History
from napari_deformreg.ui.landmarks.pair_list import Pair, PairList, Touched, Use, touched


@pytest.fixture
def two():
    """Two complete pairs."""
    pairs = PairList().added((1, 2, 3)).moved("1", moving_mm=(1.5, 2.5, 3.5))
    return pairs.added((-10, 20, -30)).accepted("2", (-11, 21, -31), 0.75)


def test_pairs_are_numbered_and_keep_number_and_color(two):
    assert two.names == ("1", "2")
    assert two["2"].confidence == 0.75
    again = two.deleted("1").added((0, 0, 0))
    assert again.names == ("2", "3"), "a number is never given twice"
    assert again["2"].color == two["2"].color != two["1"].color
    named = PairList((Pair(1, "2", (0.0, 0.0, 0.0)),), 2).added((1, 1, 1))
    assert len(set(named.names)) == 2, "a name that was given by hand is not given again"


def test_a_partner_placed_by_hand_has_no_confidence(two):
    assert two.moved("2", moving_mm=(0, 0, 0))["2"].confidence is None
    assert two.moved("2", fixed_mm=(0, 0, 0))["2"].confidence == 0.75


def test_a_locked_pair_stays(two):
    locked = two.changed("1", locked=True)
    for act in (
        lambda: locked.moved("1", fixed_mm=(0, 0, 0)), lambda: locked.deleted("1"), lambda: locked.accepted("1", (0, 0, 0), 1.0),
    ):  # fmt: skip
        with pytest.raises(InputError, match="locked"):
            act()
    assert locked.changed("1", locked=False) == two
    found = LandmarkPairs(("1", "2", "new"), np.zeros((3, 3)), np.ones((3, 3)))
    joined = locked.joined(found)
    assert joined["1"] == locked["1"]
    assert joined["2"].fixed_mm == (0, 0, 0)
    assert (joined["new"].number, joined["new"].moving_mm) == (3, (1, 1, 1))


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (Pair(1, " ", (0.0, 0.0, 0.0)), "no name"),
        (Pair(1, "a", (0.0, float("nan"), 0.0)), "finite"),
        (Pair(1, "a", (0.0, 0.0, 0.0), (0.0, 0.0, float("inf"))), "finite"),
        (Pair(1, "a", (0.0, 0.0, 0.0), weight=1.5), "expected 0 to 1"),
    ],
)
def test_wrong_pairs_are_refused(pair, said):
    with pytest.raises(InputError, match=said):
        PairList((pair,), 2)


def test_names_differ(two):
    with pytest.raises(InputError, match="more than once: 1"):
        two.changed("2", name="1")
    with pytest.raises(InputError, match="no color"):
        two.changed("2", color="red")
    with pytest.raises(InputError, match="no landmark pair 'x'"):
        two["x"]


def test_what_a_change_touches(two):
    assert not touched(two, two)
    assert touched(two, two.added((0, 0, 0))) == Touched(), "without a partner it drives nothing"
    assert touched(two, two.moved("1", moving_mm=(0, 0, 0))) == Touched(("1",))
    assert touched(two, two.moved("1", fixed_mm=(0, 0, 0))) == Touched(("1",), ((1, 2, 3),)), "also where it was"
    for less in (two.deleted("1"), two.changed("1", use=Use.HELD_OUT), two.changed("1", weight=0.0)):
        assert touched(two, less) == Touched((), ((1, 2, 3),))
        assert touched(less, two) == Touched(("1",))
    assert not touched(two, two.changed("1", name="apex", locked=True))
    assert touched(PairList(), two).names == ("1", "2")


def test_arrays_and_weights(two):
    pairs = two.changed("2", use=Use.HELD_OUT).changed("1", weight=0.5).added((0, 0, 0))
    arrays = pairs.landmark_pairs()
    assert arrays.names == ("1", "2")
    np.testing.assert_array_equal(arrays.fixed_points, [[1, 2, 3], [-10, 20, -30]])
    np.testing.assert_array_equal(arrays.moving_points, [[1.5, 2.5, 3.5], [-11, 21, -31]])
    assert pairs.weights() == {"1": 0.5, "2": 0.0}
    assert pairs.nearest((-9, 19, -29)).name == "2"
    assert PairList().nearest((0, 0, 0)) is None


def test_kept_as_json_to_the_last_bit(two, rng):
    pairs = two.moved("1", fixed_mm=rng.normal(size=3)).changed("2", use=Use.EXCLUDED, locked=True)
    assert PairList.from_mapping(json.loads(json.dumps(pairs.to_mapping()))) == pairs
    for wrong in ({}, {"pairs": [{}], "next_number": 1}, {"pairs": [{**pairs.to_mapping()["pairs"][0], "use": "x"}], "next_number": 2}):
        with pytest.raises(InputError, match="no landmark pairs"):
            PairList.from_mapping(wrong)


def saved(pairs, folder):
    arrays = pairs.landmark_pairs()
    found = b""
    for side, points in (("fixed", arrays.fixed_points), ("moving", arrays.moving_points)):
        write_landmarks(folder / f"{side}.csv", Landmarks(points, arrays.names))
        found += (folder / f"{side}.csv").read_bytes()
    return found


def test_a_long_history_goes_back_to_the_start_and_forward_to_the_end(rng, tmp_path):
    """Any sequence of steps: each state comes back bit for bit, in memory and as saved files."""
    history, states = History(), [PairList()]
    for _ in range(60):
        pairs = history.pairs
        name = str(rng.choice(pairs.names)) if len(pairs) else ""
        kind = rng.integers(6) if name else 0
        after = [
            lambda pairs, name: pairs.added(rng.normal(size=3)),
            lambda pairs, name: pairs.moved(name, moving_mm=rng.normal(size=3)),
            lambda pairs, name: pairs.moved(name, fixed_mm=rng.normal(size=3)),
            lambda pairs, name: pairs.changed(name, weight=float(rng.uniform())),
            lambda pairs, name: pairs.changed(name, use=Use.HELD_OUT),
            lambda pairs, name: pairs.deleted(name),
        ][kind](pairs, name)
        if history.do("step", after) is not None:
            states.append(after)
    files = [saved(state, tmp_path) for state in states]
    assert history.redo() is None
    for state, file in zip(reversed(states[:-1]), reversed(files[:-1]), strict=True):
        assert history.undo() is not None
        assert history.pairs == state
        assert saved(history.pairs, tmp_path) == file
    assert history.undo() is None
    for state, file in zip(states[1:], files[1:], strict=True):
        assert history.redo().after == state
        assert saved(history.pairs, tmp_path) == file
    assert history.to_redo is None


def test_a_new_step_forgets_what_was_taken_back(two):
    history = History(two)
    first = history.do("lock", two.changed("1", locked=True))
    assert history.do("the same", history.pairs) is None
    assert history.undo() is first
    assert not history.holds(first)
    second = history.do("rename", two.changed("1", name="apex"))
    assert history.to_redo is None
    assert history.holds(second)
    assert not history.holds(replace(second)), "the very step, not one like it"
    assert history.do("solve again", history.pairs, always=True) is not None
