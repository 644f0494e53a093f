import csv

import numpy as np
import pytest

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_landmarks, write_landmarks
from napari_deformreg.space import Landmarks

POINTS = np.array([[1.5, -2.25, 3.0], [-100.125, 55.0, 1204.5]])
LANDMARKS = Landmarks(POINTS, ("carina", "apex, left"))


def table(tmp_path, text, name="landmarks.csv", **options):
    path = tmp_path / name
    path.write_text(text, **options)
    return path


@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_what_is_written_is_read_back(system, tmp_path):
    write_landmarks(tmp_path / "landmarks.csv", LANDMARKS, coordinate_system=system)
    again = read_landmarks(tmp_path / "landmarks.csv")
    np.testing.assert_array_equal(again.points, POINTS)
    assert again.names == LANDMARKS.names


def test_a_ras_file_holds_name_x_y_z_and_more_columns(tmp_path):
    write_landmarks(tmp_path / "out.csv", LANDMARKS, columns={"tre_mm": [1 / 3, None], "outside": [False, True]})
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["name", "x", "y", "z", "tre_mm", "outside"],
        ["carina", "1.500000", "-2.250000", "3.000000", "0.333333", "False"],
        ["apex, left", "-100.125000", "55.000000", "1204.500000", "", "True"],
    ]


def test_an_lps_file_says_so_and_has_the_other_signs(tmp_path):
    write_landmarks(tmp_path / "out.csv", LANDMARKS, coordinate_system="LPS")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[:2] == ["name,x_lps,y_lps,z_lps", "carina,-1.500000,2.250000,3.000000"]


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("name,x,y,z\na,1,2,3\n", (1, 1, 1)),
        ("name,x_mm,y_mm,z_mm\na,1,2,3\n", (1, 1, 1)),
        ("name,x_ras,y_ras,z_ras\na,1,2,3\n", (1, 1, 1)),
        ("name,x_lps,y_lps,z_lps\na,1,2,3\n", (-1, -1, 1)),
        ("# coordinate system: LPS\nname,x,y,z\na,1,2,3\n", (-1, -1, 1)),
        ("#Coordinate_System=ras\nname,x,y,z\na,1,2,3\n", (1, 1, 1)),
        ("label,l,p,s,defined,selected\na,1,2,3,1,1\n", (-1, -1, 1)),
        ("label,r,a,s\na,1,2,3\n", (1, 1, 1)),
        ("Z,X,Name,Y\n3,1,a,2\n", (1, 1, 1)),
        ("name;x;y;z\na;1;2;3\n", (1, 1, 1)),
        ("name\tx\ty\tz\na\t1\t2\t3\n", (1, 1, 1)),
        ("name, x, y, z\n\na, 1, 2, 3\n\n", (1, 1, 1)),
        ("\ufeffname,x,y,z\r\na,1,2,3\r\n", (1, 1, 1)),
        ("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n1,1,2,3,a\n", (-1, -1, 1)),
        ("# Markups fiducial file version = 4.10\n# CoordinateSystem = 0\n# columns = id,x,y,z,label\n1,1,2,3,a\n", (1, 1, 1)),
    ],
)
def test_headers(text, signs, tmp_path):
    landmarks = read_landmarks(table(tmp_path, text, encoding="utf-8"))
    assert landmarks.names == ("a",)
    np.testing.assert_array_equal(landmarks.points, [np.array([1, 2, 3]) * signs])


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", FileFormatError, "line 1: expected a header"),
        ("a,1,2,3\n", FileFormatError, "line 1: expected a header like name,x,y,z.*got 'a,1,2,3'"),
        ("# points\n\nx,y,z\n1,2,3\n", FileFormatError, "line 3: expected a header"),
        ("name,x,y,z\n", InputError, "no landmarks"),
        ("name,x,y,z\na,1,2,3\nb,1,2\n", FileFormatError, r"line 3: expected 4 values \(name,x,y,z\); got 3"),
        ("name,x,y,z\na,1,two,3\n", FileFormatError, "line 2: expected a finite number of mm in column 'y'; got 'two'"),
        ("name,x,y,z\na,1,2,nan\n", FileFormatError, "line 2.*column 'z'; got 'nan'"),
        ("name,x,y,z\na,1,2,3\n\na,4,5,6\n", InputError, "line 4: the name 'a' occurs twice"),
        ("name,x,y,z\n,1,2,3\n", FileFormatError, "line 2: the landmark has no name"),
        ("# coordinate system: MNI\nname,x,y,z\na,1,2,3\n", FileFormatError, "line 1: the coordinate system is 'MNI'"),
        ("# coordinate system: LPS\nname,x_ras,y_ras,z_ras\na,1,2,3\n", FileFormatError, "a comment says LPS, the column names say RAS"),
    ],
)
def test_refusals_name_the_line(text, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        read_landmarks(table(tmp_path, text))


def test_an_image_is_no_table(tmp_path):
    (tmp_path / "image.csv").write_bytes(bytes(range(256)))
    with pytest.raises(FileFormatError, match="not a text table"):
        read_landmarks(tmp_path / "image.csv")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_landmarks(tmp_path / "nothing.csv")


def test_columns_of_another_length(tmp_path):
    with pytest.raises(InputError, match="'tre_mm' has 1 values for 2 landmarks"):
        write_landmarks(tmp_path / "out.csv", LANDMARKS, columns={"tre_mm": [1.0]})
    assert not list(tmp_path.iterdir())
