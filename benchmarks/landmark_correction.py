#!/usr/bin/env python3
"""What clicked landmark pairs buy: n = 1, 2, 4, 8, 16 pairs from half of a case's landmarks correct a poor result, the other half judges.

    landmark_correction.py [--radius MM|advised] [--weight W] [--draws N] [--without-image] [--out FILE.json] CASE_DIR=RESULT_FOLDER [...]
    landmark_correction.py --times [--out FILE.json] CASE_DIR=RESULT_FOLDER

CASE_DIR holds `fixed.*`, `moving.*` and `{fixed,moving}_landmarks.csv`; RESULT_FOLDER is a poor result of it (such as one with
`refine.mode` off). Each pair is one click and one correction. Which half is clicked, and in which order, is drawn at random, `--draws`
times, by seeds from 0 on; the pairs of a larger n contain those of a smaller one, and the judges stay. A figure is the mean over the draws
of the mean error over the judging landmarks, and below it the median of the draws, and the median of what is left of each draw's own first
error: halves differ more than doublings do. One order alone tells little: whether a click helps the judges depends on where they happen to
lie. Beside it: doing nothing; a thin-plate spline through the same pairs alone, and through what the poor result leaves of them; with
`--without-image` our corrections by points alone. Draws of all cases take turns, and `--out` is written after each. `--times` makes fifty
corrections of random clicks and tells how long they take.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_deformreg import io
from napari_deformreg.engine.correction import CorrectionSession
from napari_deformreg.result import RegistrationResult
from napari_deformreg.settings import CorrectionSettings
from napari_deformreg.space import LandmarkPairs, Volume
from napari_deformreg.space.jacobian import digital_fold_mask, displacement_mm_to_vox
from napari_deformreg.space.point_fits import ThinPlateSpline, fit_pairs
from napari_deformreg.workflow import read_result

COUNTS = (1, 2, 4, 8, 16)


def find(case: Path, stem: str) -> Path:
    """Return the file of a case whose name without suffixes is `stem`."""
    return next(path for path in sorted(case.iterdir()) if path.name.split(".")[0] == stem)


def taken(pairs: LandmarkPairs, which: Any) -> LandmarkPairs:
    """Return some of the pairs."""
    index = list(which)
    return LandmarkPairs(tuple(pairs.names[n] for n in index), pairs.fixed_points[index], pairs.moving_points[index])


def tre(carried: np.ndarray, pairs: LandmarkPairs) -> float:
    """Return the mean distance of carried fixed points to the moving ones, mm."""
    return float(np.linalg.norm(carried - pairs.moving_points, axis=1).mean())


def thin_plate_alone(clicked: LandmarkPairs, points: np.ndarray) -> np.ndarray:
    """BigWarp's way: the pairs and nothing else; with fewer than four a shift, with three a rigid motion."""
    if len(clicked) < 3:
        return points + (clicked.moving_points - clicked.fixed_points).mean(axis=0)
    return fit_pairs(clicked, "rigid").map(points) if len(clicked) == 3 else ThinPlateSpline.through(clicked, kernel="bigwarp").map(points)


def thin_plate_over(result: RegistrationResult, clicked: LandmarkPairs, points: np.ndarray) -> np.ndarray:
    """Carry points through the poor result, then through a thin-plate spline of what it leaves."""
    left = LandmarkPairs(clicked.names, result.fixed_to_moving.map(clicked.fixed_points), clicked.moving_points)
    return thin_plate_alone(left, result.fixed_to_moving.map(points))


def clicks(
    images: tuple[Volume, Volume], result: RegistrationResult, order: LandmarkPairs, judges: LandmarkPairs, settings: CorrectionSettings,
    advised: bool = False,
) -> dict[str, Any]:
    """Click one pair after the other; the judges' error after 1, 2, 4, ... clicks, folds, motion beyond the radius, seconds.

    `advised`: with the radius that the session advises for each click, in place of the settings'.
    """
    session = CorrectionSession(*images, result)
    rows: dict[int, float] = {}
    seconds, cpu, beyond = [], [], 0.0
    for n in range(min(max(COUNTS), len(order))):
        began, worked = time.perf_counter(), time.process_time()
        clicked, names = taken(order, range(n + 1)), [order.names[n]]
        chosen = settings.model_copy(update={"radius_mm": session.advised_radius_mm(clicked, names)}) if advised else settings
        correction = session.correct(clicked, names, chosen)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
        session.apply(correction)
        beyond = max(beyond, correction.beyond_radius_mm)
        if n + 1 in COUNTS or n + 1 == len(order):
            rows[n + 1] = tre(session.carried(judges.fixed_points), judges)
    now = session.result().displacement
    folds = int(np.count_nonzero(digital_fold_mask(displacement_mm_to_vox(now.displacement_mm, now.grid))))
    return {"tre": rows, "folds": folds, "beyond_mm": beyond, "seconds": seconds, "cpu": cpu}


def draw(
    images: tuple[Volume, Volume], result: RegistrationResult, pairs: LandmarkPairs, seed: int, settings: CorrectionSettings, advised: bool,
    without_image: bool,
) -> dict[str, Any]:
    """Click one half of the pairs in a random order, judge by the rest."""
    mixed = np.random.default_rng(seed).permutation(len(pairs))
    order, judges = taken(pairs, mixed[: len(pairs) // 2]), taken(pairs, mixed[len(pairs) // 2 :])
    ours = clicks(images, result, order, judges, settings, advised)
    alone = settings.model_copy(update={"use_image": False})
    counts = list(ours["tre"])
    return {
        "nothing": tre(result.fixed_to_moving.map(judges.fixed_points), judges),
        "ours": ours,
        **({"without_image": clicks(images, result, order, judges, alone, advised)} if without_image else {}),
        "thin_plate": {n: tre(thin_plate_alone(taken(order, range(n)), judges.fixed_points), judges) for n in counts},
        "thin_plate_over": {n: tre(thin_plate_over(result, taken(order, range(n)), judges.fixed_points), judges) for n in counts},
    }


def table(name: str, draws: list[dict[str, Any]]) -> str:
    """Return the case's rows of the table: means over the draws, and medians of what is left of each draw's first error."""
    counts = sorted(set.intersection(*(set(one["ours"]["tre"]) for one in draws)))

    def rows_of(key: str) -> list[dict[int, float]]:
        return [one[key]["tre"] if "tre" in one[key] else one[key] for one in draws]

    def over_draws(average: Callable[[list[float]], Any], key: str) -> str:
        return " | ".join(f"{average([row[n] for row in rows_of(key)]):.2f}" for n in counts)

    def left(key: str) -> str:
        rows = zip(rows_of(key), draws, strict=True)
        parts = [[row[n] / one["nothing"] for n in counts] for row, one in rows]
        return " | ".join(f"{100 * part:.0f} %" for part in np.median(parts, axis=0))

    titles = {"ours": "points and image", "without_image": "points alone, local", "thin_plate_over": "thin-plate over the result",
              "thin_plate": "thin-plate alone (BigWarp)"}  # fmt: skip
    titles = {key: title for key, title in titles.items() if key in draws[0]}
    lines = [f"| {name} | " + " | ".join(f"n = {n}" for n in counts) + " |", "|" + "---|" * (len(counts) + 1)]
    lines.append("| doing nothing | " + " | ".join([f"{np.mean([one['nothing'] for one in draws]):.2f}"] * len(counts)) + " |")
    lines += [f"| {title} | {over_draws(np.mean, key)} |" for key, title in titles.items()]
    lines += [f"| median: {title} | {over_draws(np.median, key)} |" for key, title in titles.items()]
    lines += [f"| left of the error: {title} | {left(key)} |" for key, title in titles.items()]
    ours = [one["ours"] for one in draws]
    cpu = np.concatenate([one["cpu"] for one in ours])
    lines.append(
        f"\nfolds {[one['folds'] for one in ours]}, beyond the radius {max(one['beyond_mm'] for one in ours):.3g} mm, processor seconds a "
        f"correction: median {np.median(cpu):.2f}, 95 % {np.percentile(cpu, 95):.2f}"
    )
    return "\n".join(lines)


def times(images: tuple[Volume, Volume], result: RegistrationResult, settings: CorrectionSettings, count: int = 50) -> dict[str, Any]:
    """Time corrections and previews of random clicks near the middle of the image."""
    session, rng = CorrectionSession(*images, result), np.random.default_rng(0)
    grid = images[0].grid
    extent = 0.3 * grid.spacing * (np.array(grid.shape) - 1)
    rows: dict[str, list[float]] = {"correct": [], "correct_cpu": [], "preview": [], "preview_cpu": []}
    for n in range(count + 2):
        point = grid.center + grid.direction @ (rng.uniform(-1, 1, 3) * extent)
        pair = LandmarkPairs(("a",), point[None], session.carried(point[None]) + rng.normal(size=3) * 2.5)
        for kind, work in (("correct", session.correct), ("preview", session.preview)):
            began, worked = time.perf_counter(), time.process_time()
            work(pair, ["a"], settings)
            if n >= 2:  # the first ones compile
                rows[kind].append(time.perf_counter() - began)
                rows[f"{kind}_cpu"].append(time.process_time() - worked)
    return {key: {"median": float(np.median(row)), "p95": float(np.percentile(row, 95))} for key, row in rows.items()}


def read_case(case: Path) -> tuple[tuple[Volume, Volume], LandmarkPairs]:
    """Read a case folder."""
    images = io.read_image(find(case, "fixed")), io.read_image(find(case, "moving"))
    sides = (io.read_landmarks(find(case, f"{side}_landmarks")) for side in ("fixed", "moving"))
    return images, LandmarkPairs.match(*sides)


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="CASE_DIR=RESULT_FOLDER")
    parser.add_argument("--radius", default=str(CorrectionSettings().radius_mm), help="mm, or: advised")
    parser.add_argument("--weight", type=float, default=CorrectionSettings().points_weight)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--without-image", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    advised = words.radius == "advised"
    settings = CorrectionSettings(points_weight=words.weight, **({} if advised else {"radius_mm": float(words.radius)}))
    found: dict[str, Any] = {}
    for seed in range(1 if words.times else words.draws):
        for case, folder in ((Path(part) for part in given.split("=", 1)) for given in words.cases):
            images, pairs = read_case(case)
            if words.times:
                found[case.name] = times(images, read_result(folder), settings)
                print(case.name, json.dumps(found[case.name], indent=1), flush=True)
            else:
                one = draw(images, read_result(folder), pairs, seed, settings, advised, words.without_image)
                found.setdefault(case.name, []).append(one)
                print(case.name, seed, f"{one['nothing']:.2f}", {n: round(off, 2) for n, off in one["ours"]["tre"].items()}, flush=True)
            if words.out:
                words.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if not words.times:
        print("\n".join(table(name, draws) for name, draws in found.items()))


if __name__ == "__main__":
    sys.exit(main())
