"""A model written as ONNX gives the same velocity in onnxruntime, from the command line as from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_deformreg import cli
from napari_deformreg.engine.differentiable import compose, integrate, resize_field, warp
from napari_deformreg.engine.models import MODELS, VelocityUNet, build_model, onnx_export
from napari_deformreg.engine.models.weights import ModelHeader, TrainedModel, save_model
from napari_deformreg.errors import InputError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Warping(nn.Module):
    """What a coarse-to-fine model does inside: coarse fields, resized, integrated, composed, and images warped by them."""

    multiple, offset, architecture = 4, 1, {"name": "warping"}

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv3d(2, 3, 3, padding=1)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        coarse = self.flow(torch.cat([fixed, moving], dim=1)[..., ::2, ::2, ::2])
        fine = integrate(resize_field(3 * coarse, tuple(fixed.shape[2:])), 2)
        return compose(self.flow(torch.cat([fixed, warp(moving, fine)], dim=1)), fine)


def velocities(path: Path, module: nn.Module, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The velocity of new images, from onnxruntime and from torch."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["fixed", "moving"]
    assert [entry.name for entry in session.get_outputs()] == ["velocity_vox"]
    fixed, moving = torch.rand(2, 1, 1, *size)
    (got,) = session.run(None, {"fixed": fixed.numpy(), "moving": moving.numpy()})
    with torch.no_grad():
        return got, module(fixed, moving).numpy()


def trained(module: nn.Module, dimensions: int) -> TrainedModel:
    header = ModelHeader(architecture=dict(module.architecture), dimensions=dimensions, longest_vox=16, notes={"seed": 1})
    return TrainedModel("mine", module.eval(), header)


@pytest.mark.parametrize("size", [None, (16, 24, 8)])
def test_a_volumetric_unet_gives_the_same_velocity(size, tmp_path):
    torch.manual_seed(0)
    module = VelocityUNet(encoder=(4, 6, 6), decoder=(6, 6, 4, 4), output="resized", upsampling="linear")
    nn.init.normal_(module.flow.weight, std=1.0)
    shape = onnx_export.export_onnx(trained(module, 3), tmp_path / "mine.onnx", size)
    assert shape == (size or (16, 16, 16))
    got, wanted = velocities(tmp_path / "mine.onnx", module, shape)
    assert np.abs(wanted).max() > 0.02
    np.testing.assert_allclose(got, wanted, atol=2e-5)
    session = onnxruntime.InferenceSession(str(tmp_path / "mine.onnx"), providers=["CPUExecutionProvider"])
    described = json.loads(session.get_modelmeta().custom_metadata_map["deformreg"])
    assert ModelHeader.model_validate(described).architecture == module.architecture
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.onnx"], "one file, nothing left behind"


def test_a_model_that_warps_volumes_inside_gives_the_same_velocity(tmp_path):
    torch.manual_seed(0)
    module = Warping()
    shape = onnx_export.export_onnx(trained(module, 3), tmp_path / "warping.onnx", (9, 13, 17))
    got, wanted = velocities(tmp_path / "warping.onnx", module, shape)
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(got, wanted, atol=2e-5)


SMALL = {
    "matching_pyramid": {"features": [4, 6, 8], "hidden": [6, 6]},
    "unet": {"encoder": [4, 6], "decoder": [6, 4, 4]},
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_table_gives_the_same_velocity(name, dimensions, tmp_path):
    torch.manual_seed(0)
    module = build_model({"name": name, "dimensions": dimensions, **SMALL[name]})
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(0.05 * torch.randn(weights.shape))
    size = tuple(4 * n + module.offset for n in (4, 5, 3)[:dimensions])
    onnx_export.export_onnx(trained(module, dimensions), tmp_path / "small.onnx", size)
    got, wanted = velocities(tmp_path / "small.onnx", module, size)
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_the_command_writes_a_slices_model(tmp_path, capsys):
    torch.manual_seed(0)
    module = VelocityUNet(dimensions=2, encoder=(4, 6), decoder=(6, 4, 4))
    nn.init.normal_(module.flow.weight, std=1.0)
    save_model(module, tmp_path / "mine.safetensors", longest_vox=32)
    out = tmp_path / "mine.onnx"
    words = ["export-model", str(tmp_path / "mine.safetensors"), "--out"]
    assert cli.main([*words, str(out), "--size", "32", "16"]) == 0
    assert "32 x 16 voxels" in capsys.readouterr().out
    got, wanted = velocities(out, module, (32, 16))
    np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert cli.main([*words, str(tmp_path / "mine.pt")]) == cli.USER_MISTAKE
    assert ".onnx" in capsys.readouterr().err
    for size in (["32"], ["33", "16"], ["0", "16"], ["4096", "16"]):
        assert cli.main([*words, str(out), "--size", *size]) == cli.USER_MISTAKE
        assert "multiples of 4" in capsys.readouterr().err
    assert cli.main([*words, str(tmp_path / "no folder" / "mine.onnx"), "--size", "8", "8"]) == cli.USER_MISTAKE
    assert "Cannot write" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"napari-deformreg\[onnx\]"):
        onnx_export.export_onnx(trained(Warping(), 3), tmp_path / "mine.onnx")
