#!/usr/bin/env python3
"""Writes the README's tables that are made from the code, so that they cannot drift apart. With --check it only compares.

Each table stands between `<!-- NAME: made by tools/readme_tables.py -->` and `<!-- end -->`.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

from napari_deformreg.engine.losses import losses_markdown
from napari_deformreg.qa import metrics_markdown
from napari_deformreg.settings import EFFORT_HELP, EFFORTS, PRESET_HELP

README = Path(__file__).parents[1] / "README.md"


def presets_table() -> str:
    """Return the table of presets."""
    return "\n".join(["| preset | for |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in PRESET_HELP.items())])


def efforts_table() -> str:
    """Return the table of efforts."""
    head = "| effort | for | voxel-steps a level (CPU) | velocity's lattice (CPU) | steps | tolerance | also |\n|" + "---|" * 7
    return "\n".join([head, *(_effort_row(name, text) for name, text in EFFORT_HELP.items())])


SEARCH_WITH_NETWORK = {
    "never": "no coarse search where there is a network",
    "rival": "in volumes a coarser search beside a network's start, in full where it wins even so",
    "full": "the coarse search in full beside a network's start",
}


def _effort_row(name: str, text: str) -> str:
    effort = EFFORTS[name]
    also = [
        SEARCH_WITH_NETWORK[effort.search_with_network],
        "" if effort.integrate_full else "integrated on the velocity's lattice",
        *(f"{flows} flows with `{preset}`" for preset, flows in effort.flows.items()),
        f"inverse to {effort.inverse_residual_vox:g} voxels in the mean" if effort.inverse_residual_vox else "",
    ]
    lattice = "as set" if math.isinf(effort.lattice_mvox) else f"at most {effort.lattice_mvox:g} million voxels"
    factors = [f"x {effort.work:g}", lattice, f"x {effort.steps:g}", f"x {effort.tolerance:g}"]
    return " | ".join([f"| `{name}`", text, *factors, "; ".join(filter(None, also))]) + " |"


TABLES = {"efforts": efforts_table, "losses": losses_markdown, "metrics": metrics_markdown, "presets": presets_table}


def with_tables(text: str) -> str:
    """Return the README's text with every table made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- {name}: made by tools/readme_tables.py -->\n", "<!-- end -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"Expected a place for the table {name!r} in {README.name}: {start.strip()} … {end}")
        made = start + table().strip() + "\n" + end
        text = pattern.sub(lambda _, made=made: made, text)
    return text


def main() -> None:
    """Write or compare."""
    now = README.read_text(encoding="utf-8")
    made = with_tables(now)
    if "--check" not in sys.argv:
        README.write_text(made, encoding="utf-8")
    elif made != now:
        sys.exit("The README's tables differ from the code. Run: python tools/readme_tables.py")


if __name__ == "__main__":
    main()
