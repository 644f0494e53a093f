"""Levels: the same image on coarser grids, smoothed before it is thinned out."""

from __future__ import annotations

from ..space import Grid
from .sampling import resize, smooth
from .tensors import Placed

SMOOTHING_PER_FACTOR = 0.5
"""Standard deviation of the smoothing before an axis is thinned out by a factor f: f/2 voxels, as FireANTs and ITK's pyramids do."""


def level_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Return a grid of about this spacing; an axis that is already as coarse keeps its voxels, and no axis is refined."""
    shape = []
    for n, spacing in zip(grid.shape, grid.spacing, strict=True):
        wanted = round((n - 1) * spacing / spacing_mm) + 1
        # Under four voxels an axis carries no structure worth following any coarser.
        shape.append(n if wanted >= n or n == 1 else max(wanted, min(n, 4)))
    return grid.resized((shape[0], shape[1], shape[2]))


def at_grid(image: Placed, grid: Grid) -> Placed:
    """Bring an image to a coarser grid with the same corners."""
    if grid.shape == image.grid.shape:
        return image
    sigma = [SMOOTHING_PER_FACTOR * n / m if n > m else 0.0 for n, m in zip(image.grid.shape, grid.shape, strict=True)]
    data = resize(smooth(image.data, (sigma[0], sigma[1], sigma[2])), grid.shape)
    weight = None if image.weight is None else resize(image.weight, grid.shape)
    return Placed(data, grid, weight)


def at_spacing(image: Placed, spacing_mm: float) -> Placed:
    """Bring an image to about this spacing."""
    return at_grid(image, level_grid(image.grid, spacing_mm))
