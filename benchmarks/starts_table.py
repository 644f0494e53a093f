#!/usr/bin/env python3
"""What a start is worth: no start, the training-free one, a network's, both; each alone, with a part of the refinement and with all of it.

    starts_table.py --referee REFEREE.py --out FOLDER [--model MODEL] [--starts …] CASE_DIR [CASE_DIR ...]

Case folders and the referee are as in `run_cases.py`; MODEL is a bundled network or a file, without one the bundled one for slices or for
volumes. "Alone" is the chosen start without a single step of refinement; "half" and "quarter" have such a part of the steps and of the
CPU's budget of voxel-steps. Every start is compared with none by the loss of the refinement, as in any run, so a start that did not pay
shows the figures of none. Seconds are those of all stages by the clock, reading and writing excluded; every case is registered once
before its first row, so that nothing is compiled in the time of a row.

FOLDER gets one transform a run, `starts.json` and `starts.md` (written after every run, so that a stopped benchmark loses nothing; runs
that are there are not repeated).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_cases import case_parser, find, load_referee, motion_mm, preset_of

from napari_deformreg import read_image, read_labels, register
from napari_deformreg.errors import DeformregError
from napari_deformreg.io import write_transform
from napari_deformreg.settings import Settings

STARTS: dict[str, dict[str, Any]] = {
    "none": {"search": {"mode": "off"}, "model": "none"},
    "training-free": {"model": "none"},
    "network": {"search": {"mode": "off"}},
    "both": {},
}
"""What each kind of start changes in the settings; those that do not say otherwise use the network."""

REFINEMENTS = {"alone": 0.0, "quarter": 0.25, "half": 0.5, "full": 1.0}
"""Part of the preset's steps."""

FIGURES = (("dice_mean", "Dice", ".3f"), ("tre_mm_liver", "TRE liver mm", ".2f"), ("tre_mm_mean", "TRE mm", ".2f"))
"""The first that a case has is its figure."""


def settings_for(preset: str, start: str, part: float, model: str, device: str) -> Settings:
    """Return a run's settings."""
    settings = Settings.from_preset(preset).changed(device=device, model=model).changed(**STARTS[start])
    if part == 1.0:
        return settings
    steps = tuple(round(part * count) for count in settings.refine.steps)
    budget = settings.refine.cpu_budget_mvox * max(part, 0.01)
    return settings.changed(refine={"steps": steps, "cpu_budget_mvox": budget})


def read(case: Path) -> dict[str, Any]:
    """Read what a case is registered from."""
    given: dict[str, Any] = {side: read_image(find(case, side)) for side in ("fixed", "moving")}
    if find(case, "fixed_mask") and find(case, "moving_mask"):
        given |= {f"{side}_mask": read_labels(find(case, f"{side}_mask")) for side in ("fixed", "moving")}
    return given


def row(case: Path, given: dict[str, Any], transform: Path, settings: Settings, score: Any) -> dict[str, Any]:
    """Register one case one way; the referee's figures, the seconds and which start was taken, or what went wrong."""
    try:
        result = register(settings=settings, **given)
    except DeformregError as error:
        return {"failed": str(error)[-500:]}
    write_transform(transform, result.fixed_to_moving)
    told = result.provenance
    figures = score(str(case), str(transform))
    spec = json.loads((case / "case.json").read_text(encoding="utf-8")) if (case / "case.json").exists() else {}
    if spec.get("truth") == "identity":
        figures["moved_mm_median"] = motion_mm(case, transform)
    start = None if told.start is None else {"chosen": told.start.chosen, "losses": dict(told.start.losses)}
    return {"figures": figures, "seconds": sum(told.seconds.values()), "stages": dict(told.seconds), "start": start, "device": told.device}


def _figure(row: dict[str, Any], key: str, form: str) -> str:
    if "failed" in row:
        return "failed"
    folds = row["figures"].get("fold_digital_pct")
    marked = f" ({folds:.2g} % folds)" if folds else ""
    return f"{row['figures'][key]:{form}}{marked}, {row['seconds']:.0f} s"


def _chosen(runs: dict[str, dict[str, Any]]) -> str:
    """Tell which start the runs took; all of one kind decide alike, as they compare the same things."""
    choices = {run["start"]["chosen"] for run in runs.values() if run.get("start")}
    return ", ".join(sorted(choices)) or "–"


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """Return the table: one row a case and start."""
    head = ["case", "figure", "before", "start", "chosen", *REFINEMENTS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, entry in table.items():
        known = [*FIGURES, ("moved_mm_median", "motion mm", ".2f")]
        first = next((run["figures"] for runs in entry["runs"].values() for run in runs.values() if "figures" in run), {})
        key, title, form = next((figure for figure in known if figure[0] in first), known[-1])
        before = entry["before"].get(key)
        for start, runs in entry["runs"].items():
            cells = [_figure(runs[part], key, form) if part in runs else "" for part in REFINEMENTS]
            told = "" if before is None else f"{before:{form}}"
            lines.append("| " + " | ".join([name, title, told, start, _chosen(runs), *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cases."""
    parser = case_parser(__doc__)
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--refinements", nargs="+", choices=list(REFINEMENTS), default=list(REFINEMENTS))
    words = parser.parse_args()
    score = load_referee(words.referee)
    words.out.mkdir(parents=True, exist_ok=True)
    kept = words.out / "starts.json"
    table: dict[str, dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for case in words.cases:
        entry = table.setdefault(case.name, {"before": score(str(case), "identity"), "runs": {}})
        given = read(case)
        model = words.model or ("general-2d" if given["fixed"].grid.is_2d else "general-3d")
        missing = [(s, part) for s in words.starts for part in words.refinements if part not in entry["runs"].get(s, {})]
        if missing:
            register(settings=settings_for(preset_of(case), "both", 0.1, model, words.device), **given)
        for start, part in missing:
            settings = settings_for(preset_of(case), start, REFINEMENTS[part], model, words.device)
            transform = words.out / f"{case.name}-{start}-{part}.h5"
            entry["runs"].setdefault(start, {})[part] = row(case, given, transform, settings, score)
            kept.write_text(json.dumps(table, indent=1), encoding="utf-8")
            (words.out / "starts.md").write_text(markdown(table), encoding="utf-8")
        print("\n".join(line for line in markdown(table).splitlines() if line.startswith(f"| {case.name} |")), flush=True)


if __name__ == "__main__":
    main()
