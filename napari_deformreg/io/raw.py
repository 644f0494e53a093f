"""What every image reader hands over, and the checks that turn it into a Volume or a LabelMap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ..errors import InputError
from ..space import Grid, LabelMap, Volume, color_notice, gray_of_colors
from .shear import orthogonal_grid, resample_linear, resample_nearest

SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 1e-4, 1e3
"""A tenth of a micrometer is finer than light microscopy, a meter coarser than any scanner: outside, the header is wrong."""

LARGEST_ORIGIN_MM = 1e6
"""A kilometer from the scanner's center; float32 headers keep a tenth of a millimeter there."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """The content of an image file before anything is decided about it.

    Attributes
    ----------
    data : (i, j, k, n) array
        Stored numbers, not scaled; n volumes in time, or n components of each voxel.
    affine : (4, 4) float array
        Voxel to RAS+ mm, not checked.
    kind : str
        What the last axis of `data` counts.
    slope, intercept : float
        Value = stored number * slope + intercept.
    notices : tuple of str
        What the user should know about how the header was understood.
    label_names : mapping
        Names of the structures, where the file carries them.
    """

    data: Shaped[np.ndarray, "i j k n"]
    affine: Float[np.ndarray, "4 4"]
    kind: Literal["volumes", "components"] = "volumes"
    slope: float = 1.0
    intercept: float = 0.0
    notices: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)

    @property
    def has_colors(self) -> bool:
        """Whether the components are red, green, blue and perhaps opacity: three or four whole numbers, and no layers of a segmentation."""
        whole = np.issubdtype(self.data.dtype, np.unsignedinteger)
        return self.kind == "components" and self.data.shape[3] in (3, 4) and whole and not self.label_names


def to_volume(raw: RawImage, path: Path, volume: int | None, allow_constant: bool) -> Volume:
    """Check a raw image and place it in the world as a Volume; colors become one gray value, a sheared grid is resampled linearly.

    Raises
    ------
    InputError
        If it cannot be used as one scalar image; says why and what to do.
    """
    if volume is None and raw.has_colors and raw.data.size:
        raw = _in_gray(raw, path)
    stored = _pick(raw, path, volume)
    grid = _checked_grid(raw.affine, stored.shape, path)
    _refuse_non_finite(stored, path)
    values = stored if (raw.slope, raw.intercept) == (1.0, 0.0) else stored * np.float64(raw.slope) + np.float64(raw.intercept)
    with np.errstate(over="ignore"):  # too large for float32: found and named by the next check
        data = np.ascontiguousarray(values, dtype=np.float32)
    _refuse_non_finite(data, path)
    if not allow_constant and data.min() == data.max():
        raise InputError(
            f"{path} is constant (every voxel is {data.flat[0]:g}); expected an image with contrast. Check that it is the right file."
        )
    notices = raw.notices
    if not grid.is_orthogonal:
        old, grid = grid, orthogonal_grid(grid)
        data = resample_linear(data, old, grid, fill=float(data.min()))
        notices = (*notices, _shear_notice(path, old, grid, "linearly"))
    return Volume(data, grid, name=stem_of(path), notices=notices)


def to_labels(raw: RawImage, path: Path, volume: int | None) -> LabelMap:
    """Check a raw image and place it in the world as a LabelMap; a sheared one is resampled to the nearest voxel.

    Raises
    ------
    InputError
        If it cannot be used as one map of whole numbers; says why and what to do.
    """
    stored = _pick(raw, path, volume)
    grid = _checked_grid(raw.affine, stored.shape, path)
    _refuse_non_finite(stored, path)
    values = stored if (raw.slope, raw.intercept) == (1.0, 0.0) else stored * np.float64(raw.slope) + np.float64(raw.intercept)
    data = _whole_numbers(values, path)
    notices = raw.notices
    if not grid.is_orthogonal:
        old, grid = grid, orthogonal_grid(grid)
        data = resample_nearest(data, old, grid, fill=0)
        notices = (*notices, _shear_notice(path, old, grid, "to the nearest voxel"))
    return LabelMap(data, grid, name=stem_of(path), label_names=dict(raw.label_names), notices=notices)


def stem_of(path: Path) -> str:
    """Return the file name without what follows its format's first dot, e.g. ``scan`` of ``scan.nii.gz``."""
    name = path.name
    for ending in (".gz", path.with_suffix("").suffix if name.lower().endswith(".gz") else path.suffix):
        if ending and name.lower().endswith(ending.lower()) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def _in_gray(raw: RawImage, path: Path) -> RawImage:
    gray, words = gray_of_colors(raw.data)
    notice = f"{color_notice(path.name, words)} {path.name}@0 … {path.name}@{raw.data.shape[3] - 1} would take one channel instead."
    return replace(raw, data=gray[..., None], kind="volumes", notices=(*raw.notices, notice))


def _pick(raw: RawImage, path: Path, volume: int | None) -> Shaped[np.ndarray, "i j k"]:
    count = raw.data.shape[3]
    if raw.data.size == 0:
        raise InputError(f"{path} is empty (shape {raw.data.shape[:3]}); expected voxels.")
    if np.issubdtype(raw.data.dtype, np.complexfloating):
        raise InputError(f"{path} has complex numbers; expected real ones. Save its magnitude as an image, then load that.")
    if volume is not None and not 0 <= volume < count:
        raise InputError(f"{path} has no volume {volume}: it holds {count}, counted from 0.")
    if volume is None and count > 1:
        raise InputError(_too_many(raw, path, count))
    stored = raw.data[..., volume or 0]
    if sum(n > 1 for n in stored.shape) < 2:
        raise InputError(f"{path} has shape {stored.shape}; expected a volume, or a slice with at least two voxels along two axes.")
    return stored


def _too_many(raw: RawImage, path: Path, count: int) -> str:
    how = f"volume=0 … volume={count - 1} in Python, {path.name}@0 … {path.name}@{count - 1} on the command line"
    if raw.kind == "volumes":
        return f"{path} is 4-D and holds {count} volumes; expected one. Pick one: {how}."
    if raw.has_colors:
        return f"{path} is a color image ({count} components a voxel); expected one whole number a voxel. Pick one component: {how}."
    return f"{path} has {count} components a voxel; expected one number (a scalar image). Pick one: {how}."


def _checked_grid(affine: Float[np.ndarray, "4 4"], shape: tuple[int, ...], path: Path) -> Grid:
    advice = "Repair the header (or convert the original data again), then load it."
    if not np.isfinite(affine).all():
        raise InputError(f"{path}: the affine in the header is not finite: {affine.tolist()}. {advice}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < SMALLEST_SPACING_MM or spacing.max() > LARGEST_SPACING_MM:
        raise InputError(
            f"{path}: the voxel spacing in the header is {_numbers(spacing)} mm; "
            f"expected {SMALLEST_SPACING_MM:g} to {LARGEST_SPACING_MM:g} mm. {advice}"
        )
    if np.abs(affine[:3, 3]).max() > LARGEST_ORIGIN_MM:
        raise InputError(f"{path}: the origin in the header is {_numbers(affine[:3, 3])} mm, over a kilometer away. {advice}")
    try:
        return Grid((shape[0], shape[1], shape[2]), affine)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _refuse_non_finite(data: Shaped[np.ndarray, "i j k"], path: Path) -> None:
    if not np.issubdtype(data.dtype, np.floating):
        return
    finite: Bool[np.ndarray, "i j k"] = np.isfinite(data)
    if finite.all():
        return
    nan = int(np.isnan(data).sum())
    infinite = int(data.size - finite.sum()) - nan
    raise InputError(
        f"{path} has {nan} NaN and {infinite} infinite voxels of {data.size}; expected finite numbers (float32). "
        "Replace them (for example with the background value, numpy.nan_to_num), save the image, and load it again."
    )


def _whole_numbers(values: Shaped[np.ndarray, "i j k"], path: Path) -> Shaped[np.ndarray, "i j k"]:
    limits = np.iinfo(np.int32)
    if values.min() < limits.min or values.max() > limits.max:
        raise InputError(f"{path} has values from {values.min()} to {values.max()}; expected label numbers that fit 32 bits.")
    labels = np.ascontiguousarray(values, dtype=np.int32)
    if np.issubdtype(values.dtype, np.floating):
        wrong = values != labels
        if wrong.any():
            raise InputError(
                f"{path} is not a label map: {int(wrong.sum())} of {values.size} voxels are not whole numbers "
                f"(for example {values[wrong][0]:g}). Threshold a probability map first; do not interpolate label numbers."
            )
    return labels


def _shear_notice(path: Path, old: Grid, new: Grid, how: str) -> str:
    return (
        f"{path.name} is sheared (its axes are not perpendicular, as with a tilted gantry): it was resampled {how} from "
        f"{old.shape} voxels of {_numbers(old.spacing)} mm onto an orthogonal grid of {new.shape} voxels of {_numbers(new.spacing)} mm."
    )


def _numbers(values: Float[np.ndarray, "n"]) -> str:
    return " x ".join(f"{v:.5g}" for v in values)
