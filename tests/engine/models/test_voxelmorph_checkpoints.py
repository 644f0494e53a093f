"""VoxelMorph's files: the older network equals MONAI's rewriting of it, and what is no checkpoint is refused and runs nothing."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_deformreg.engine.models import load_voxelmorph
from napari_deformreg.engine.models.weights import load_model, save_model
from napari_deformreg.errors import FileFormatError, InputError

DENSE = {
    "inshape": (32, 32), "nb_unet_features": [[4, 6], [7, 5, 3]], "nb_unet_levels": None, "unet_feat_mult": 1, "nb_unet_conv_per_level": 1,
    "int_steps": 7, "int_downsize": 2, "bidir": False, "use_probs": False, "src_feats": 1, "trg_feats": 1, "unet_half_res": False,
}  # fmt: skip
"""The `config` that VxmDense.save writes."""


def dense_state(dimensions: int = 2, levels: int = 2, spread: float = 0.15) -> dict[str, torch.Tensor]:
    """Weights of a small VxmDense, with its names."""
    torch.manual_seed(0)
    channels = {"encoder.0.0": (2, 4), "encoder.1.0": (4, 6), "decoder.0.0": (6, 7), "decoder.1.0": (13, 5), "remaining.0": (9, 3)}
    state = {}
    for name, (inputs, outputs) in channels.items():
        state[f"unet_model.{name}.main.weight"] = spread * torch.randn(outputs, inputs, *[3] * dimensions)
        state[f"unet_model.{name}.main.bias"] = spread * torch.randn(outputs)
    state["flow.weight"] = 0.3 * torch.randn(dimensions, 3, *[3] * dimensions)
    state["flow.bias"] = torch.randn(dimensions)
    return state


def monais(state: dict[str, torch.Tensor], dimensions: int, half: bool) -> nn.Module:
    """MONAI's VoxelMorph with the same weights: its channels pair encoder and decoder level by level."""
    nets = pytest.importorskip("monai.networks.nets")
    backbone = nets.VoxelMorphUNet(dimensions, 2, 3, channels=(4, 5, 6, 7), final_conv_channels=())
    ordered = ["encoder.0.0", "encoder.1.0", "decoder.0.0", "decoder.1.0", "remaining.0"]
    wanted = [(state[f"unet_model.{n}.main.weight"], state[f"unet_model.{n}.main.bias"]) for n in ordered]
    for index, upsampled in ((3, 7), (4, 5)):  # MONAI puts the encoder's features before the upsampled ones, VoxelMorph behind them
        weight, bias = wanted[index]
        wanted[index] = (torch.cat([weight[:, upsampled:], weight[:, :upsampled]], dim=1), bias)
    wanted.append((state["flow.weight"], state["flow.bias"]))
    convolutions = [module for module in backbone.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    for convolution in convolutions:
        index = next(i for i, (weight, _) in enumerate(wanted) if weight.shape == convolution.weight.shape)
        weight, bias = wanted.pop(index)
        with torch.no_grad():
            convolution.weight.copy_(weight)
            convolution.bias.copy_(bias)
    assert not wanted
    with warnings.catch_warnings(action="ignore"):  # that it samples with torch, not with its own compiled code
        return nets.VoxelMorph(backbone, integration_steps=7, half_res=half, spatial_dims=dimensions).eval()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_vxm_dense_on_the_whole_lattice_equals_monais(dimensions, tmp_path):
    pytest.importorskip("monai")
    state = dense_state(dimensions)
    size = (32, 24, 16)[:dimensions]
    config = DENSE | {"inshape": size, "int_downsize": 1}
    torch.save({"config": config, "model_state": state | {"transformer.grid": torch.zeros(1, dimensions, *size)}}, tmp_path / "vxm.pt")
    ours = load_voxelmorph(tmp_path / "vxm.pt")
    assert ours.squarings == 7
    moving, fixed = torch.rand(1, 1, *size), torch.rand(1, 1, *size)
    with torch.no_grad():
        moved, displacement = monais(state, dimensions, half=False)(moving, fixed)
        out = ours(fixed, moving)
    assert displacement.abs().max() > 0.5
    torch.testing.assert_close(out.displacement_vox, displacement, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(out.moved, moved, atol=2e-5, rtol=1e-5)


def test_vxm_dense_integrates_on_half_the_lattice(tmp_path):
    torch.save({"config": DENSE, "model_state": dense_state()}, tmp_path / "half.pt")
    torch.save({"config": DENSE | {"int_downsize": 1}, "model_state": dense_state()}, tmp_path / "whole.pt")
    half, whole = load_voxelmorph(tmp_path / "half.pt"), load_voxelmorph(tmp_path / "whole.pt")
    smooth = torch.sin(torch.arange(64) / 9.0)
    fixed, moving = (smooth[:, None] * smooth.roll(k)[None] for k in (0, 5))
    a, b = half(fixed[None, None], moving[None, None]), whole(fixed[None, None], moving[None, None])
    assert a.velocity_vox.shape[2:] == (32, 32)
    assert b.velocity_vox.shape[2:] == (64, 64)
    inside = (..., slice(8, -8), slice(8, -8))
    difference = (a.displacement_vox - b.displacement_vox)[inside].abs().mean()
    assert difference < 0.1 * b.displacement_vox[inside].abs().mean(), "one motion, sampled on two lattices"


def test_a_decoder_that_stops_at_half_was_trained_to_be_doubled(tmp_path):
    state = dense_state()
    state["unet_model.remaining.0.main.weight"] = state["unet_model.remaining.0.main.weight"][:, :5]  # without the finest skip
    torch.save({"config": DENSE | {"unet_half_res": True}, "model_state": state}, tmp_path / "vxm.pt")
    ours = load_voxelmorph(tmp_path / "vxm.pt", squarings=0)
    fixed, moving = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    raw = ours.model.decoder[-1].register_forward_hook(lambda _, __, out: heard.append(out))
    heard: list[torch.Tensor] = []
    out = ours(fixed, moving)
    raw.remove()
    flow = ours.model.flow(heard[0])
    assert flow.shape[2:] == (16, 16)
    # VxmDense resizes with fixed corners and multiplies by 2: at the corners the displacement is exactly twice the flow.
    torch.testing.assert_close(out.displacement_vox[..., 0, 0], 2 * flow[..., 0, 0])
    torch.testing.assert_close(out.displacement_vox[..., -1, -1], 2 * flow[..., -1, -1])


def test_a_voxelmorph_model_becomes_a_model_file(tmp_path):
    torch.save({"config": DENSE, "model_state": dense_state()}, tmp_path / "vxm.pt")
    theirs = load_voxelmorph(tmp_path / "vxm.pt")
    save_model(theirs.model, tmp_path / "mine.safetensors", spacing_mm=1.0, longest_vox=32)
    fixed, moving = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(load_model(tmp_path / "mine.safetensors").module(fixed, moving), theirs.model(fixed, moving), rtol=0, atol=0)


class Bomb:
    """Leaves a mark if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"config": DENSE, "model_state": dense_state(), "note": Bomb(mark)}, tmp_path / "new.pt")
    torch.save({"model_state": Bomb(mark)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(mark)))
    torch.save(nn.Conv2d(1, 1, 3), tmp_path / "module.pt")
    for name in ("new.pt", "old.pt", "plain.pt", "module.pt"):
        with pytest.raises(FileFormatError, match="Nothing in it was run"):
            load_voxelmorph(tmp_path / name)
    assert not mark.exists()
    Bomb(mark).__reduce__()[0](mark)
    assert mark.exists(), "the bomb would have gone off"


def test_damaged_and_foreign_files_are_refused(tmp_path):
    good = tmp_path / "good.pt"
    torch.save(dense_state(), good)
    load_voxelmorph(good)
    content = good.read_bytes()
    cut = tmp_path / "cut.pt"
    for end in (0, 10, len(content) // 2, len(content) - 40):
        cut.write_bytes(content[:end])
        with pytest.raises(FileFormatError, match="damaged"):
            load_voxelmorph(cut)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(FileFormatError):
        load_voxelmorph(tmp_path / "array.npy")
    with pytest.raises(InputError, match="no file"):
        load_voxelmorph(tmp_path / "absent.pt")


def changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor | None] = dense_state() | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2, 3], "holds a list"),
        ({"epoch": 3}, "no weights"),
        ({"layer.weight": torch.zeros(3, 3)}, "no flow layer"),
        ({"flow.weight": torch.zeros(3)}, "lacks the convolution 'flow.weight'"),
        ({"flow_layer.conv0.weight": torch.zeros(2, 2, 3, 3)}, "lacks the convolution 'model.lowest"),
        (changed(flow__weight=torch.zeros(2, 99, 3, 3)), "'flow.weight' should be"),
        (changed(flow__bias=None), "'flow.bias' should be .* is absent"),
        (changed(extra__weight=torch.zeros(1)), "'extra.weight' should be absent"),
        (changed(flow__bias=torch.tensor([float("nan"), 0.0])), "not finite"),
        (changed(unet_model__encoder__1000000000__0__main__weight=torch.zeros(1, 1, 3, 3)), "1000000001 levels"),
        ({"config": DENSE | {"int_downsize": 4}, "model_state": dense_state()}, "1/4 of the lattice"),
        ({"config": DENSE | {"int_steps": "many"}, "model_state": dense_state()}, "'int_steps'"),
        ({"config": DENSE | {"int_steps": 10**9}, "model_state": dense_state()}, "0 to 16 squarings"),
    ],
)
def test_wrong_content_is_told(content, message, tmp_path):
    torch.save(content, tmp_path / "vxm.pt")
    with pytest.raises(InputError, match=message):
        load_voxelmorph(tmp_path / "vxm.pt")


def test_what_no_weight_tells_must_be_said(tmp_path):
    pairwise = {
        "flow_layer.conv0.weight": torch.zeros(2, 2, 3, 3), "model.lowest_resolution_conv_block.conv0.weight": torch.zeros(4, 4, 3, 3),
        "model.downsampling_conv_blocks.0.conv_block.conv0.weight": torch.zeros(4, 3, 3, 3),
    }  # fmt: skip
    torch.save(pairwise, tmp_path / "odd.pt")
    with pytest.raises(InputError, match="moving_channels"):
        load_voxelmorph(tmp_path / "odd.pt")
    norm = "model.downsampling_conv_blocks.0.conv_block.normalization0.weight"
    torch.save(pairwise | {norm: torch.zeros(4)}, tmp_path / "normalized.pt")
    with pytest.raises(InputError, match="order='cna'"):
        load_voxelmorph(tmp_path / "normalized.pt", moving_channels=1)
    with pytest.raises(InputError, match="activation"):
        load_voxelmorph(tmp_path / "odd.pt", moving_channels=1, activation="tanh")
