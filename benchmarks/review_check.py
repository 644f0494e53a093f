#!/usr/bin/env python3
"""Reviews a transform and compares the figures with outside implementations: a referee's Dice and folds, SimpleITK's surface distances.

    review_check.py --referee REFEREE.py CASE_DIR --transform FILE [FILE ...] [--as FILE] [--inverse-transform FILE ...]

A case folder holds `fixed.*`, `moving.*` and perhaps `{fixed,moving}_{mask,labels}.*` and `{fixed,moving}_landmarks.csv`. The files go
in the order of `antsApplyTransforms -t` and `greedy -r`. The referee sees them through SimpleITK alone; `--as` gives it one file instead
where SimpleITK does not read them (greedy's 4 x 4 matrix). REFEREE.py has a function `score(case_dir, transform) -> dict`.

Prints a line a figure: the review's, the other one's, the difference.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from napari_deformreg.qa import Review, fixed_foreground
from napari_deformreg.space.jacobian import displacement_mm_to_vox, ndv
from napari_deformreg.workflow import ForeignTransform, InputPaths, Outcome, finished, review_transform_steps


def main() -> None:
    """Compare one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--referee", required=True)
    parser.add_argument("--transform", nargs="+", required=True)
    parser.add_argument("--as", dest="outside")
    parser.add_argument("--inverse-transform", nargs="+", default=[])
    parser.add_argument("--made-by", default="another tool")
    parser.add_argument("--out", help="keep the review's folder")
    words = parser.parse_args()
    outside = itk_transform([words.outside] if words.outside else words.transform)
    with tempfile.TemporaryDirectory() as scratch:
        folder = words.out or Path(scratch) / "review"
        given = ForeignTransform(tuple(words.transform), tuple(words.inverse_transform), made_by=words.made_by)
        clock, cpu = time.perf_counter(), time.process_time()
        outcome, review = finished(review_transform_steps(input_paths(words.case), given, folder))
        seconds = f"{time.process_time() - cpu:.1f} s of processor, {time.perf_counter() - clock:.1f} s"
        print(f"{Path(words.case).name}, {words.made_by}: {seconds}")
    spec = importlib.util.spec_from_file_location("referee", words.referee)
    referee: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(referee)  # type: ignore[union-attr]
    compare_with_referee(review, outcome, referee.score(words.case, outside))
    if review.structures:
        compare_surfaces(review, words.case, outside, referee)


def input_paths(case: str) -> InputPaths:
    """Find the files of a case."""
    roles = [f"{side}_{kind}" for side in ("fixed", "moving") for kind in ("labels", "mask", "landmarks")]
    found = {role: hits[0] for role in roles if (hits := sorted(Path(case).glob(f"{role}.*")))}
    images = {side: min(Path(case).glob(f"{side}.*")) for side in ("fixed", "moving")}
    return InputPaths(**images, **found)


def itk_transform(files: list[str]) -> Any:
    """Read files with SimpleITK; its composite takes the one that points meet first last."""
    parts = []
    for file in files:
        linear = file.endswith((".mat", ".txt", ".tfm", ".h5"))
        parts.append(sitk.ReadTransform(file) if linear else sitk.DisplacementFieldTransform(sitk.ReadImage(file, sitk.sitkVectorFloat64)))
    return parts[0] if len(parts) == 1 else sitk.CompositeTransform(parts[::-1])


def compare_with_referee(review: Review, outcome: Outcome, score: dict[str, Any]) -> None:
    """Dice, folds, landmark errors; the referee leaves the outermost voxels of the grid out, so they are left out here, too."""
    rows = {row.label: row for row in review.structures}
    dice = score.get("dice")
    both = [(rows[label].dice_after, value) for label, value in dice.items()] if isinstance(dice, dict) else []
    if both:
        show("Dice, mean", float(np.mean([own for own, _ in both])), score["dice_mean"])
        show("Dice, largest difference of a structure", max(abs(own - other) for own, other in both), 0.0)
    folds = outcome.folds
    core = tuple(slice(1, -1) if n > 1 else slice(None) for n in folds.grid.shape)
    inside = fixed_foreground(outcome.inputs.fixed, outcome.inputs.fixed_mask).mask[core]
    folded, determinant = folds.fold_mask[core], folds.determinant[core][inside]
    show("folded by ten determinants, foreground, %", 100 * folded[inside].mean(), score["fold_digital_pct"])
    show("folded by ten determinants, whole grid, %", 100 * folded.mean(), score["fold_digital_pct_whole"])
    show("folded by central differences, foreground, %", 100 * (determinant <= 0).mean(), score["fold_central_pct"])
    volume = ndv(displacement_mm_to_vox(outcome.result.displacement.displacement_mm, folds.grid))[core][inside]
    affine = folds.affine_determinant
    show("ndv, foreground, %, affine included", 100 * affine * volume.mean(dtype=np.float64), score["ndv_pct"])
    show("smallest central determinant, affine included", affine * determinant.min(), score["jacobian_min"])
    show("largest central determinant, affine included", affine * determinant.max(), score["jacobian_max"])
    positive = determinant[determinant > 0]
    show("sd_log_jacobian", float(np.log(positive).std(dtype=np.float64)), score["sd_log_jacobian"])
    values = {figure.figure: figure.value for figure in review.figures}
    for name in ("mean", "median", "p95"):
        if f"tre_mm_{name}" in score:
            show(f"tre_mm_{name}", values[f"tre_mm_{name}"], score[f"tre_mm_{name}"])


def compare_surfaces(review: Review, case: str, outside: Any, referee: Any) -> None:
    """Mean distance to agreement and HD95 from SimpleITK's exact distance maps of its own resampling."""
    fixed = referee.read_image(referee.find(case, "fixed"))
    labels = referee.read_image(referee.find(case, "fixed_labels"), sitk.sitkInt32)
    moving = referee.read_image(referee.find(case, "moving_labels"), sitk.sitkInt32)
    moved = sitk.Resample(moving, fixed, outside, sitk.sitkNearestNeighbor, 0)
    labels.CopyInformation(fixed)
    apart: dict[str, list[float]] = {"mean": [], "hd95": []}
    for row in review.structures:
        if row.hd95_after_mm is None:
            continue
        mean, hd95 = surface_distances(labels == row.label, moved == row.label)
        apart["mean"].append(abs(mean - float(row.mean_surface_distance_after_mm or 0)))
        apart["hd95"].append(abs(hd95 - row.hd95_after_mm))
    for name, differences in apart.items():
        show(f"{name} surface distance, largest difference of {len(differences)} structures, mm", max(differences), 0.0)


def surface_distances(first: Any, second: Any) -> tuple[float, float]:
    """Give mean distance to agreement and HD95 between the surface voxels of two masks, by SimpleITK."""
    radius = [int(n > 1) for n in first.GetSize()]
    surfaces = [mask - sitk.BinaryErode(mask, radius, sitk.sitkCross, 0, 1, False) for mask in (first, second)]
    # Inside a thick place of a surface the map is negative: such a voxel lies on the surface, its distance is 0.
    signed = [sitk.SignedMaurerDistanceMap(surface, squaredDistance=False, useImageSpacing=True) for surface in surfaces]
    maps = [np.maximum(sitk.GetArrayFromImage(distances), 0) for distances in signed]
    marks = [sitk.GetArrayFromImage(surface) > 0 for surface in surfaces]
    there, back = maps[1][marks[0]], maps[0][marks[1]]
    return float((there.mean() + back.mean()) / 2), float(max(np.percentile(there, 95), np.percentile(back, 95)))


def show(name: str, own: float, other: float) -> None:
    """Print one comparison."""
    print(f"  {name:62} {own:12.6g} {other:12.6g}  difference {own - other:.2g}")


if __name__ == "__main__":
    main()
