"""Model files: what is written comes back; whatever else is opened says what it is, and runs nothing."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from napari_deformreg.engine.models import weights
from napari_deformreg.engine.models.weights import METADATA_KEY, BundledFile, load_model, open_model, save_model
from napari_deformreg.errors import FileFormatError, InputError


class TinyNet(nn.Module):
    """The smallest thing that is a model."""

    multiple, offset = 2, 0

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(nn.Conv3d(2, channels, 3, padding=1), nn.ReLU(), nn.Conv3d(channels, 3, 3, stride=2, padding=1))

    @property
    def architecture(self):
        return {"name": "tiny", "channels": self.channels}

    def forward(self, fixed, moving):
        return self.layers(torch.cat([fixed, moving], 1))


@pytest.fixture(autouse=True)
def only_tiny_nets(monkeypatch):
    def build(architecture):
        if architecture.get("name") != "tiny":
            raise InputError(f"expected the network 'tiny', got {architecture.get('name')!r}")
        return TinyNet(architecture["channels"])

    monkeypatch.setattr(weights, "build_model", build)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(TinyNet(), tmp_path / "tiny.safetensors", spacing_mm=1.5, longest_vox=64, notes={"steps": 3})
    return tmp_path / "tiny.safetensors"


def rewritten(path: Path, change) -> Path:
    """The same file with its JSON header changed."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = change(json.loads(content[8 : 8 + size]))
    text = json.dumps(header).encode()
    other = path.with_name("changed.safetensors")
    other.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    return other


def with_description(path: Path, **changes) -> Path:
    def change(header):
        description = json.loads(header["__metadata__"][METADATA_KEY]) | changes
        header["__metadata__"][METADATA_KEY] = json.dumps(description)
        return header

    return rewritten(path, change)


def test_what_is_written_comes_back(saved):
    torch.manual_seed(0)
    original, loaded = TinyNet(), load_model(saved)
    image = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(loaded.module(image, image + 1), original(image, image + 1))
    assert (loaded.name, loaded.header.spacing_mm, loaded.header.longest_vox) == ("tiny", 1.5, 64)
    assert (loaded.header.dimensions, loaded.header.notes) == (3, {"steps": 3})
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


def test_the_same_model_gives_the_same_file(tmp_path):
    torch.manual_seed(0)
    model = TinyNet()
    sums = {save_model(model, tmp_path / f"{n}.safetensors", notes={"b": 1, "a": 2, "c": 3}) for n in range(4)}
    assert sums == {load_model(tmp_path / "0.safetensors").sha256}


def test_16_bit_weights_are_half_the_size_and_computed_with_32_bits(tmp_path):
    model = TinyNet(32)
    save_model(model, tmp_path / "full.safetensors")
    save_model(model, tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    loaded = load_model(tmp_path / "half.safetensors").module.state_dict()
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_pickled_checkpoint_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "it ran",))

    torch.save({"state": Trap()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("zip.pt", "plain.pth"):
        with pytest.raises(FileFormatError, match=r"pickled checkpoint.*never opened"):
            load_model(tmp_path / name)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("kept", [0, 5, 40, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(FileFormatError, match="damaged"):
        load_model(saved)


def test_text_and_noise_are_refused(tmp_path):
    for content in (b"hello " * 100, bytes(range(256)) * 50, b"\x89HDF\r\n\x1a\n" + bytes(99)):
        (tmp_path / "what.safetensors").write_bytes(content)
        with pytest.raises(FileFormatError, match="expected safetensors, got"):
            load_model(tmp_path / "what.safetensors")


def test_weights_of_another_program_are_refused(tmp_path):
    save_file({"w": torch.ones(3)}, tmp_path / "other.safetensors", {"format": "pt"})
    with pytest.raises(FileFormatError, match="not of this package"):
        load_model(tmp_path / "other.safetensors")


def test_wrong_shapes_are_named(saved):
    path = with_description(saved, architecture={"name": "tiny", "channels": 5})
    with pytest.raises(FileFormatError, match=r"'layers.0.bias' should be 5 and is 4"):
        load_model(path)


def test_a_huge_architecture_is_refused_without_memory_for_it(saved):
    path = with_description(saved, architecture={"name": "tiny", "channels": 10**9})  # 216 GB of weights, if it were built
    with pytest.raises(FileFormatError, match="do not fit"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {"name": "exec"}}, "expected the network 'tiny', got 'exec'"),
        ({"architecture": {"name": "tiny"}}, "cannot build: 'channels'"),
        ({"architecture": {"name": "tiny", "channels": -1}}, "cannot build"),
        ({"architecture": {"name": "tiny", "channels": "four"}}, "cannot build"),
        ({"format": "deformreg-model/9"}, "format"),
        ({"spacing_mm": -1}, "spacing_mm"),
        ({"dimensions": 2}, "says that it is 2-D, its weights are 3-D"),
    ],
)
def test_what_a_file_says_is_checked(saved, changes, message):
    with pytest.raises(FileFormatError, match=message):
        load_model(with_description(saved, **changes))


def test_metadata_that_is_no_json_is_refused(saved):
    path = rewritten(saved, lambda header: header | {"__metadata__": {METADATA_KEY: "[" * 5000}})
    with pytest.raises(FileFormatError, match="cannot be used"):
        load_model(path)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    model = TinyNet()
    with torch.no_grad():
        model.layers[0].weight[0] = float("nan")
    save_model(model, tmp_path / "nan.safetensors")
    with pytest.raises(FileFormatError, match="not finite"):
        load_model(tmp_path / "nan.safetensors")


def test_a_missing_file_and_an_unknown_name(tmp_path):
    with pytest.raises(InputError, match="no model file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"no model 'brains'.*expected one of auto, none"):
        open_model("brains")
    with pytest.raises(InputError, match="Cannot write the model"):
        save_model(TinyNet(), tmp_path / "no folder" / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_bundled_model_is_checked_by_its_sha256(saved, monkeypatch):
    known = BundledFile(saved.name, load_model(saved).sha256, "BSD-3-Clause")
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", saved.parent)
    monkeypatch.setattr(weights, "BUNDLED_FILES", {"tiny-1": known})
    assert open_model("tiny-1").name == "tiny-1"
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"not the one that was shipped.*Install the package again"):
        open_model("tiny-1")
    saved.unlink()
    with pytest.raises(FileFormatError, match="got no file"):
        open_model("tiny-1")


def test_the_bundled_networks_load_without_torchs_compiler():
    """It takes seconds to import, and nothing here needs it."""
    program = (
        "import sys\n"
        "from napari_deformreg.engine.models.weights import open_model\n"
        "from napari_deformreg.settings import BUNDLED_MODELS\n"
        "for name in BUNDLED_MODELS: open_model(name)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
