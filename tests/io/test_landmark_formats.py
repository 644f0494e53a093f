"""Landmarks of other programs: Slicer's markups, elastix's points, BigWarp's pairs."""

import json

import numpy as np
import pytest

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_bigwarp, read_landmarks, read_pairs, write_bigwarp, write_landmarks, write_pairs
from napari_deformreg.space import Grid, LandmarkPairs, Landmarks

POINTS = np.array([[1.5, -2.25, 3.0], [-100.125, 55.0, 1204.5], [0.1, 0.2, -0.3]])
LANDMARKS = Landmarks(POINTS, ("carina", "apex, left", 'the "third"'))


@pytest.mark.parametrize("suffix", [".csv", ".fcsv", ".mrk.json"])
def test_names_and_places_come_back(suffix, tmp_path):
    path = tmp_path / f"points{suffix}"
    write_landmarks(path, LANDMARKS)
    again = read_landmarks(path)
    assert again.names == LANDMARKS.names
    np.testing.assert_allclose(again.points, POINTS, atol=1e-6)


@pytest.mark.parametrize("suffix", [".pts", ".txt"])
def test_elastix_keeps_the_places_in_their_order(suffix, tmp_path):
    path = tmp_path / f"points{suffix}"
    write_landmarks(path, LANDMARKS)
    assert path.read_text().splitlines()[:3] == ["point", "3", "-1.500000 2.250000 3.000000"]  # LPS
    again = read_landmarks(path)
    assert again.names == ("P1", "P2", "P3")
    np.testing.assert_allclose(again.points, POINTS, atol=1e-6)


def markups(**changes):
    point = {"id": "7", "label": "tip", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}
    unset = {"id": "8", "label": "later", "position": None, "positionStatus": "undefined"}
    one = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": [point, unset], **changes}
    return json.dumps({"@schema": "markups-schema-v1.0.3.json#", "markups": [one]})


@pytest.mark.parametrize(("system", "signs"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1)), (0, (1, 1, 1))])
def test_slicers_markups(system, signs, tmp_path):
    path = tmp_path / "F.mrk.json"
    path.write_text(markups(coordinateSystem=system))
    found = read_landmarks(path)
    assert found.names == ("tip",)
    np.testing.assert_array_equal(found.points, [np.array([1, 2, 3]) * signs])


def test_written_markups_say_what_they_are(tmp_path):
    write_landmarks(tmp_path / "F.mrk.json", LANDMARKS)
    content = json.loads((tmp_path / "F.mrk.json").read_text())
    one = content["markups"][0]
    assert (one["type"], one["coordinateSystem"], one["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert one["controlPoints"][0]["position"] == [-1.5, 2.25, 3.0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("F.mrk.json", "{", "no markups file"),
        ("F.mrk.json", '{"points": []}', "expected a list 'markups'"),
        ("F.mrk.json", markups(coordinateSystem="IJK"), "the coordinate system is 'IJK'"),
        ("F.mrk.json", markups(coordinateUnits="inch"), "the coordinates are in 'inch'"),
        ("F.mrk.json", markups(controlPoints=[{"position": [1, "x", 2]}]), "point 1: expected three numbers"),
        ("p.pts", "index\n1\n1 2 3\n", "voxel indices"),
        ("p.pts", "point\n2\n1 2 3\n", "holds 2 points, but 1 lines follow"),
        ("p.pts", "point\n1\n1 2 x\n", "point 1: expected two or three numbers"),
        ("p.txt", "#Insight Transform File V1.0\n", "no points file of elastix"),
    ],
)
def test_refusals(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_landmarks(tmp_path / name)


def test_nothing_placed(tmp_path):
    (tmp_path / "F.mrk.json").write_text(markups(controlPoints=[]))
    with pytest.raises(InputError, match="no placed points"):
        read_landmarks(tmp_path / "F.mrk.json")


PAIRS = LandmarkPairs(LANDMARKS.names, POINTS, POINTS * 0.3 + 7 / 3)
WEIGHTS = np.array([1.0, 0.0, 0.1])


def test_pairs_come_back_to_the_bit(tmp_path):
    first, second = tmp_path / "pairs.csv", tmp_path / "again.csv"
    write_pairs(first, PAIRS, WEIGHTS)
    found = read_pairs(first)
    assert found.pairs.names == PAIRS.names
    for ours, theirs in ((found.pairs.fixed_points, PAIRS.fixed_points), (found.pairs.moving_points, PAIRS.moving_points)):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.weights, WEIGHTS)
    write_pairs(second, found.pairs, found.weights)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("name,x,y,z\na,1,2,3\n", FileFormatError, "no table of landmark pairs"),
        ("name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\na,1,2,3,4,5,nan\n", FileFormatError, "line 2: expected a finite number"),
        ("name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\na,1,2,3,4,5\n", FileFormatError, "line 2: expected 7 values; got 6"),
        ("name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z,weight\na,1,2,3,4,5,6,2\n", InputError, "weight is 2"),
        ("name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\na,1,2,3,4,5,6\na,1,2,3,4,5,6\n", InputError, "more than once: a"),
    ],
)
def test_refused_pairs(text, kind, message, tmp_path):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(kind, match=message):
        read_pairs(tmp_path / "pairs.csv")


GRIDS = (
    Grid((20, 30, 10), np.array([[0, 0, 2.5, 4], [-1.5, 0, 0, 30], [0, -0.8, 0, 9], [0, 0, 0, 1.0]])),
    Grid((40, 20, 15), np.array([[0.9, -0.4, 0, 5], [0.4, 0.9, 0, -7], [0, 0, 1.0, 3], [0, 0, 0, 1.0]])),
)


@pytest.mark.parametrize("grids", [GRIDS, (None, None)])
def test_bigwarp_comes_back(grids, tmp_path):
    write_bigwarp(tmp_path / "landmarks.csv", PAIRS, *grids, weights=WEIGHTS)
    found = read_bigwarp(tmp_path / "landmarks.csv", *grids)
    assert found.pairs.names == PAIRS.names
    np.testing.assert_allclose(found.pairs.fixed_points, PAIRS.fixed_points, atol=1e-9)
    np.testing.assert_allclose(found.pairs.moving_points, PAIRS.moving_points, atol=1e-9)
    np.testing.assert_array_equal(found.weights, [1, 0, 1])


def test_bigwarps_own_file(tmp_path):
    """As BigWarp 9 writes it: moving first, what is not set as Infinity, images by voxel size alone."""
    (tmp_path / "landmarks.csv").write_text(
        '"Pt-0","true","3.0","1.6","5.0","1.0","2.0","4.0"\n'
        '"Pt-1","true","1.0","2.0","3.0","Infinity","Infinity","Infinity"\n'
        '"Pt-2","false","0.0","0.0","0.0","0.0","0.0","0.0"\n'
    )
    fixed, moving = Grid((9, 9, 9), np.diag([1.0, 2.0, 4.0, 1.0])), GRIDS[0]
    found = read_bigwarp(tmp_path / "landmarks.csv", fixed, moving)
    assert found.pairs.names == ("Pt-0", "Pt-2")
    np.testing.assert_allclose(found.pairs.fixed_points, [[1, 2, 4], [0, 0, 0]])
    # spacing 1.5, 0.8, 2.5: voxel 2, 2, 2
    np.testing.assert_allclose(found.pairs.moving_points, [moving.voxel_to_world(np.array([[2.0, 2, 2]]))[0], [4, 30, 9]])
    np.testing.assert_array_equal(found.weights, [1, 0])


def test_bigwarp_of_slices(tmp_path):
    (tmp_path / "landmarks.csv").write_text('"Pt-0","true","3.0","1.6","1.0","2.0"\n')
    found = read_bigwarp(tmp_path / "landmarks.csv")
    np.testing.assert_allclose(found.pairs.fixed_points, [[1, 2, 0]])
    np.testing.assert_allclose(found.pairs.moving_points, [[3, 1.6, 0]])


def test_no_bigwarp_file(tmp_path):
    (tmp_path / "landmarks.csv").write_text("name,x,y,z\n")
    with pytest.raises(FileFormatError, match="line 1: expected BigWarp's"):
        read_bigwarp(tmp_path / "landmarks.csv")
