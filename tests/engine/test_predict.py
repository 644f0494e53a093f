"""Prediction on the working lattice: the right way, along the right axes, in the right unit, whatever the images' grids.

The networks here compute what they give from the images by plain arithmetic, so that the truth is known.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from grids import GRIDS, oblique_grid, oriented_grid
from scipy.spatial.transform import Rotation
from torch import nn

from napari_deformreg.engine.differentiable import resize_field as resize_any
from napari_deformreg.engine.models.predict import LARGEST_LATTICE, predict_velocity, working_grid
from napari_deformreg.engine.models.weights import ModelHeader, TrainedModel
from napari_deformreg.engine.prepare import canonical_volume
from napari_deformreg.engine.sampling import integrate, resize_field
from napari_deformreg.engine.tensors import place, to_array
from napari_deformreg.errors import EngineError, InputError
from napari_deformreg.space import AffineTransform, Grid, Volume

CPU = torch.device("cpu")


def centroid(image):
    axes = [torch.arange(n, dtype=torch.float32) for n in image.shape[2:]]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return (voxels * image[0]).flatten(1).sum(1) / image.sum()


class CentroidShift(nn.Module):
    """Carries the middle of what is bright in fixed onto that of moving: a constant velocity at half resolution."""

    def __init__(self, multiple=16, offset=0):
        super().__init__()
        self.multiple, self.offset = multiple, offset
        self.seen = []

    def forward(self, fixed, moving):
        self.seen.append((fixed, moving))
        assert all((n - self.offset) % self.multiple == 0 for n in fixed.shape[2:])
        return self.coarse(self.velocity(fixed, moving))

    def velocity(self, fixed, moving):
        shift = centroid(moving) - centroid(fixed)
        return shift.view(1, -1, *[1] * len(shift)).expand(1, len(shift), *fixed.shape[2:])

    def coarse(self, velocity):
        return resize_any(velocity, tuple((n + 1) // 2 for n in velocity.shape[2:]))


class Turn(CentroidShift):
    """Turns by a known generator about the middle of what is bright in fixed."""

    generator = torch.tensor([[0.0, -0.10, 0.04], [0.10, 0.0, -0.06], [-0.04, 0.06, 0.0]])

    def velocity(self, fixed, moving):
        axes = [torch.arange(n, dtype=torch.float32) for n in fixed.shape[2:]]
        relative = torch.stack(torch.meshgrid(*axes, indexing="ij")) - centroid(fixed).view(-1, 1, 1, 1)
        return torch.einsum("ab,bijk->aijk", self.generator, relative)[None]


class WrongSign(CentroidShift):
    def velocity(self, fixed, moving):
        return -super().velocity(fixed, moving)


class MirroredAxis(CentroidShift):
    def velocity(self, fixed, moving):
        return super().velocity(fixed, moving) * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1, 1)


class SwappedAxes(CentroidShift):
    def velocity(self, fixed, moving):
        return super().velocity(fixed, moving).flip(1)


class SwappedImages(CentroidShift):
    def forward(self, fixed, moving):
        return super().forward(moving, fixed)


def trained(module, dimensions=3, spacing_mm=2.0, longest_vox=40):
    header = ModelHeader(architecture={"name": "fake"}, dimensions=dimensions, spacing_mm=spacing_mm, longest_vox=longest_vox)
    return TrainedModel("fake", module, header)


def at(grid: Grid, *fractions: float) -> np.ndarray:
    """The world point at these parts of a grid's right, anterior and superior-most axes."""
    canonical = canonical_volume(Volume(np.zeros(grid.shape, np.float32), grid)).grid
    return canonical.voxel_to_world(np.array([fractions]) * (np.array(canonical.shape) - 1))[0]


def blob(grid: Grid, point: np.ndarray, radius_mm: float) -> Volume:
    distance = np.linalg.norm(grid.voxel_to_world(grid.voxel_indices()) - point, axis=1).reshape(grid.shape)
    return Volume(np.exp(-0.5 * (distance / radius_mm) ** 2).astype(np.float32), grid)


def stretched_blob(grid: Grid, frame: Grid, point: np.ndarray, to_frame: AffineTransform) -> Volume:
    """A blob around a point of `frame`, as wide along each of its axes as fits in, seen on another grid."""
    voxels = frame.world_to_voxel(to_frame.map(grid.voxel_to_world(grid.voxel_indices()))) - frame.world_to_voxel(point[None])
    distance = np.linalg.norm(voxels / np.maximum(0.09 * np.array(frame.shape), 1.2), axis=1)
    return Volume(np.exp(-0.5 * distance**2).reshape(grid.shape).astype(np.float32), grid)


def placed(volume: Volume):
    return place(canonical_volume(volume), CPU)


def displacement_mm(velocity, fixed) -> np.ndarray:
    """What the velocity does at the fixed image's own voxels."""
    field = integrate(resize_field(velocity, fixed.grid.shape))
    return to_array(field) @ fixed.grid.affine[:3, :3].T


def shifted_blobs(grid: Grid, moving_grid: Grid, affine: AffineTransform):
    """Fixed and moving, and the world displacement of the blob in fixed space."""
    start, end = at(grid, 0.44, 0.60, 0.40), at(grid, 0.54, 0.40, 0.64)
    fixed = stretched_blob(grid, grid, start, AffineTransform.identity())
    moving = stretched_blob(moving_grid, grid, end, affine.inverse())
    return placed(fixed), placed(moving), end - start


def worst_miss(model, grid, moving_grid, affine):
    """The largest error along any axis, in units of the true shift along it."""
    fixed, moving, truth = shifted_blobs(grid, moving_grid, affine)
    found = displacement_mm(predict_velocity(trained(model), fixed, moving, affine), fixed)
    to_axes = np.linalg.inv(fixed.grid.direction).T
    return np.abs((found - truth) @ to_axes / (truth @ to_axes)).max()


@pytest.mark.parametrize("offset", [0, 1])
def test_a_shift_is_found_in_the_world_whatever_the_grid(grid, offset):
    assert worst_miss(CentroidShift(offset=offset), grid, grid, AffineTransform.identity()) < 0.05


@pytest.mark.parametrize("wrong", [WrongSign, MirroredAxis, SwappedAxes, SwappedImages])
def test_a_wrong_sign_axis_or_order_would_show(grid, wrong):
    assert worst_miss(wrong(), grid, grid, AffineTransform.identity()) > 0.3


def test_the_moving_image_comes_through_the_affine():
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [25, -15, 40], degrees=True).as_matrix() * 1.1
    turn[:3, 3] = [300.0, -80.0, 55.0]
    affine = AffineTransform(turn)
    grid = GRIDS["permuted"]
    middle = affine.map(grid.center[None])[0]
    frame = oblique_grid((60, 60, 60), (0.9, 0.7, 1.1), (0, 0, 0))
    moved = frame.affine.copy()
    moved[:3, 3] += middle - frame.center
    assert worst_miss(CentroidShift(), grid, Grid(frame.shape, moved), affine) < 0.05


def test_a_velocity_is_no_finer_than_what_the_network_gave():
    """The fake networks answer at half resolution; a lattice as fine as the images' would promise detail that is not there."""
    grid = oblique_grid((40, 33, 36), (2.0, 2.0, 2.0), (0, 0, 0))
    fixed, moving, _ = shifted_blobs(grid, grid, AffineTransform.identity())
    model = trained(CentroidShift())
    working = working_grid(fixed.grid, model.header).shape
    found = predict_velocity(model, fixed, moving, AffineTransform.identity()).shape[2:]
    assert all(n / 2 <= m <= n / 2 + 2 for n, m in zip(working, found, strict=True))


def test_a_rotation_keeps_its_axis_and_angle(grid):
    start = at(grid, 0.45, 0.55, 0.5)
    fixed = placed(blob(grid, start, max(2.0, 1.2 * float(grid.spacing.max()))))
    model = trained(Turn(), longest_vox=40)
    velocity = predict_velocity(model, fixed, fixed, AffineTransform.identity())
    to_mm = working_grid(fixed.grid, model.header).affine[:3, :3]
    turn = scipy.linalg.expm(to_mm @ Turn.generator.numpy() @ np.linalg.inv(to_mm))
    points = fixed.grid.voxel_to_world(fixed.grid.voxel_indices())
    wanted = ((points - start) @ (turn - np.eye(3)).T).reshape(*fixed.grid.shape, 3)
    # Near the rim a path leaves the lattice, where the velocity is that of the rim.
    inner = tuple(slice(n // 4, n - n // 4) for n in fixed.grid.shape)
    error = np.linalg.norm(displacement_mm(velocity, fixed) - wanted, axis=-1)[inner]
    assert error.max() < 0.05 * np.linalg.norm(wanted, axis=-1).max()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_moves_in_its_plane(axis):
    shape, spacing = [70, 60, 50], [1.2, 0.8, 1.0]
    shape[axis] = 1
    grid = oriented_grid("RAS", tuple(shape), tuple(spacing))
    fractions = np.array([[0.40, 0.60, 0.45], [0.52, 0.44, 0.65]])
    fractions[:, axis] = 0
    start, end = (at(grid, *row) for row in fractions)
    fixed, moving = (placed(blob(grid, point, 4.0)) for point in (start, end))
    found = displacement_mm(predict_velocity(trained(CentroidShift(), 2), fixed, moving, AffineTransform.identity()), fixed)
    np.testing.assert_allclose(found, np.broadcast_to(end - start, found.shape), atol=0.05 * np.linalg.norm(end - start))
    assert not found[..., axis].any()


def test_models_and_images_of_other_dimensions_are_refused():
    volume, picture = (placed(blob(oriented_grid("RAS", s), np.zeros(3), 9.0)) for s in ((20, 20, 20), (20, 20, 1)))
    with pytest.raises(InputError, match=r"for slices \(2-D\); these images are volumes"):
        predict_velocity(trained(CentroidShift(), 2), volume, volume, AffineTransform.identity())
    with pytest.raises(InputError, match=r"for volumes \(3-D\); these images are slices"):
        predict_velocity(trained(CentroidShift(), 3), picture, picture, AffineTransform.identity())


@pytest.mark.parametrize(
    ("shape", "spacing", "longest", "wanted_mm"),
    [
        ((160, 192, 224), (1, 1, 1), 96, 2.0),  # a head
        ((91, 109, 91), (2, 2, 2), 96, 2.0),
        ((256, 256, 34), (0.94, 0.94, 5), 96, 2.0),  # thick slices are made isotropic
        ((110, 150, 80), (0.15, 0.15, 0.15), 96, 0.15 * 149 / 95),  # a mouse: as many voxels as in training
        ((128, 128, 60), (3.9, 3.9, 3.9), 96, 3.9 * 127 / 95),  # a trunk, more than twice as large as in training
    ],
)
def test_the_working_voxel_suits_the_field_of_view(shape, spacing, longest, wanted_mm):
    grid = oriented_grid("RAS", shape, spacing)
    working = working_grid(grid, trained(None, longest_vox=longest).header)
    np.testing.assert_allclose(working.spacing, wanted_mm, rtol=0.03)
    np.testing.assert_allclose(working.corners(), grid.corners(), atol=1e-9)


def test_no_image_is_too_large():
    grid = oriented_grid("RAS", (1200, 1100, 1000), (0.3, 0.3, 0.3))
    assert 0.9 * LARGEST_LATTICE < np.prod(working_grid(grid, trained(None, longest_vox=192).header).shape) <= LARGEST_LATTICE


def test_intensities_are_those_of_training():
    """From 0 to 1 in the field of view, 0 outside: there the moving image is not smeared out."""
    grid = oriented_grid("RAS", (40, 40, 40), (2, 2, 2))
    half = Grid((20, 40, 40), grid.affine)
    fixed = placed(Volume(np.random.default_rng(0).uniform(0.2, 0.9, grid.shape).astype(np.float32), grid))
    moving = placed(Volume(np.random.default_rng(1).uniform(0.3, 0.4, half.shape).astype(np.float32), half))
    model = CentroidShift()
    predict_velocity(trained(model, longest_vox=40), fixed, moving, AffineTransform.identity())
    for image in model.seen[0]:
        assert image.shape == (1, 1, 48, 48, 48)
        assert (float(image.min()), float(image.max())) == (0.0, 1.0)
    seen = model.seen[0][1][0, 0, 4:44, 4:44, 4:44]
    assert not seen[21:].any()
    assert seen[:19].mean() > 0.3


class Returns(nn.Module):
    """A network that gives a fixed thing."""

    multiple, offset = 16, 0

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, fixed, moving):
        return self.given


@pytest.mark.parametrize("shape", [(1, 2, 16, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16, 16), (1, 3, 1, 16, 16)])
def test_what_is_no_velocity_is_refused(shape):
    image = placed(blob(oriented_grid("RAS", (20, 20, 20)), np.zeros(3), 9.0))
    with pytest.raises(InputError, match="should give a velocity of 3 components"):
        predict_velocity(trained(Returns(torch.zeros(shape))), image, image, AffineTransform.identity())


def test_a_velocity_that_is_not_finite_is_refused():
    image = placed(blob(oriented_grid("RAS", (20, 20, 20)), np.zeros(3), 9.0))
    with pytest.raises(EngineError, match="not finite"):
        predict_velocity(trained(Returns(torch.full((1, 3, 8, 8, 8), torch.inf))), image, image, AffineTransform.identity())
