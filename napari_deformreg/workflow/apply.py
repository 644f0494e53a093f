"""Transforms from files, applied to images and points in files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ..errors import InputError
from ..io import (
    COLOR_WRITERS,
    read_colors,
    read_image,
    read_labels,
    read_landmarks,
    read_transform,
    split_volume_suffix,
    suffix_of,
    write_colors,
    write_image,
    write_labels,
    write_landmarks,
)
from ..space import AffineTransform, DisplacementField, Grid, InversePoints, Landmarks, Transform, TransformChain, Volume, invert_points
from .inputs import AnyPath


def apply_transform_file(transform: AnyPath, image: AnyPath, like: AnyPath, out: AnyPath, *, labels: bool = False) -> None:
    """Resample an image (linear) or a label map (nearest) on another image's grid through a transform.

    Parameters
    ----------
    transform : path
        Carries points of the new grid to the image: ``fixed_to_moving.h5`` brings moving images to fixed space.
    image : path
        What to resample; ``FILE@N`` is volume N of a 4-D file.
    like : path
        The image whose grid the output gets.
    out : path
        Where to write; a color image keeps its colors in a ``.png`` or ``.tif``, transparent where there is nothing of it.
    labels : bool
        Whether the image holds whole numbers that must not be mixed.

    Raises
    ------
    InputError
        If a file cannot be used or written.
    """
    from ..engine import resample, resample_labels

    chain = read_transform(transform)
    grid = read_image(*split_volume_suffix(like), allow_constant=True).grid
    if labels:
        structures = read_labels(*split_volume_suffix(image))
        write_labels(out, replace(resample_labels(structures, grid, chain), label_names=structures.label_names))
    elif suffix_of(out, COLOR_WRITERS) is not None:
        write_colors(out, _moved_colors(image, grid, chain))
    else:
        write_image(out, resample(read_image(*split_volume_suffix(image), allow_constant=True), grid, chain))


def _moved_colors(image: AnyPath, grid: Grid, chain: TransformChain) -> list[Volume]:
    """Pull each channel of a color image; opacity is 0 outside its field of view."""
    from ..engine import resample

    path, volume = split_volume_suffix(image)
    colors = list(read_colors(path)) if volume is None else []
    if not colors:
        raise InputError(f"{image} has no colors; expected an RGB or RGBA image for a picture as output. Write .nii.gz, .mha or .nrrd.")
    if len(colors) == 3:
        # In the finest depth that holds all values: what is opaque has the largest number.
        largest = np.iinfo(np.uint8 if max(channel.data.max() for channel in colors) <= np.iinfo(np.uint8).max else np.uint16).max
        colors.append(replace(colors[0], data=np.full_like(colors[0].data, largest)))
    return [resample(channel, grid, chain) for channel in colors]


def apply_points_file(transform: AnyPath, points: AnyPath, out: AnyPath, *, inverse: bool = False) -> Landmarks:
    """Carry named points through a transform, or through its inverse (solved point by point, with a residual column).

    Parameters
    ----------
    transform : path
        ``fixed_to_moving.h5`` carries fixed points to moving space.
    points : path
        Table of named points, RAS+ mm unless its header says LPS.
    out : path
        Where to write the table, RAS+ mm.
    inverse : bool
        Carry them the other way.

    Returns
    -------
    Landmarks
        What was written.

    Raises
    ------
    InputError
        If a file cannot be used or written.
    """
    chain, given = read_transform(transform), read_landmarks(points)
    if not inverse:
        carried = Landmarks(chain.map(given.points), given.names)
        write_landmarks(out, carried)
        return carried
    found = inverse_points_through(chain, given.points)
    carried = Landmarks(found.points, given.names)
    columns = {"residual_mm": found.residual_mm.tolist(), "outside_field": found.outside_field.tolist()}
    write_landmarks(out, carried, columns=columns)
    return carried


def inverse_points_through(chain: TransformChain, points: Float[np.ndarray, "n 3"]) -> InversePoints:
    """Solve ``chain(x) = y`` for x, link by link from the last: affines exactly, displacement fields with Newton steps.

    Returns
    -------
    InversePoints
        With the residuals of the whole chain, in mm of the space of y.

    Raises
    ------
    InputError
        If the chain has a link of another kind.
    """
    found = np.asarray(points, dtype=np.float64)
    outside = np.zeros(len(found), dtype=bool)
    for link in reversed(_flat(chain)):
        if isinstance(link, AffineTransform):
            found = link.inverse().map(found)
        else:
            solved = invert_points(link, found)
            found, outside = solved.points, outside | solved.outside_field
    return InversePoints(found, np.linalg.norm(chain.map(found) - points, axis=1), outside)


def _flat(transform: Transform) -> list[AffineTransform | DisplacementField]:
    if isinstance(transform, TransformChain):
        return [link for part in transform.transforms for link in _flat(part)]
    if isinstance(transform, (AffineTransform, DisplacementField)):
        return [transform]
    raise InputError(f"Cannot invert a {type(transform).__name__}; expected affine transforms and displacement fields.")
