"""Given the same weights and inputs, fields and networks are VoxelMorph's to float precision; where not, they differ by what is said."""

from __future__ import annotations

import pytest
import torch

from napari_deformreg.engine.differentiable import affine_to_displacement, compose, compose_chain, integrate, resize_field, warp
from napari_deformreg.engine.models import PairwiseRegistration, Transform, VelocityUNet, load_voxelmorph
from napari_deformreg.errors import InputError

vxm = pytest.importorskip("voxelmorph", reason="VoxelMorph is the oracle here")
vxf = pytest.importorskip("voxelmorph.nn.functional")

SHAPES = [(13, 17), (9, 11, 14)]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=1e-5)


def field(shape: tuple[int, ...], spread: float, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn((2, len(shape), *shape), generator=torch.Generator().manual_seed(seed))


def matrix(d: int, seed: int = 0) -> torch.Tensor:
    turned = torch.eye(d, d + 1) + 0.1 * torch.randn((d, d + 1), generator=torch.Generator().manual_seed(seed))
    return torch.cat([turned, torch.eye(d + 1)[-1:]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_spatial_transform(shape, mode):
    image, u = torch.rand(2, 3, *shape), field(shape, 2.0)
    close(warp(image, u, mode, padding="zeros"), vxf.spatial_transform(image, u, method=mode))
    close(warp(image, u, mode, padding="border"), vxf.spatial_transform(image, u, method=mode, padding_mode="border"))
    close(Transform(mode, padding="zeros")(image, u), vxm.nn.modules.SpatialTransformer(interpolation_mode=mode)(image, u))


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_makes_no_difference_where_nothing_comes_from_outside(shape):
    image, u = torch.rand(2, 1, *shape), field(shape, 2.0)
    axes = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    size = torch.tensor(shape).view(-1, *[1] * len(shape))
    places = torch.stack(axes) + u
    inside = ((places >= 0) & (places <= size - 1)).all(dim=1, keepdim=True)
    assert 0.2 < inside.float().mean() < 0.9
    ours, theirs = warp(image, u), vxf.spatial_transform(image, u)
    close(ours[inside], theirs[inside])
    assert (ours[~inside] >= image.min()).all(), "the border is the image's own, so that no dark seam is registered"
    assert (theirs[~inside] < image.min()).any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [0, 1, 5, 7])
def test_integrate_vec(shape, steps):
    v = field(shape, 2.0)
    close(integrate(v, steps, padding="zeros"), vxf.integrate_vec(v, steps))
    close(integrate(v, steps, padding="zeros"), vxm.nn.modules.IntegrateVelocityField(steps=steps)(v))


@pytest.mark.parametrize("shape", SHAPES)
def test_compose(shape):
    u, w, a = field(shape, 2.0), field(shape, 1.0, seed=1), matrix(len(shape))
    close(compose(u, w, padding="zeros"), vxf.compose([u, w]))
    close(compose_chain([u, w, u], padding="zeros"), vxf.compose([u, w, u]))
    # VoxelMorph composes affines with fields for one pair at a time only (for a batch it takes the components for an axis).
    for n in range(2):
        one, other = u[n : n + 1], w[n : n + 1]
        close(compose_chain([a, u])[n], vxf.compose([a, one[0]]))
        close(compose_chain([u, a], padding="zeros")[n], vxf.compose([one[0], a]))
        close(compose_chain([u, a, w], padding="zeros")[n], vxf.compose([one[0], a, other[0]]))
    with pytest.raises(AssertionError):
        vxf.compose([a, u])
    close(compose_chain([a, matrix(len(shape), seed=2)]), vxf.compose([a, matrix(len(shape), seed=2)]))
    close(compose_chain([a[:-1], a[:-1]], shape=shape), vxf.compose([a[:-1], a[:-1]], shape=shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_resize_disp(shape):
    u = field(shape, 2.0)
    finer = tuple(2 * n - 1 for n in shape)
    for other in (finer, tuple(n // 2 + 1 for n in shape)):
        ratio = torch.tensor([(m / n) / ((m - 1) / (n - 1)) for m, n in zip(other, shape, strict=True)])
        theirs = vxm.resize_disp(u, shape=other, non_spatial_dims=(0,))
        close(resize_field(u, other) * ratio.view(1, -1, *[1] * len(shape)), theirs)
    # Why (N_out - 1)/(N_in - 1): both keep the corner centers in place, so 2 N - 1 voxels are half as far apart as N were. A shift by one
    # old voxel is then 2 new ones; VoxelMorph's is 2 - 1/N, which moves elsewhere.
    one = torch.ones_like(u)
    close(resize_field(one, finer)[:, 0], torch.full((2, *finer), 2.0))
    close(vxm.resize_disp(one, shape=finer, non_spatial_dims=(0,))[:, 0], torch.full((2, *finer), 2.0 - 1 / shape[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_affine_to_disp(shape):
    a, d = matrix(len(shape)), len(shape)
    close(affine_to_displacement(a, shape)[0], vxm.affine_to_disp(a, shape=shape))
    close(affine_to_displacement(a[:d], shape, "corner")[0], vxm.affine_to_disp(a, shape=shape, origin_at_center=False))
    batch = torch.stack([a, matrix(d, seed=3)])
    close(affine_to_displacement(batch, shape), vxm.affine_to_disp(batch, shape=shape))
    u = field(shape, 1.0)
    close(affine_to_displacement(a, shape, after=u[:1])[0], vxm.affine_to_disp(a, shape=shape, warp_right=u[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_pulls_as_a_field_does(shape):
    # VoxelMorph's spatial_transform inverts affines (they push), and no other of its functions does; here everything pulls.
    image, a = torch.rand(1, 1, *shape), matrix(len(shape))
    close(Transform(padding="zeros")(image, torch.linalg.inv(a)), vxf.spatial_transform(image, a))
    close(Transform(padding="zeros")(image, a), vxf.spatial_transform(image, vxm.affine_to_disp(a, shape=shape)[None]))


NETWORKS = {
    "default, 2-D": {"ndim": 2, "source_channels": 1, "target_channels": 1},
    "3-D": {"ndim": 3, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6, 8), "integration_steps": 7},
    "down and up differ": {"ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": ((4, 6, 8), (9, 7, 5))},
    "levels without convolutions": {"ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": ((0, 6, 8), (9, 0, 5))},
    "channels": {"ndim": 2, "source_channels": 2, "target_channels": 1, "nb_features": (4, 6)},
    "elu": {"ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6), "activations": "elu", "final_activation": "elu"},
    "transposed, twice a level": {
        "ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6),
        "unet_kwargs": {"upsample_mode": "transposed", "order": "caca"},
    },
    "normalized": {
        "ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6),
        "unet_kwargs": {"normalizations": "instance", "order": "nca", "padding_mode": "reflect", "upsample_mode": "nearest"},
    },
    "batch normalized": {
        "ndim": 3, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6),
        "unet_kwargs": {"normalizations": "batch", "order": "cnaca"},
    },
    "no skips": {"ndim": 2, "source_channels": 1, "target_channels": 1, "nb_features": (4, 6), "unet_kwargs": {"skip_connections": False}},
}  # fmt: skip

TOLD = {
    "channels": {"moving_channels": 2},
    "elu": {"activation": "elu", "projection_activation": "elu"},
    "normalized": {"order": "nca", "padding": "reflect", "upsampling": "nearest"},
    "batch normalized": {"order": "cnaca"},
}
"""What no weight tells and is not VoxelMorph's default."""


@pytest.mark.parametrize("case", NETWORKS)
def test_vxm_pairwise(case, tmp_path):
    arguments = dict(NETWORKS[case])
    torch.manual_seed(0)
    theirs = vxm.nn.models.VxmPairwise(**arguments, flow_initializer=0.5).eval()
    torch.save(theirs.state_dict(), tmp_path / "vxm.pt")
    steps = {"squarings": 7} if "integration_steps" in arguments else {}
    ours = load_voxelmorph(tmp_path / "vxm.pt", **TOLD.get(case, {}), **steps)
    size = (32, 64, 32)[: arguments["ndim"]]
    moving, fixed = torch.rand(2, arguments["source_channels"], *size), torch.rand(2, arguments["target_channels"], *size)
    with torch.no_grad():
        field, moved, fixed_moved = theirs(moving, fixed, return_warped_source=True, return_warped_target=True)
        velocity = theirs(moving, fixed, return_field_type="velocity")
        out = ours(fixed, moving, bidirectional=True)
    assert velocity.std() > 0.01
    for mine, other in ((out.velocity_vox, velocity), (out.displacement_vox, field), (out.moved, moved), (out.fixed_moved, fixed_moved)):
        close(mine, other)


def test_vxm_pairwise_without_integration(tmp_path):
    theirs = vxm.nn.models.VxmPairwise(2, 1, 1, nb_features=(4, 6), flow_initializer=0.5, integration_steps=0).eval()
    torch.save({"epoch": 3, "model_state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "vxm.pt")
    ours = load_voxelmorph(tmp_path / "vxm.pt", squarings=0)
    moving, fixed = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        field, moved = theirs(moving, fixed, return_warped_source=True)
        close(ours(fixed, moving).displacement_vox, field)
        close(ours(fixed, moving).moved, moved)
    with pytest.raises(InputError, match="no inverse"):
        ours(fixed, moving, bidirectional=True)


def test_training_gradients_are_voxelmorphs(tmp_path):
    torch.manual_seed(0)
    theirs = vxm.nn.models.VxmPairwise(2, 1, 1, nb_features=(4, 6), flow_initializer=0.5)
    torch.save(theirs.state_dict(), tmp_path / "vxm.pt")
    ours = load_voxelmorph(tmp_path / "vxm.pt")
    moving, fixed = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    for moved in (theirs(moving, fixed, return_warped_source=True)[1], ours(fixed, moving).moved):
        (moved - fixed).square().mean().backward()
    assert isinstance(ours, PairwiseRegistration)
    assert isinstance(ours.model, VelocityUNet)
    close(ours.model.flow.weight.grad, theirs.flow_layer.conv0.weight.grad)
    close(ours.model.encoder[0][0].weight.grad, theirs.model.downsampling_conv_blocks[0].conv_block.conv0.weight.grad)
