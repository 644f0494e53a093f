#!/usr/bin/env python3
"""What each ingredient of the registration buys: the default without one of them, on case folders, scored by a referee from outside.

    ablation.py --referee REFEREE.py --out FOLDER [--repeats 1] [--threads 2] [--only NAME ...] CASE_DIR ...

Every registration is a process of its own, as in compare.py. FOLDER gets ablation.json and ablation.md: accuracy, digital folds in the
fixed foreground (the referee's, of the exported transform), seconds and processor seconds, written anew after every registration.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compare import Plan, elsewhere, judge, run, scored
from run_cases import case_parser

VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "everything": ({}, False),
    "no coarse search": ({"search": {"mode": "off"}}, False),
    "no network": ({"model": "none"}, False),
    "neither search nor network": ({"search": {"mode": "off"}, "model": "none"}, False),
    "one direction": ({"refine": {"symmetric": False}}, False),
    "no barrier": ({"folds": {"barrier_steps": 0}}, False),
    "no repair": ({"folds": {"repair": False}}, False),
    "neither barrier nor repair": ({"folds": {"barrier_steps": 0, "repair": False}}, False),
    "no regularizer beside the smoothing": ({"refine": {"regularizer": "none"}}, False),
    "the velocity on the full lattice": ({"refine": {"cpu_velocity_mvox": 1e6}}, False),
    "plain torch in the inner loop": ({}, True),
}
"""Name -> changes of the settings, and whether the compiled kernels of the inner loop are replaced by plain torch."""


@dataclass(frozen=True)
class Variant(Plan):
    """A plan of one registration of ours with other settings."""

    changes: dict[str, Any] = field(default_factory=dict)
    plain: bool = False

    def command(self, case: Path, tool: str, folder: Path) -> list[str]:
        """Add the changes."""
        command = [*super().command(case, tool, folder), "--changes", json.dumps(self.changes)]
        return command + (["--plain"] if self.plain else [])


def table(rows: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Return everything as Markdown, one line a case and variant."""
    lines = ["| case | without | measure | accuracy | folds % | s | CPU s | peak GiB |", "|" + "---|" * 8]
    for case, variants in rows.items():
        for name, runs in variants.items():
            done = [one for one in runs if "failed" not in one]
            if not done:
                lines.append(f"| {case} | {name} | failed: {runs[0]['failed']} | | | | | |")
                continue
            key, title, _ = judge(done[0]["score"])
            folds = done[0]["score"]["fold_digital_pct"]
            middle = [statistics.median(one[what] for one in done) for what in ("seconds", "cpu_s", "peak_gib")]
            cells = f"{done[0]['score'][key]:.4f} | {folds:.4g} | {middle[0]:.1f} | {middle[1]:.0f} | {middle[2]:.2f}"
            lines.append(f"| {case} | {name} | {title} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every variant on every case."""
    parser = case_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for _ in range(words.repeats):
        for case in words.cases:
            for name in words.only:
                changes, plain = VARIANTS[name]
                plan = Variant(
                    (case,), (), 1, words.threads, "cpu", True, 1800.0, sys.executable, words.out, changes=changes, plain=plain
                )  # fmt: skip
                with tempfile.TemporaryDirectory() as place:
                    found = run(plan, case, "ours", Path(place))
                    if "failed" not in found:
                        found["score"] = elsewhere(scored, words.referee, case, str(Path(place) / found["transform"]))
                rows.setdefault(case.name, {}).setdefault(name, []).append(found)
                (words.out / "ablation.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
                (words.out / "ablation.md").write_text(table(rows), encoding="utf-8")
                print(table({case.name: {name: [found]}}).splitlines()[2], flush=True)


if __name__ == "__main__":
    main()
