"""The five-minute example of the README: a 2-D network learns to register handwritten digits, without labels or known warps.

    python benchmarks/digits_example.py --out digits [--pictures docs/images]

scikit-learn's bundled digits (8 x 8 pixels, 1797 of them) become pictures of 32 x 32, one folder a digit, as a user's own images would lie
there; `deformreg train` is called as from the command line; the best weights are then judged on digits that were held out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import zoom

from napari_deformreg.cli import main as deformreg
from napari_deformreg.engine.models.weights import load_model
from napari_deformreg.training import TrainingConfig, TrainingPair
from napari_deformreg.training.own_images import ImageSources
from napari_deformreg.training.prediction import Prediction
from napari_deformreg.training.validation import folds_percent

SIZE = 32

CONFIG = {
    "model": {"name": "unet", "dimensions": 2, "encoder": [16, 32, 32], "decoder": [32, 32, 32, 16], "output": "half"},
    "data": {"kind": "images", "folder": "images", "shape": [SIZE, SIZE], "align": "header", "spacing_mm": 1.0},
    "loss": {"weights": {"mse": 1.0, "diffusion_l2": 0.02}, "bidirectional": True},
    "phases": [{"steps": 1500, "learning_rate": 2e-3, "warmup_steps": 50, "end_factor": 0.02}],
    "batch": 16,
    "average_decay": 0.99,
    "validation": {"every": 250, "pairs": 64},
    "save_every": 500,
    "log_every": 50,
}


def write_digits(folder: Path) -> int:
    """Write every digit as a picture; one subfolder a digit, so that a pair shows one digit twice."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / "images" / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        large = np.clip(zoom(image / 16.0, SIZE / image.shape[0], order=1), 0, 1)
        Image.fromarray((255 * large).astype(np.uint8)).save(place / f"{number:04d}.png")
    return len(digits.images)


def registered(folder: Path, count: int) -> list[tuple[TrainingPair, Prediction]]:
    """Register held-out pairs with the best weights."""
    config = TrainingConfig.from_file(folder / "digits.json")
    sources = ImageSources(config)
    for _ in sources.opening():
        pass
    model = load_model(folder / "training" / "best.safetensors").module
    held = sources.held_out()
    pairs = [held.pair(index) for index in range(count)]
    with torch.no_grad():
        found = [Prediction(pair.fixed, pair.moving, [model(pair.fixed, pair.moving)]) for pair in pairs]
        for one in found:
            _ = one.moved
    return list(zip(pairs, found, strict=True))


def figures(results: list[tuple[TrainingPair, Prediction]]) -> dict[str, float]:
    """Mean squared difference before and after, and folds, over all pairs."""
    before = np.array([float((pair.fixed - pair.moving).square().mean()) for pair, _ in results])
    after = np.array([float((pair.fixed - one.moved).square().mean()) for pair, one in results])
    folds = np.array([folds_percent(one.displacement) for _, one in results])
    return {
        "pairs": len(results), "mse before": before.mean(), "mse after": after.mean(), "pairs more alike %": 100 * (after < before).mean(),
        "pairs with folds": int((folds > 0).sum()), "folded pixels %": folds.mean(),
    }  # fmt: skip


def draw_results(path: Path, results: list[tuple[TrainingPair, Prediction]]) -> None:
    """One row a pair: moving, fixed, moved, the motion as arrows over the moved image, the deformed lattice."""
    titles = ("moving", "fixed", "moved", "flow (pixels)", "deformed lattice")
    figure = Figure(figsize=(1.5 * len(titles), 1.5 * len(results) + 0.2), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(results), len(titles))
    for row, (pair, one) in zip(rows, results, strict=True):
        u = one.displacement[0].numpy()
        for axes, image in zip(row, (pair.moving, pair.fixed, one.moved, pair.fixed, torch.zeros_like(pair.fixed)), strict=True):
            axes.imshow(image[0, 0].numpy().T, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            # Canonical axes point right and up (to anterior); upright as it was written, a picture has right on the left.
            axes.set(xticks=[], yticks=[], xlim=(SIZE - 0.5, -0.5), ylim=(-0.5, SIZE - 0.5))
        i, j = np.meshgrid(np.arange(1, SIZE, 2), np.arange(1, SIZE, 2), indexing="ij")
        row[3].quiver(i, j, u[0][i, j], u[1][i, j], angles="xy", scale_units="xy", scale=1, color="tab:orange", width=0.012)
        full = np.indices((SIZE, SIZE)) + u
        for n in range(0, SIZE, 2):
            row[4].plot(full[0][n], full[1][n], color="w", linewidth=0.5)
            row[4].plot(full[0][:, n], full[1][:, n], color="w", linewidth=0.5)
    for axes, title in zip(rows[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    figure.savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(96).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("digits"), help="folder for images, configuration and training")
    parser.add_argument("--pictures", type=Path, help="folder for digits_result.png and digits_curves.png (default: --out)")
    parser.add_argument("--steps", type=int, default=CONFIG["phases"][0]["steps"])
    words = parser.parse_args()
    pictures = words.pictures or words.out
    print(f"{write_digits(words.out)} digits in {words.out / 'images'}")
    config = {**CONFIG, "phases": [{**CONFIG["phases"][0], "steps": words.steps}]}
    (words.out / "digits.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    wall, cpu = time.perf_counter(), time.process_time()
    if deformreg(["train", str(words.out / "digits.json"), "--out", str(words.out / "training")]) != 0:
        raise SystemExit(1)
    print(f"trained in {time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of CPU time")
    results = registered(words.out, 500)
    for name, value in figures(results).items():
        print(f"{name}: {value:.4g}")
    draw_results(pictures / "digits_result.png", results[:4])
    (pictures / "digits_curves.png").write_bytes((words.out / "training" / "curves.png").read_bytes())


if __name__ == "__main__":
    main()
