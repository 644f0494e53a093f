"""Fixtures for all tests: a seeded generator, and one grid of each kind that has ever bitten somebody."""

from __future__ import annotations

import os
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

if not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg")):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # no GPU: its kernels are interpreted; Triton reads this when it is first imported

_CHECKED = ("space.grid", "space.landmarks", "space.orientation", "space.transforms", "space.volume", "io")
# Shapes in annotations are promises: these rooms are checked on every call (compiled kernels cannot be).
jaxtyping.install_import_hook([f"napari_deformreg.{name}" for name in _CHECKED], "type_checks.checked")

from grids import GRIDS, sheared_grid  # noqa: E402

from napari_deformreg.space import Grid, Volume  # noqa: E402


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


@pytest.fixture(params=list(GRIDS))
def grid(request: pytest.FixtureRequest) -> Grid:
    """One grid after the other: RAS, LAS, LPS, PSR, permuted, anisotropic, oblique."""
    return GRIDS[request.param]


@pytest.fixture
def sheared() -> Grid:
    return sheared_grid()


@pytest.fixture
def volume(grid: Grid, rng: np.random.Generator) -> Volume:
    """Noise on each grid: any swapped or flipped axis shows."""
    return Volume(rng.normal(100, 30, grid.shape).astype(np.float32), grid)
