"""elastix's transform parameter files (``TransformParameters.N.txt``), LPS+ mm, read without elastix (doi 10.1109/TMI.2009.2035616).

Each file is one transform and names the one before it: a fixed point goes through the first file, then through the next. A B-spline,
T(x) = x + sum over k of p_k B((x - x_k) / spacing), is evaluated by ITK on the grid of the fixed image, which is in the file.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import FileFormatError, InputError
from ..space import TransformChain
from .itk_transforms import field_from_itk_image, link_from_itk, read_itk_transform

_ENTRY = re.compile(r"^\s*\((\w+)\s+(.*?)\s*\)\s*$", re.MULTILINE)
_BEGIN = re.compile(r'(\s*(//.*)?\n)*\s*\(Transform\s+"')

_FILES_AT_MOST = 20
_NONE = "NoInitialTransform"

_LINEAR: dict[str, Callable[[int], Any]] = {
    "TranslationTransform": sitk.TranslationTransform,
    "EulerTransform": lambda dimension: sitk.Euler2DTransform() if dimension == 2 else sitk.Euler3DTransform(),
    "AffineTransform": sitk.AffineTransform,
}


@dataclass(frozen=True)
class _File:
    """The entries of one file, as words."""

    path: Path
    entries: dict[str, list[str]]

    def words(self, name: str) -> list[str]:
        """Return an entry.

        Raises
        ------
        FileFormatError
            If it is missing.
        """
        if name not in self.entries:
            raise FileFormatError(f"{self.path} has no entry ({name} …); expected a TransformParameters file as elastix writes it.")
        return self.entries[name]

    def numbers(self, name: str, count: int | None = None) -> list[float]:
        """Return an entry of numbers; `count`: how many there must be."""
        words = self.words(name)
        try:
            found = [float(word) for word in words]
        except ValueError as error:
            got = f"{self.path}: ({name} …) holds {words[0]!r:.40}"
            raise FileFormatError(f"{got}; expected numbers, as text and not in another file.") from error
        if count is not None and len(found) != count:
            raise FileFormatError(f"{self.path}: ({name} …) has {len(found)} numbers; expected {count}.")
        return found

    def direction(self, name: str, dimension: int) -> list[float]:
        """Return an entry of direction cosines, which elastix writes column by column, as ITK takes them: row by row."""
        columns = self.numbers(name, dimension**2)
        return [columns[dimension * column + row] for row in range(dimension) for column in range(dimension)]

    def says(self, name: str, default: str) -> str:
        """Return an entry of one word."""
        return self.entries.get(name, [default])[0]


def is_elastix_transform(path: Path) -> bool:
    """Tell whether a text file is one of elastix's."""
    with path.open("rb") as file:
        return _BEGIN.match(file.read(4096).decode("latin-1")) is not None


def read_text_transform(path: Path) -> TransformChain:
    """Read a text file as elastix's or ITK's transform; see `read_elastix_transform` and `read_itk_transform`."""
    return read_elastix_transform(path) if is_elastix_transform(path) else read_itk_transform(path)


def read_elastix_transform(path: Path) -> TransformChain:
    """Read a file with those that it names before it: a displacement on the fixed grid, if there is a B-spline, then an affine.

    Raises
    ------
    FileFormatError
        If a file is not as elastix writes it.
    InputError
        If a file that it names is missing, or holds a kind of transform that is not read here.
    """
    files = _with_those_before(path)
    transforms = [_transform(file) for file in files]
    linear = [transform for transform in transforms if transform.IsLinear()]
    links = [link_from_itk(transform, path) for transform in linear]
    if len(linear) == len(transforms):
        return TransformChain(tuple(links))
    # What the affine ones leave: their inverses after the whole. ITK applies the last of a composite first.
    rest = sitk.CompositeTransform([*(transform.GetInverse() for transform in linear), *reversed(transforms)])
    return TransformChain((field_from_itk_image(_sampled(rest, files[-1])), *links))


def files_before(path: Path) -> list[str]:
    """Name the files that points go through before this one."""
    return [file.path.name for file in _with_those_before(path)[:-1]]


def _with_those_before(path: Path) -> list[_File]:
    """Read a file and those before it, in the order in which points go through them."""
    files = [_parsed(path)]
    while (named := _initial(files[0])) is not None:
        if files[0].says("HowToCombineTransforms", "Compose") != "Compose":
            raise InputError(f'{files[0].path} adds its transform to another one; expected (HowToCombineTransforms "Compose"). {_ADVICE}')
        if len(files) == _FILES_AT_MOST:
            raise FileFormatError(f"{path} names more than {_FILES_AT_MOST} files before it; expected a chain with a beginning.")
        files.insert(0, _parsed(named))
    return files


_ADVICE = "Run `transformix -def all` and give its deformationField instead."


def _initial(file: _File) -> Path | None:
    """Find the file that is named before this one: where it says, or else beside it, as folders move."""
    named = file.says("InitialTransformParametersFileName", file.says("InitialTransformParameterFileName", _NONE))
    if named == _NONE:
        return None
    found = next((place for place in (Path(named), file.path.with_name(Path(named).name)) if place.is_file()), None)
    if found is None:
        raise InputError(f"{file.path} begins with {named}, which is neither there nor beside it. Put it beside this file.")
    return found


def _parsed(path: Path) -> _File:
    text = path.read_text(encoding="utf-8", errors="replace")
    entries = {name: [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', rest)] for name, rest in _ENTRY.findall(text)}
    return _File(path, entries)


def _transform(file: _File) -> Any:
    kind, dimension = file.says("Transform", ""), int(file.numbers("FixedImageDimension", 1)[0])
    if file.says("UseDirectionCosines", "true") != "true":
        raise InputError(f"{file.path} ignores the images' directions (UseDirectionCosines); expected a transform that uses them.")
    if kind == "BSplineTransform":
        return _b_spline(file, dimension)
    if kind not in _LINEAR:
        known = ", ".join((*_LINEAR, "BSplineTransform"))
        raise InputError(f"{file.path} holds a {kind or 'transform without a name'}; expected one of {known}. {_ADVICE}")
    transform = _LINEAR[kind](dimension)
    if kind != "TranslationTransform":
        transform.SetCenter(file.numbers("CenterOfRotationPoint", dimension))
    if kind == "EulerTransform" and dimension == 3:
        transform.SetComputeZYX(file.says("ComputeZYX", "false") == "true")
    transform.SetParameters(file.numbers("TransformParameters", len(transform.GetParameters())))
    return transform


def _b_spline(file: _File, dimension: int) -> Any:
    size = [int(n) for n in file.numbers("GridSize", dimension)]
    values = np.array(file.numbers("TransformParameters", dimension * math.prod(size)))
    if any(file.numbers("GridIndex", dimension)):
        raise InputError(f"{file.path}: its B-spline grid does not begin at index 0. {_ADVICE}")
    images = [sitk.GetImageFromArray(part) for part in values.reshape(dimension, *size[::-1])]
    for image in images:
        image.SetSpacing(file.numbers("GridSpacing", dimension))
        image.SetOrigin(file.numbers("GridOrigin", dimension))
        image.SetDirection(file.direction("GridDirection", dimension))
    return sitk.BSplineTransform(images, int(file.says("BSplineTransformSplineOrder", "3")))


def _sampled(transform: Any, file: _File) -> Any:
    """Give the displacement on the grid of the fixed image."""
    dimension = int(file.numbers("FixedImageDimension", 1)[0])
    return sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        [int(n) for n in file.numbers("Size", dimension)],
        file.numbers("Origin", dimension),
        file.numbers("Spacing", dimension),
        file.direction("Direction", dimension),
    )
