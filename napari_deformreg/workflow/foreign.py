"""Any transform as a result on the fixed grid, so that it is judged like a registration of this program."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from ..errors import InputError
from ..io import Convention, read_described_transforms
from ..result import Control, Provenance, RegistrationResult, Status, Step
from ..settings import Settings
from ..space import AffineTransform, DisplacementField, Grid, Transform, TransformChain

SLABS = 24
"""Parts in which a transform is sampled: each takes well under a second for a brain, so that progress is seen and cancel is quick."""

FIT_POINTS = 20_000
"""Voxels at most that an affine is fitted to."""


def result_of_transform(
    chain: TransformChain, grid: Grid, backward: TransformChain | None = None
) -> Generator[Step, Control | None, RegistrationResult]:
    """Write fixed_to_moving as a displacement on the fixed grid and an affine; voxel for voxel the same map.

    The affine is the product of the chain's own affines; where it has none, the one that fits its displacement best, so that what is
    called the deformation is what no affine explains.

    Parameters
    ----------
    chain : TransformChain
        Carries fixed points to moving space.
    grid : Grid
        The fixed image's.
    backward : TransformChain, optional
        Carries moving points to fixed space; computed when left out.

    Raises
    ------
    InputError
        If the affine part mirrors or flattens the image.
    """
    affine = _affine_part(chain, grid)
    notices = list(_notices(chain, grid))
    yield Step("read", message="sampling the transform on the fixed grid")
    straight, first = affine.inverse(), chain.transforms[0]
    if _affine_only(chain.transforms):  # exactly nothing: there is no deformation that could be praised for not folding
        displacement = DisplacementField(grid, np.zeros((*grid.shape, 3), dtype=np.float32))
    elif isinstance(first, DisplacementField) and first.grid == grid and _affine_only(chain.transforms[1:]):
        displacement = first
    else:
        displacement = yield from _sampled(grid, lambda points: straight.map(chain.map(points)), 0.0, 0.5)
    if backward is None:
        yield Step("inverse", message="inverting the transform", fraction=0.5)
        from ..engine import inverse_of_field

        inverse, residual = inverse_of_field(displacement)
        notices.append(f"The inverse was computed from the transform; it misses by {residual:.2g} voxels in the mean.")
    else:
        inverse = yield from _sampled(grid, lambda points: backward.map(affine.map(points)), 0.5, 1.0)
    return RegistrationResult(
        affine=affine, displacement=displacement, inverse_displacement=inverse, velocity_vox=None, velocity_grid=None,
        status=Status.FROM_ELSEWHERE, history=(), settings=Settings(),
        provenance=Provenance(version=version("napari-deformreg"), device="cpu", seconds={}, notices=tuple(notices), driving_points_mm=()),
    )  # fmt: skip


def describe_transforms(files: Sequence[str], convention: Convention = "auto") -> list[tuple[str, str]]:
    """Say of each file of a transform how it is understood, and how far it moves: its name, and words.

    Raises
    ------
    InputError
        If one cannot be used, or does not say how its numbers are meant.
    """
    _, described = read_described_transforms(files, convention)
    return [(part.name, f"{part.convention}; {', then '.join(map(_reach, part.chain.transforms))}") for part in described]


def _reach(link: Transform) -> str:
    if not isinstance(link, DisplacementField):
        return "affine"
    lengths = np.linalg.norm(link.displacement_mm.reshape(-1, 3), axis=1)
    return f"moves by {np.median(lengths):.1f} mm in the median, {lengths.max():.1f} mm at most"


def _affine_only(links: tuple[Transform, ...]) -> bool:
    return bool(links) and all(isinstance(link, AffineTransform) for link in links)


def _affine_part(chain: TransformChain, grid: Grid) -> AffineTransform:
    matrix = np.eye(4)
    links = [link for link in chain.transforms if isinstance(link, AffineTransform)]
    for link in links:
        matrix = link.matrix @ matrix
    if not links:
        return _fitted(chain, grid)
    determinant = np.linalg.det(matrix[:3, :3])
    if determinant <= 0:
        raise InputError(
            f"The affine part of the transform mirrors the image (determinant {determinant:.3g}); expected a positive one. Are "
            "the files in the right order and meant for these images?"
        )
    return AffineTransform(matrix)


def _fitted(chain: TransformChain, grid: Grid) -> AffineTransform:
    """Fit an affine to where evenly spread voxels go (least squares); the identity where there is no sensible one."""
    stride = max(1, int(np.ceil((np.prod(grid.shape) / FIT_POINTS) ** (1 / 3))))
    axes = [np.arange(0, n, stride, dtype=np.float64) for n in grid.shape]
    points = grid.voxel_to_world(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3))
    carried = chain.map(points)
    middle, landed = points.mean(0), carried.mean(0)
    # A slice says nothing about its own normal: the smallest change that explains the rest leaves it alone.
    change, *_ = np.linalg.lstsq(points - middle, (carried - landed) - (points - middle), rcond=1e-6)
    matrix = np.eye(4)
    matrix[:3, :3] += change.T
    if not 0.05 < np.linalg.det(matrix[:3, :3]) < 20:
        return AffineTransform.identity()
    matrix[:3, 3] = landed - matrix[:3, :3] @ middle
    return AffineTransform(matrix)


def _notices(chain: TransformChain, grid: Grid) -> Generator[str, None, None]:
    for field in (link for link in chain.transforms if isinstance(link, DisplacementField)):
        if chain.transforms[0] is field and field.grid != grid:
            outside = 100 * float((~field.grid.contains(grid.corners())).mean())
            yield (
                f"The displacement field lies on another grid {field.grid.shape} than the fixed image {grid.shape}; it was interpolated"
                + (f", and {outside:.0f} % of the fixed image's corners lie outside of it, where nothing moves." if outside else ".")
            )


def _sampled(
    grid: Grid, carried: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]], first: float, last: float
) -> Generator[Step, Control | None, DisplacementField]:
    """Give the displacement of a map at every voxel center, slab by slab."""
    out = np.empty((*grid.shape, 3), dtype=np.float32)
    edges = np.unique(np.linspace(0, grid.shape[0], min(SLABS, grid.shape[0]) + 1).astype(int))
    for start, stop in pairwise(edges.tolist()):
        voxels = np.stack(np.meshgrid(np.arange(start, stop), *map(np.arange, grid.shape[1:]), indexing="ij"), -1).reshape(-1, 3)
        points = grid.voxel_to_world(voxels.astype(np.float64))
        out[start:stop] = (carried(points) - points).reshape(out[start:stop].shape)
        fraction = first + (last - first) * stop / grid.shape[0]
        yield Step("read", message="sampling the transform on the fixed grid", fraction=fraction)
    return DisplacementField(grid, out)
