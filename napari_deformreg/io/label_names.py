"""Names of structures from a table beside a label map (BIDS: ``<name>.tsv`` with the columns ``index`` and ``name``)."""

from __future__ import annotations

import csv
from pathlib import Path

from .raw import stem_of


def names_beside(path: Path) -> dict[int, str]:
    """Read the table beside a label map; empty when there is none, or none that names labels."""
    table = path.with_name(f"{stem_of(path)}.tsv")
    if not table.is_file():
        return {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return {int(row["index"]): row["name"] for row in csv.DictReader(file, delimiter="\t") if row["name"]}
    except (KeyError, ValueError, TypeError, csv.Error):
        return {}  # some other table that happens to have the name
