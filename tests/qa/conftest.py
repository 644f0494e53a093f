"""A small registered pair with known motion, on an oblique anisotropic grid."""

from __future__ import annotations

import numpy as np
import pytest
from grids import oblique_grid
from qa_cases import Pair, make_result
from scipy import ndimage

from napari_deformreg.space import LabelMap, Landmarks, Volume


@pytest.fixture(params=[(30, 26, 18), (30, 26, 1)], ids=["3d", "2d"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Blocks of structure; the moving image is the fixed one shifted by two voxels along i, and the registration is exactly that shift."""
    shape = request.param
    grid = oblique_grid(shape)
    rng = np.random.default_rng(5)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), [1.5, 1.5, 1.5 if shape[2] > 1 else 0])
    labels = np.zeros(shape, dtype=np.int32)
    labels[8:16, 6:20, shape[2] // 4 : -(shape[2] // 4) or None] = 3
    labels[16:22, 6:20, shape[2] // 4 : -(shape[2] // 4) or None] = 2001
    data = (100 + 60 * noise / np.abs(noise).max()) * (labels > 0)
    shift = 2 * grid.affine[:3, 0]
    names = {3: "left <block>", 2001: "right block"}
    fixed = Volume(data, grid, "fixed & image")
    moving = Volume(np.roll(data, 2, axis=0), grid, "moving")
    fixed_labels = LabelMap(labels, grid, label_names=names)
    moving_labels = LabelMap(np.roll(labels, 2, axis=0), grid, label_names=names)
    displacement_mm = np.broadcast_to(shift, (*shape, 3)).copy()
    points = grid.voxel_to_world(np.array([[10.0, 8, 0], [14, 12, 0], [20, 15, 0]]))
    return Pair(
        fixed, moving, Volume(data, grid, "moved"), moving, make_result(grid, displacement_mm),
        fixed_labels, moving_labels, fixed_labels, Landmarks(points, ("a", "b", "c")), Landmarks(points + shift, ("a", "b", "c")),
    )  # fmt: skip
