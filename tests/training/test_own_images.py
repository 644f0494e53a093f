"""Training on a user's own files: which files make a pair, how they come onto the lattice, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_deformreg.engine.differentiable import warp
from napari_deformreg.errors import DeformregError, InputError
from napari_deformreg.io import write_image, write_labels, write_landmarks
from napari_deformreg.phantom import small_pair
from napari_deformreg.space import Grid, LabelMap, Landmarks, Volume
from napari_deformreg.training import TrainingConfig, TrainingPlan, train
from napari_deformreg.training.own_images import ImageSources

UNET = {"name": "unet", "dimensions": 2, "encoder": [8, 8], "decoder": [8, 8, 8], "output": "half"}


def sources(place: Path, **data: Any) -> ImageSources:
    given = {"data": {"kind": "images", "shape": [16, 16], "align": "header", **data}, "phases": [{"steps": 1}]}
    (place / "train.json").write_text(json.dumps(given))
    opened = ImageSources(TrainingConfig.from_file(place / "train.json"))
    list(opened.opening())
    return opened


def write_slices(folder: Path, count: int, shape: tuple[int, int, int] = (16, 16, 1), seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = gaussian_filter(rng.standard_normal(shape), 2)
        write_image(folder / f"{number}.nii.gz", Volume(data.astype(np.float32), Grid(shape, np.eye(4))))


def test_pairs_come_from_one_subfolder_and_are_the_same_each_time(tmp_path: Path) -> None:
    write_slices(tmp_path / "images" / "a", 6, seed=1)
    write_slices(tmp_path / "images" / "b", 3, seed=2)
    opened = sources(tmp_path, folder="images")
    learned, held = opened._learned, opened._held
    assert isinstance(learned, dict)
    assert isinstance(held, dict)
    assert {name: len(files) for name, files in learned.items()} == {"a": 4, "b": 3}
    assert {name: len(files) for name, files in held.items()} == {"a": 2}
    assert not set(learned["a"]) & set(held["a"])
    first, again = opened.training(0), sources(tmp_path, folder="images").training(0)
    seen = set()
    for index in range(30):
        files = first._files(index, torch.Generator().manual_seed(index))  # type: ignore[attr-defined]
        assert files.fixed.image.parent == files.moving.image.parent
        assert files.fixed != files.moving
        seen.add((files.fixed.image.parent.name, files.fixed.image.name, files.moving.image.name))
        assert torch.equal(first.pair(index).fixed, again.pair(index).fixed)
    assert len(seen) > 8


def test_every_pair_of_a_list_comes_once_a_round(tmp_path: Path) -> None:
    write_slices(tmp_path / "images", 6)
    rows = ["fixed,moving", *(f"images/{n}.nii.gz,images/{n + 1}.nii.gz" for n in range(5))]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    opened = sources(tmp_path, pairs="pairs.csv", held_out=0.2)
    source: Any = opened.training(0)
    for start in (0, 4):
        names = {source._files(index, torch.Generator()).fixed.image.name for index in range(start, start + 4)}
        assert len(names) == 4
    assert opened.held_out_count() == 1


def test_orientation_and_spacing_of_a_file_do_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    data = gaussian_filter(rng.standard_normal((20, 22, 24)), 2).astype(np.float32)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    turned = nib.Nifti1Image(data, affine).as_reoriented(nib.orientations.axcodes2ornt(("L", "I", "A")))
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "plain.nii.gz")
    nib.save(turned, tmp_path / "turned.nii.gz")
    (tmp_path / "pairs.json").write_text(json.dumps([{"fixed": "plain.nii.gz", "moving": "turned.nii.gz"}]))
    pair = sources(tmp_path, pairs="pairs.json", shape=[16, 16, 32], held_out=0).held_out().pair(0)
    assert torch.allclose(pair.fixed, pair.moving, atol=1e-4)
    assert pair.fixed.shape == (1, 1, 16, 16, 32)
    low, high = np.percentile(data, (0.5, 99.5))
    window = np.clip((data[2:18, 3:19] - low) / (high - low), 0, 1)
    window = (window - window.min()) / (window.max() - window.min())
    np.testing.assert_allclose(pair.fixed[0, 0, :, :, 4:28].numpy(), window, atol=2e-3)
    assert not pair.fixed[..., :4].any()
    assert not pair.fixed[..., 28:].any()


def test_labels_and_landmarks_lie_where_the_images_do(tmp_path: Path) -> None:
    """A blob in the middle of the fixed image; in the moving one, shifted in the world, with its label and its center as landmark."""
    shape, shift = (24, 24, 24), np.array([3.0, -2.0, 1.0])
    for name, center in (("fixed", np.full(3, 12.0)), ("moving", 12.0 + shift)):
        distance = np.linalg.norm(np.stack(np.indices(shape), -1) - center, axis=-1)
        grid = Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]))
        write_image(tmp_path / f"{name}.nii.gz", Volume(np.exp(-((distance / 4) ** 2)).astype(np.float32), grid))
        write_labels(tmp_path / f"{name}_labels.nii.gz", LabelMap((distance < 4).astype(np.int32) * 7, grid))
        write_landmarks(tmp_path / f"{name}.csv", Landmarks(2.0 * center[None], ("center",)))
    row = {role: f"{role}.nii.gz" for role in ("fixed", "moving", "fixed_labels", "moving_labels")}
    row |= {"fixed_landmarks": "fixed.csv", "moving_landmarks": "moving.csv"}
    (tmp_path / "pairs.json").write_text(json.dumps([row]))
    pair = sources(tmp_path, pairs="pairs.json", shape=[20, 20, 20], held_out=0, spacing_mm=2.0).held_out().pair(0)
    assert pair.fixed_labels is not None
    assert pair.moving_labels is not None
    assert pair.fixed_landmarks_vox is not None
    assert pair.moving_landmarks_vox is not None
    u = torch.tensor(shift, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 20, 20, 20)
    assert float((pair.fixed - warp(pair.moving, u))[..., 4:16, 4:16, 4:16].abs().max()) < 1e-3
    moved = warp(pair.moving_labels[:, None].float(), u, "nearest")[0, 0, 4:16, 4:16, 4:16]
    assert torch.equal(moved, pair.fixed_labels[0, 4:16, 4:16, 4:16].float())
    torch.testing.assert_close(pair.moving_landmarks_vox - pair.fixed_landmarks_vox, torch.tensor(shift, dtype=torch.float32).view(1, 1, 3))
    at = pair.fixed_landmarks_vox[0, 0].round().long()
    assert float(pair.fixed[0, 0, *at]) == pytest.approx(1, abs=1e-3)


def test_affine_brings_shifted_images_together(tmp_path: Path) -> None:
    pair = small_pair((32, 32, 32))
    write_image(tmp_path / "fixed.nii.gz", pair.fixed)
    affine = pair.fixed.grid.affine.copy()
    affine[:3, 3] += 100
    write_image(tmp_path / "moving.nii.gz", Volume(pair.fixed.data, Grid(pair.fixed.grid.shape, affine)))
    (tmp_path / "pairs.csv").write_text("fixed,moving\nfixed.nii.gz,moving.nii.gz\n")
    for align, most in (("header", 1.0), ("center", 1e-4), ("affine", 2e-3)):
        found = sources(tmp_path, pairs="pairs.csv", shape=[32, 32, 32], held_out=0, align=align).held_out().pair(0)
        error = float((found.fixed - found.moving).square().mean())
        assert error < most, align
        assert align != "header" or error > 0.01


def test_semi_supervised_training_runs_from_files(tmp_path: Path) -> None:
    write_slices(tmp_path / "images", 6)
    (tmp_path / "labels").mkdir()
    for file in (tmp_path / "images").iterdir():
        data = np.asarray(nib.load(file).dataobj)
        labels = (data > 0.05).astype(np.int32) + (data < -0.05) * 2
        write_labels(tmp_path / "labels" / file.name, LabelMap(labels, Grid(data.shape, np.eye(4))))
    given = {
        "model": UNET, "data": {"kind": "images", "folder": "images", "labels": "labels", "shape": [16, 16], "align": "header"},
        "loss": {"weights": {"mse": 1, "soft_dice": 0.5, "diffusion_l2": 0.05}, "bidirectional": True},
        "phases": [{"steps": 30, "learning_rate": 5e-3}], "batch": 4, "average_decay": 0.8, "validation": {"every": 100, "pairs": 4},
    }  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(given))
    outcome = train(TrainingPlan(TrainingConfig.from_file(tmp_path / "train.json"), tmp_path / "out", device="cpu"))
    assert outcome.figure == "dice"
    assert outcome.figures["dice"] > 0.2
    header, row = (tmp_path / "out" / "curves.csv").read_text().splitlines()[:2]
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert {"term mse", "term soft_dice", "term diffusion_l2"} <= values.keys()


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "empty folder": ({"folder": "empty"}, "has no images; a pair needs two"),
    "no folder": ({"folder": "nowhere"}, "no folder"),
    "one image each": ({"folder": "single"}, "no two in one subfolder"),
    "too few": ({"folder": "three"}, "too few images to hold two out"),
    "volume among slices": ({"folder": "mixed", "held_out": 0}, r"has 3 dimensions .*has 2"),
    "missing label map": ({"folder": "three", "labels": "empty"}, "no label map"),
    "NaN": ({"folder": "nan", "held_out": 0}, "NaN"),
    "constant": ({"folder": "flat", "held_out": 0}, "constant"),
    "both": ({"folder": "three", "pairs": "pairs.csv"}, "either `pairs`"),
    "neither": ({}, "either `pairs`"),
    "no such file": ({"pairs": "pairs.csv"}, r"pair 1: there is no moving file"),
    "no table": ({"pairs": "words.csv"}, "unknown column"),
    "no list": ({"pairs": "missing.csv"}, "Cannot read the list"),
    "labels of one": ({"pairs": "half.csv"}, "labels of one image only"),
}


@pytest.mark.parametrize("case", list(REFUSALS))
def test_files_that_cannot_be_trained_on_are_refused_first(case: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("single/a", "single/b"):
        write_slices(tmp_path / name, 1)
    write_slices(tmp_path / "three", 3)
    write_slices(tmp_path / "mixed", 1)
    grid = Grid((16, 16, 1), np.eye(4))
    write_image(tmp_path / "mixed" / "volume.nii.gz", Volume(np.random.default_rng(0).random((8, 8, 8)), Grid((8, 8, 8), np.eye(4))))
    for name, value in (("nan", np.nan), ("flat", 1.0)):
        (tmp_path / name).mkdir()
        for number in range(2):
            write_image(tmp_path / name / f"{number}.nii.gz", Volume(np.full((16, 16, 1), value, np.float32), grid))
    (tmp_path / "pairs.csv").write_text("fixed,moving\nthree/0.nii.gz,three/9.nii.gz\n")
    (tmp_path / "half.csv").write_text("fixed,moving,fixed_labels\nthree/0.nii.gz,three/1.nii.gz,three/2.nii.gz\n")
    (tmp_path / "words.csv").write_text("once,upon\na,time\n")
    data, expected = REFUSALS[case]
    with pytest.raises(DeformregError, match=expected) as refusal:
        sources(tmp_path, **data)
    assert isinstance(refusal.value, InputError)
