#!/usr/bin/env python3
"""Chooses settings over case folders by cross-validation: each group of cases is judged with what the other groups would have chosen.

    cross_validate.py --referee REFEREE.py --out FOLDER --candidates CANDIDATES.json CASE_DIR [CASE_DIR ...]

CANDIDATES.json holds {"name": {changes of the settings}, ...}; each is applied on top of the preset of a case, and "preset" (no change) is
always among them. Case folders and the referee are as in `run_cases.py`. Cases of one group (one animal's kind, one patient) share the
letters before their last numbers: `liver_18_cyc_3_10` and `liver_18_cyc_1_10` are never on both sides of a fold.

A gain of 1 is .01 of Dice or 10 % of the target registration error (`gain`). In every fold the candidate with the best mean gain over the
other groups (each group counts once), without a digital fold in any of their cases, is taken to the group left out; what it gains there
is the honest figure. FOLDER gets `scores.json` (after every registration; what is there is not repeated) and `choice.md`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from compare import judge
from run_cases import case_parser, load_referee, preset_of
from starts_table import read

from napari_deformreg import register
from napari_deformreg.errors import DeformregError
from napari_deformreg.io import write_transform
from napari_deformreg.settings import Settings

PRESET = "preset"
"""The candidate that changes nothing."""

Scores = dict[str, dict[str, dict[str, Any]]]
"""Case -> candidate -> the referee's figures, the measure, seconds of the registration's stages."""


def group_of(case: str) -> str:
    """Return the group of a case: its name up to the numbers that tell apart the pairs of one patient or one kind."""
    patient = re.match(r"(liver_\d+|lung_mr|mouse)_", case)
    return patient[1] if patient else case


def scored(case: Path, given: dict[str, Any], changes: dict[str, Any], transform: Path, score: Any) -> dict[str, Any]:
    """Register a case with changed settings; the referee's figures, or what went wrong."""
    try:
        result = register(settings=Settings.from_preset(preset_of(case)).changed(**changes), **given)
    except DeformregError as error:
        return {"failed": str(error)[-500:]}
    write_transform(transform, result.fixed_to_moving)
    figures = score(str(case), str(transform))
    key, _, sign = judge(figures)
    seconds = dict(result.provenance.seconds)
    return {"measure": key, "sign": sign, "value": figures[key], "folds": figures["fold_digital_pct"], "seconds": seconds}


def gain(row: dict[str, Any], base: dict[str, Any]) -> float:
    """Return what a candidate gains over the preset on one case: 1 for .01 of Dice, or for a tenth of the error in mm."""
    if "failed" in row:
        return -100.0
    if row["measure"].startswith("dice"):
        return float(100 * (row["value"] - base["value"]))
    return float(10 * (1 - row["value"] / base["value"]))


def gains_of_groups(scores: Scores, names: list[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return group -> candidate -> mean gain, and the most digital folds of its cases."""
    groups: dict[str, dict[str, tuple[float, float]]] = {}
    for group in dict.fromkeys(map(group_of, scores)):
        rows = [row for case, row in scores.items() if group_of(case) == group and all(name in row for name in names)]
        if rows:
            groups[group] = {
                name: (float(np.mean([gain(row[name], row[PRESET]) for row in rows])), max(row[name].get("folds", 100.0) for row in rows))
                for name in names
            }
    return groups


def chosen(groups: dict[str, dict[str, tuple[float, float]]], without: str | None = None) -> str:
    """Return the candidate with the best mean gain over all groups but one, among those without folds there."""
    rest = [row for group, row in groups.items() if group != without]
    names = [name for name in rest[0] if all(row[name][1] == 0 for row in rest)] or [PRESET]
    return max(names, key=lambda name: np.mean([row[name][0] for row in rest]))


def table(scores: Scores, names: list[str]) -> str:
    """Return gains of every candidate in every group, and what cross-validation takes where."""
    groups = gains_of_groups(scores, names)
    lines = ["| candidate | " + " | ".join(groups) + " | mean |", "|" + "---|" * (2 + len(groups))]
    for name in names:
        cells = [f"{row[name][0]:+.2f}" + (f" ({row[name][1]:.2g} % folds)" if row[name][1] else "") for row in groups.values()]
        lines.append("| " + " | ".join([name, *cells, f"{np.mean([row[name][0] for row in groups.values()]):+.2f}"]) + " |")
    if len(groups) > 1:
        picks = {group: chosen(groups, without=group) for group in groups}
        honest = [groups[group][pick][0] for group, pick in picks.items()]
        lines += ["", "Left out: taken from the others, and what it gains there:"]
        lines += [f"- {group}: {pick}, {groups[group][pick][0]:+.2f}" for group, pick in picks.items()]
        lines += ["", f"Mean gain on groups left out {np.mean(honest):+.2f}; chosen over all: {chosen(groups)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Register every case with every candidate."""
    parser = case_parser(__doc__)
    parser.add_argument("--candidates", type=Path, required=True)
    words = parser.parse_args()
    score = load_referee(words.referee)
    words.out.mkdir(parents=True, exist_ok=True)
    candidates: dict[str, dict[str, Any]] = {PRESET: {}, **json.loads(words.candidates.read_text(encoding="utf-8"))}
    kept = words.out / "scores.json"
    scores: Scores = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    inputs = {case: read(case) for case in words.cases}
    for name, changes in candidates.items():
        for case in words.cases:
            if name in scores.setdefault(case.name, {}):
                continue
            scores[case.name][name] = found = scored(case, inputs[case], changes, words.out / "now.h5", score)
            kept.write_text(json.dumps(scores, indent=1), encoding="utf-8")
            print(f"{name:24s} {case.name:20s} {found.get('value', found.get('failed'))} folds {found.get('folds')}", flush=True)
        (words.out / "choice.md").write_text(table(scores, [known for known in candidates if _everywhere(scores, known)]), encoding="utf-8")
    print((words.out / "choice.md").read_text(encoding="utf-8"))


def _everywhere(scores: Scores, name: str) -> bool:
    return all(name in row for row in scores.values())


if __name__ == "__main__":
    main()
