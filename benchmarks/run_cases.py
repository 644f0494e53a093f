#!/usr/bin/env python3
"""Registers case folders with the installed `deformreg`, each with the default settings of its preset, and has a referee score them.

    run_cases.py --referee REFEREE.py --out FOLDER CASE_DIR [CASE_DIR ...]

A case folder holds `fixed.*` and `moving.*`, perhaps `{fixed,moving}_{mask,labels}.*` and `{fixed,moving}_landmarks.csv`, and a
`case.json` with the two modalities. Labels and landmarks only judge. REFEREE.py is a script outside this project with a function
`score(case_dir, transform_path) -> dict`; it sees nothing but the case and the exported `fixed_to_moving.h5`.

FOLDER gets one result folder a case, `results.json` and `results.md` (both written after every case, so that a stopped run loses nothing).
`--again` registers cases anew that already have a result; without it they are only scored.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixel_landmarks import pixel_errors

# The command of the Python that runs this script, whatever else is on the PATH.
DEFORMREG = shutil.which("deformreg", path=str(Path(sys.executable).parent)) or "deformreg"

Score = Callable[[str, str], dict[str, Any]]

# The preset that a user would take, by what the folder's name begins with; the first hit counts.
PRESET_OF_KIND = {
    "brain_t1_t2": "multimodal",
    "brain2d": "slice-2d",
    "histology": "generic",
    "brain": "brain-mri",
    "lung_ct": "lung-ct",
    "liver": "abdomen",
    "prostate": "multimodal",
}

# Columns of the table: the referee's key, heading, format.
COLUMNS = (
    ("dice_mean", "Dice", ".3f"),
    ("tre_mm_mean", "TRE mean mm", ".2f"),
    ("tre_mm_median", "TRE median mm", ".2f"),
    ("tre_mm_liver", "TRE liver mm", ".2f"),
    ("tre_px_mean", "TRE mean px", ".2f"),
    ("tre_px_median", "TRE median px", ".2f"),
    ("moved_mm_median", "motion median mm", ".2f"),
    ("fold_digital_pct", "digital folds %", ".4g"),
    ("fold_digital_pct_whole", "the same, whole grid %", ".4g"),
    ("jacobian_min", "least J", ".2f"),
)


def preset_of(case: Path) -> str:
    """Return the preset for a case folder."""
    return next((preset for kind, preset in PRESET_OF_KIND.items() if case.name.startswith(kind)), "generic")


def find(case: Path, stem: str) -> Path | None:
    """Return the file of a case whose name without suffixes is `stem`, or None."""
    return next((path for path in sorted(case.iterdir()) if path.name.split(".")[0] == stem), None)


def command_for(case: Path, out: Path, extra: list[str]) -> list[str]:
    """Return the `deformreg register` command of a case."""
    fixed, moving = find(case, "fixed"), find(case, "moving")
    if fixed is None or moving is None:
        raise SystemExit(f"Expected fixed.* and moving.* in {case}; found {sorted(path.name for path in case.iterdir())}.")
    command = [DEFORMREG, "register", str(fixed), str(moving), "--out", str(out), "--preset", preset_of(case)]
    for what in ("landmarks", "labels", "mask"):
        pair = find(case, f"fixed_{what}"), find(case, f"moving_{what}")
        if pair[0] and pair[1]:
            command += [f"--fixed-{what}", str(pair[0]), f"--moving-{what}", str(pair[1])]
    return command + extra


def register(case: Path, out: Path, extra: list[str]) -> dict[str, Any]:
    """Run one case; return its wall seconds, or what went wrong."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.monotonic()
    done = subprocess.run(command_for(case, out, extra), capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        return {"failed": (done.stderr or done.stdout).strip()[-2000:], "exit": done.returncode, "seconds_wall": seconds}
    return {"seconds_wall": seconds}


def registration_seconds(report: dict[str, Any]) -> float | None:
    """Return the seconds of registration alone (no reading, judging or writing) from a result folder's report."""
    seconds = report.get("provenance", {}).get("seconds", {})
    return sum(value for stage, value in seconds.items() if stage not in ("read", "evaluate", "write")) if seconds else None


def motion_mm(case: Path, transform: Path) -> float:
    """Return the median distance in mm by which a transform moves the fixed foreground (its grid's points brighter than the mean)."""
    import numpy as np
    import SimpleITK as sitk

    fixed = sitk.ReadImage(str(find(case, "fixed")), sitk.sitkFloat32)
    to_field = sitk.TransformToDisplacementFieldFilter()
    to_field.SetReferenceImage(fixed)
    field = to_field.Execute(sitk.ReadTransform(str(transform)))
    data = sitk.GetArrayFromImage(fixed)
    return float(np.median(np.linalg.norm(sitk.GetArrayFromImage(field)[data > data.mean()], axis=-1)))


def scored(case: Path, out: Path, score: Score) -> dict[str, Any]:
    """Return the referee's figures of a result folder, and what is known beside them."""
    transform = out / "fixed_to_moving.h5"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    spec = json.loads((case / "case.json").read_text(encoding="utf-8")) if (case / "case.json").exists() else {}
    row: dict[str, Any] = {"before": score(str(case), "identity"), "after": score(str(case), str(transform))}
    if spec.get("truth") == "identity":
        row["after"]["moved_mm_median"] = motion_mm(case, transform)
    return row | {"seconds_registration": registration_seconds(report), "device": report.get("provenance", {}).get("device")}


def load_referee(path: Path) -> Score:
    """Import the referee script's `score`; landmarks in pixels are scored beside it."""
    spec = importlib.util.spec_from_file_location("referee", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"Expected a Python script as --referee; got {path}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda case, transform: module.score(case, transform) | pixel_errors(Path(case), transform)


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    after, before = row.get("after", {}).get(key), row.get("before", {}).get(key)
    if after is None:
        return ""
    with_before = before is not None and key.startswith(("dice", "tre"))
    return f"{before:{form}} → **{after:{form}}**" if with_before else f"{after:{form}}"


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table; figures with an arrow are before → after."""
    head = ["case", "preset", *[title for _, title, _ in COLUMNS], "s registration", "s wall"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        seconds = [row.get("seconds_registration"), row.get("seconds_wall")]
        cells = [name, row["preset"]]
        if "failed" in row:
            cells += ["failed: " + row["failed"].splitlines()[-1], *[""] * (len(COLUMNS) - 1)]
        else:
            cells += [_cell(row, key, form) for key, _, form in COLUMNS]
        lines.append("| " + " | ".join([*cells, *["" if s is None else f"{s:.0f}" for s in seconds]]) + " |")
    means = [row["after"]["dice_mean"] for name, row in rows.items() if name.startswith("brain2d") and "after" in row]
    tail = f"\nMean Dice over the {len(means)} brain2d cases: {sum(means) / len(means):.3f}\n" if means else ""
    return "\n".join(lines) + "\n" + tail


def case_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark on case folders is told: the cases, the referee, and where its results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path)
    parser.add_argument("--referee", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main() -> None:
    """Run the cases."""
    parser = case_parser(__doc__)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    score = load_referee(arguments.referee)
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "results.json"
    rows: dict[str, dict[str, Any]] = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    for case in arguments.cases:
        out = arguments.out / case.name
        row = {"preset": preset_of(case), "seconds_wall": rows.get(case.name, {}).get("seconds_wall")}
        if arguments.again or not (out / "report.json").exists():
            row |= register(case, out, ["--device", arguments.device])
        if "failed" not in row:
            row |= scored(case, out, score)
        rows[case.name] = row
        table.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        (arguments.out / "results.md").write_text(markdown(rows), encoding="utf-8")
        print(markdown({case.name: row}).splitlines()[2], flush=True)
    sys.exit(any("failed" in row for row in rows.values()))


if __name__ == "__main__":
    main()
