"""elastix's parameter files against what transformix made of them; `elastix/` holds files of elastix 5.0.1 (folders moved since: /gone)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import read_described_transform, read_described_transforms, read_transform
from napari_deformreg.space import AffineTransform, DisplacementField

FILES = Path(__file__).parent / "elastix"
CASES = {
    "affine_bspline": "TransformParameters.1.txt", "euler_bspline": "TransformParameters.1.txt", "flat": "TransformParameters.2.txt",
    "flat_euler": "TransformParameters.0.txt",
}  # fmt: skip


def _points(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Give points before and after transformix, RAS mm; those of a slice in the plane z = 0."""
    rows = np.loadtxt(FILES / case / "points.txt")
    before, after = (np.pad(part, ((0, 0), (0, 3 - part.shape[1]))) for part in np.split(rows, 2, axis=1))
    return before * [-1, -1, 1], after * [-1, -1, 1]


@pytest.mark.parametrize("case", CASES)
def test_points_go_where_transformix_carries_them(case: str) -> None:
    before, after = _points(case)
    chain = read_transform(FILES / case / CASES[case])
    assert np.linalg.norm(after - before, axis=1).max() > 0.5
    np.testing.assert_allclose(chain.map(before), after, atol=2e-4)
    assert isinstance(chain.transforms[-1], AffineTransform)
    assert [type(link) for link in chain.transforms[:-1]].count(DisplacementField) == (0 if case == "flat_euler" else 1)


def test_the_first_file_alone_is_the_affine(tmp_path: Path) -> None:
    first, before = FILES / "affine_bspline" / "TransformParameters.0.txt", _points("affine_bspline")[0]
    chain, described = read_described_transforms([FILES / "affine_bspline" / "TransformParameters.1.txt"])
    np.testing.assert_allclose(read_transform(first).map(before), chain.transforms[-1].map(before), atol=1e-9)
    assert described[0].convention == (
        "elastix's transform parameters: LPS mm by definition, after TransformParameters.0.txt as it says itself"
    )
    assert read_described_transform(first).convention == "elastix's transform parameters: LPS mm by definition"


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("/gone/TransformParameters.0.txt", "/gone/other.txt", InputError, "neither there nor beside it"),
        ("/gone/TransformParameters.0.txt", "TransformParameters.1.txt", FileFormatError, "more than 20 files"),
        ('"Compose"', '"Add"', InputError, "transformix -def all"),
        ('"BSplineTransform"', '"SplineKernelTransform"', InputError, "holds a SplineKernelTransform; expected one of"),
        ("(GridIndex 0 0 0)", "(GridIndex 1 0 0)", InputError, "does not begin at index 0"),
        ("(GridSpacing", "(Grid", FileFormatError, r"has no entry \(GridSpacing"),
        ("(GridSize 5", "(GridSize 4", FileFormatError, "has 630 numbers; expected 504"),
        ('(UseDirectionCosines "true")', '(UseDirectionCosines "false")', InputError, "UseDirectionCosines"),
        ("(TransformParameters ", '(TransformParameters "values.dat" ', FileFormatError, "as text and not in another file"),
    ],
)
def test_files_that_are_not_read(tmp_path: Path, old: str, new: str, error: type[Exception], message: str) -> None:
    for file in (FILES / "affine_bspline").glob("T*.txt"):
        shutil.copy(file, tmp_path)
    changed = tmp_path / "TransformParameters.1.txt"
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(error, match=message):
        read_transform(changed)
