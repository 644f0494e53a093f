#!/usr/bin/env python3
"""How far a landmark's suggested partner is to be trusted, and which clicks are doubted: mis-clicks of 5, 10 and 20 mm, and good pairs.

    landmark_checks.py [--out FILE.json] NAME=CASE_DIR=RESULT_FOLDER [...]

CASE_DIR holds `fixed.*`, `moving.*` and `{fixed,moving}_landmarks.csv`; RESULT_FOLDER is a registration of it. Every landmark is suggested
a partner, and asked about as it is and with its moving end displaced once by each length, in a random direction that stays in the moving
image, the other pairs as they are. The thresholds of the doubts were tuned on the landmarks of even place in the file (0, 2, ...): figures
of doubts are of those of odd place, the even ones' are told beside them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from landmark_correction import read_case

from napari_deformreg.engine.correction import CorrectionSession
from napari_deformreg.space import LandmarkPairs, Volume
from napari_deformreg.workflow import read_result

LENGTHS_MM = (5, 10, 20)
CLASSES = (0.0, 0.1, 0.25, 0.5, 1.0)
NEAR_VOX = 2.0


def moved_click(moving: Volume, point: np.ndarray, length_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return a place so far from a point, in a random direction, within the image."""
    for _ in range(1000):
        way = rng.normal(size=3)
        place = np.asarray(point + length_mm * way / np.linalg.norm(way))
        if moving.grid.contains(place[None])[0]:
            return place
    return point


def suggestions(session: CorrectionSession, pairs: LandmarkPairs, moving: Volume) -> list[dict[str, float]]:
    """Suggest every landmark's partner; how far it is from the true one, and where the registration alone would have put it."""
    carried, rows = session.carried(pairs.fixed_points), []
    for n, (fixed, true) in enumerate(zip(pairs.fixed_points, pairs.moving_points, strict=True)):
        if not session.fixed_grid.contains(fixed[None])[0]:
            continue
        found = session.suggest(fixed)
        places = moving.grid.world_to_voxel(np.stack([found.point, carried[n], true]))
        off, before = np.linalg.norm(places[:2] - places[2], axis=1)
        rows.append({"confidence": found.confidence, "off_vox": float(off), "carried_off_vox": float(before)})
    return rows


def doubts(session: CorrectionSession, pairs: LandmarkPairs, moving: Volume) -> list[dict[str, Any]]:
    """Ask about every pair as it is (0 mm) and mis-clicked by each length."""
    rng, rows = np.random.default_rng(0), []
    good = session.doubts(pairs)
    for n in range(len(pairs)):
        asked = {0: good[n]}
        for length in LENGTHS_MM:
            points = pairs.moving_points.copy()
            points[n] = moved_click(moving, points[n], length, rng)
            asked[length] = session.doubts(LandmarkPairs(pairs.names, pairs.fixed_points, points))[n]
        rows += [
            {"place": n, "mm": mm, "flagged": one.is_outlier, "miss_mm": one.by_others_mm, "looks_worse": one.looks_worse,
             "off_mm": one.by_registration_mm, "folds": one.needs_fold}
            for mm, one in asked.items()
        ]
    return rows


def share(rows: list[bool]) -> str:
    """Return how many of how many."""
    return f"{sum(rows)}/{len(rows)}"


def told(name: str, found: dict[str, Any]) -> str:
    """Return a case's lines."""
    hits, lines = found["suggestions"], []
    near = [row["off_vox"] <= NEAR_VOX for row in hits]
    lines.append(f"{name}: partner within {NEAR_VOX:g} voxels {share(near)}, registration alone "
                 + share([row["carried_off_vox"] <= NEAR_VOX for row in hits]))  # fmt: skip
    for low, high in itertools.pairwise(CLASSES):
        of_class = [row["off_vox"] <= NEAR_VOX for row in hits if low <= row["confidence"] < high or row["confidence"] == high == 1]
        lines.append(f"  confidence {low:g} to {high:g}: {share(of_class)}")
    for half, kind in ((1, "odd landmarks"), (0, "even landmarks (tuned on)")):
        parts = [
            f"{mm} mm {share([row['flagged'] for row in found['doubts'] if row['mm'] == mm and row['place'] % 2 == half])}"
            for mm in (0, *LENGTHS_MM)
        ]
        lines.append(f"  doubted, {kind}: " + ", ".join(parts))
    return "\n".join(lines)


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="NAME=CASE_DIR=RESULT_FOLDER")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    found: dict[str, Any] = {}
    for given in words.cases:
        name, case, folder = given.split("=", 2)
        images, pairs = read_case(Path(case))
        session = CorrectionSession(*images, read_result(Path(folder)))
        found[name] = {"suggestions": suggestions(session, pairs, images[1]), "doubts": doubts(session, pairs, images[1])}
        print(told(name, found[name]), flush=True)
        if words.out:
            words.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
