"""The U-Net: shapes, sizes known from elsewhere, an architecture that builds an equal model, and refusals that say what to do."""

import json

import pytest
import torch

from napari_deformreg.engine.models import MODELS, VelocityModel, VelocityUNet, build_model
from napari_deformreg.errors import InputError

VARIANTS = {
    "default": {},
    "two dimensions": {"dimensions": 2, "encoder": (4, 8), "decoder": (8, 4, 4)},
    "two channels a side": {"moving_channels": 2, "fixed_channels": 3, "encoder": (4, 8), "decoder": (8, 4, 4)},
    "half": {"dimensions": 2, "output": "half", "encoder": (4, 8, 8), "decoder": (8, 6, 4, 5)},
    "resized": {"dimensions": 2, "output": "resized", "encoder": (4, 8), "decoder": (8, 4, 4)},
    "several convolutions a level": {"dimensions": 2, "encoder": ((4, 5), (6, 7)), "decoder": ((7, 6), (5, 4), 3)},
    "normalized": {"dimensions": 2, "order": "cnaca", "normalization": "instance", "activation": "elu", "padding": "replicate"},
    "levels without convolutions": {"dimensions": 2, "encoder": (0, 8), "decoder": (8, 0, 0)},
    "no skips": {"dimensions": 2, "skips": False, "upsampling": "transposed", "projection": True, "projection_activation": "relu"},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_an_architecture_builds_an_equal_model(options):
    torch.manual_seed(0)
    model = VelocityUNet(**options)
    architecture = json.loads(json.dumps(model.architecture))
    twin = build_model(architecture)
    assert twin.architecture == model.architecture
    twin.load_state_dict(model.state_dict(), strict=True)
    o = model.options
    size = tuple(model.multiple * n + model.offset for n in (1, 2, 1)[: o.dimensions])
    fixed, moving = torch.rand((2, o.fixed_channels, *size)), torch.rand((2, o.moving_channels, *size))
    velocity = model.eval()(fixed, moving)
    factor = 1 if o.output == "full" else 2
    assert velocity.shape == (2, o.dimensions, *(n // factor for n in size))
    torch.testing.assert_close(twin.eval()(fixed, moving), velocity, rtol=0, atol=0)
    assert velocity.abs().max() < 1e-2, "an untrained model is nearly the identity"


def test_the_default_has_as_many_weights_as_voxelmorphs():
    # 327,331: VxmDense of VoxelMorph 0.2 with its default features, counted in its own code.
    assert sum(weights.numel() for weights in VelocityUNet().parameters()) == 327_331


def test_every_weight_learns():
    torch.manual_seed(0)
    model = VelocityUNet(dimensions=2, encoder=(4, 6), decoder=(6, 4, 4))
    model(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)).square().sum().backward()
    assert all(weights.grad is not None and weights.grad.abs().sum() > 0 for weights in model.parameters())


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"name": "transformer"}, "named one of .*unet"),
        ({}, "got None"),
        ({"name": "unet", "layers": 3}, "layers"),
        ({"name": "unet", "encoder": [16, -1]}, "encoder"),
        ({"name": "unet", "encoder": [16] * 99}, "encoder"),
        ({"name": "unet", "encoder": [10**9]}, "encoder"),
        ({"name": "unet", "dimensions": 4}, "dimensions"),
        ({"name": "unet", "encoder": [16, 16], "decoder": [16]}, "decoder needs at least"),
        ({"name": "unet", "order": "aaa"}, "order"),
    ],
)
def test_a_wrong_architecture_is_refused(architecture, message):
    with pytest.raises(InputError, match=message):
        build_model(architecture)


def test_wrong_images_are_refused():
    model = VelocityUNet(dimensions=2)
    good = torch.rand(1, 1, 32, 32)
    with pytest.raises(InputError, match="multiples of 16"):
        model(torch.rand(1, 1, 30, 32), torch.rand(1, 1, 30, 32))
    with pytest.raises(InputError, match="one lattice"):
        model(good, torch.rand(1, 1, 48, 32))
    with pytest.raises(InputError, match="fixed image must be"):
        model(torch.rand(1, 2, 32, 32), good)
    with pytest.raises(InputError, match="moving image must be"):
        model(good, torch.rand(1, 1, 32, 32, 32))


def test_the_table_holds_models():
    assert "unet" in MODELS
    assert all(issubclass(kind, VelocityModel) for kind in MODELS.values())
