"""A model's velocity for any pair of images: on the lattice that the model was trained for, whatever the images' own spacing and size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...errors import EngineError, InputError
from ...space import AffineTransform, Grid
from ..differentiable import resize_field
from ..prepare import pulled
from ..pyramid import at_grid
from ..tensors import Placed
from .base import VelocityModel
from .matching_cpu import compiled_velocity, has_kernels
from .weights import ModelHeader, TrainedModel

FAR_FROM_TRAINING = 2.0
"""A field of view larger or smaller than in training by more than this factor is another kind of body (a mouse, a whole trunk): its voxel
size is then chosen so that it has as many voxels as the images in training."""

LARGEST_LATTICE = 2_000_000
"""Voxels at most: a network with 64 channels at full resolution then needs some 2 GB. A head at 2 mm has 1 to 1.5 million."""

SMALLEST_SIDE = 2
"""A network's coarsest level keeps at least this many voxels an axis: it normalizes over them."""


def working_grid(fixed: Grid, header: ModelHeader) -> Grid:
    """Return the isotropic lattice over the fixed field of view on which a model predicts; its corners are the fixed image's."""
    side = float(((np.array(fixed.shape) - 1) * fixed.spacing).max())
    trained_side = (header.longest_vox - 1) * header.spacing_mm
    spacing = header.spacing_mm
    if not trained_side / FAR_FROM_TRAINING <= side <= trained_side * FAR_FROM_TRAINING:
        spacing *= side / trained_side
    grid = _isotropic(fixed, spacing)
    while np.prod(grid.shape, dtype=np.float64) > LARGEST_LATTICE:
        spacing *= 1.02
        grid = _isotropic(fixed, spacing)
    return grid


def _isotropic(grid: Grid, spacing_mm: float) -> Grid:
    """Return the grid with about this spacing along each axis, finer or coarser than it was."""
    shape = [1 if n == 1 else max(round((n - 1) * s / spacing_mm), 1) + 1 for n, s in zip(grid.shape, grid.spacing, strict=True)]
    return grid.resized((shape[0], shape[1], shape[2]))


def predict_velocity(model: TrainedModel, fixed: Placed, moving: Placed, affine: AffineTransform) -> Float[Tensor, "1 3 i j k"]:
    """Predict the stationary velocity v such that moving(affine(exp(v)(x))) looks like fixed(x).

    Parameters
    ----------
    model : TrainedModel
        Two-dimensional for slices, three-dimensional for volumes.
    fixed, moving : Placed
        In canonical orientation, intensities in about [0, 1], of any spacing.
    affine : AffineTransform
        From the fixed world to the moving world.

    Returns
    -------
    velocity : (1, 3, i, j, k) tensor
        Over the field of view of `working_grid`, on a lattice as fine as what the network gives (half of it for the bundled volume model),
        in its voxels; for slices it stays in the plane.

    Raises
    ------
    InputError
        If the model is for images of another dimension, or does not give a velocity.
    EngineError
        If what it gives is not finite.
    """
    check_dimensions(model, fixed.grid)
    grid = working_grid(fixed.grid, model.header)
    whole = replace(fixed, weight=None), replace(moving, weight=None)  # no mask: networks are trained on whole images
    pair = [as_in_training(image) for image in (at_grid(whole[0], grid), pulled(whole[1], grid, affine))]
    axes = [axis for axis in range(3) if grid.shape[axis] > 1] if model.header.dimensions == 2 else [0, 1, 2]
    shape = tuple(grid.shape[axis] for axis in axes)
    before, padded_shape = _padding(shape, model.module.multiple, model.module.offset)
    inputs = [_padded(image.reshape(1, 1, *shape), before, padded_shape) for image in pair]
    coarse = _velocity(model.module.to(fixed.device), *inputs)
    _check(coarse, model)
    padded = resize_field(coarse.float(), padded_shape)
    window = tuple(slice(first, first + n) for first, n in zip(before, shape, strict=True))
    velocity = torch.zeros((1, 3, *grid.shape), device=fixed.device)
    velocity[:, axes] = padded[(slice(None), slice(None), *window)].reshape(1, len(axes), *grid.shape)
    fineness = [1.0, 1.0, 1.0]
    for axis, given, asked in zip(axes, coarse.shape[2:], padded_shape, strict=True):
        fineness[axis] = given / asked
    i, j, k = (math.ceil(n * part) for n, part in zip(grid.shape, fineness, strict=True))
    # No finer than that: whoever takes it up would look for detail on lattices where there is none.
    return velocity if (i, j, k) == grid.shape else resize_field(velocity, (i, j, k))


def _velocity(module: VelocityModel, fixed: Tensor, moving: Tensor) -> Tensor:
    """Ask the network, by the compiled kernels where there are some for it."""
    if has_kernels(module, fixed):
        return compiled_velocity(module, fixed, moving)
    with torch.no_grad():
        found: Tensor = module(fixed, moving)
    return found


def check_dimensions(model: TrainedModel, fixed: Grid) -> None:
    """Refuse a model for volumes where a slice is registered, and the other way around.

    Raises
    ------
    InputError
        If they do not fit.
    """
    wanted = 2 if fixed.is_2d else 3
    if model.header.dimensions != wanted:
        kinds = {2: "slices (2-D)", 3: "volumes (3-D)"}
        raise InputError(
            f"The model {model.name!r} is for {kinds[model.header.dimensions]}; these images are {kinds[wanted]}. "
            "Choose another model, or none."
        )


def as_in_training(image: Placed) -> Tensor:
    """Stretch intensities to [0, 1] within the field of view, 0 outside: what networks see, in training and when they predict."""
    if image.weight is None:
        low, high = float(image.data.min()), float(image.data.max())
        return ((image.data - low) / max(high - low, 1e-6)).clamp_(0, 1)
    inside = image.weight > 0.5
    if not bool(inside.any()):
        return torch.zeros_like(image.data)
    low = float(torch.where(inside, image.data, torch.inf).min())
    high = float(torch.where(inside, image.data, -torch.inf).max())
    return ((image.data - low) / max(high - low, 1e-6)).clamp_(0, 1).mul_(inside)


def _padding(shape: tuple[int, ...], multiple: int, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how many voxels to put before each axis, and the sizes after padding: the next ones that the network can halve."""
    sizes = tuple(max(-(-(n - offset) // multiple), SMALLEST_SIDE) * multiple + offset for n in shape)
    return tuple((size - n) // 2 for size, n in zip(sizes, shape, strict=True)), sizes


def _padded(image: Float[Tensor, "1 1 *spatial"], before: tuple[int, ...], sizes: tuple[int, ...]) -> Tensor:
    """Surround an image by the zeros that lie outside every field of view in training."""
    around: list[int] = []
    for first, n, size in reversed(list(zip(before, image.shape[2:], sizes, strict=True))):  # torch counts from the last axis
        around += [first, size - n - first]
    return F.pad(image, around)


def _check(velocity: Tensor, model: TrainedModel) -> None:
    """Refuse what is not a velocity."""
    d = model.header.dimensions
    if velocity.dim() != d + 2 or tuple(velocity.shape[:2]) != (1, d) or min(velocity.shape[2:]) < 2:
        raise InputError(
            f"The model {model.name!r} should give a velocity of {d} components on a lattice of {d} axes; "
            f"it gave {tuple(velocity.shape)}. Choose another model, or none."
        )
    if not bool(torch.isfinite(velocity).all()):
        raise EngineError(f"The model {model.name!r} gave a velocity that is not finite. Choose another model, or none.")
