"""The course of a training: tables that are always written, a picture, and TensorBoard's event files where that package is there."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileFormatError
from ..io import atomic_file

Row = dict[str, float]

NO_TENSORBOARD = (
    "TensorBoard is not installed, so no event files are written (the tables and the picture are). "
    "To have them: pip install 'napari-deformreg[train]'."
)


class Course:
    """Rows of figures by step, kept in memory and in a table on disk."""

    def __init__(self, path: Path, rows: list[Row] | None = None) -> None:
        self.path, self.rows = path, rows or []

    @classmethod
    def reopened(cls, path: Path, step: int) -> Course:
        """Read an older table up to a step: what came after the checkpoint will be done again."""
        if not path.is_file():
            return cls(path)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                read = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
            return cls(path, [row for row in read if row["step"] <= step])
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise FileFormatError(f"{path} is damaged: {error}. Remove it; the training itself can go on without it.") from error

    def add(self, row: Row) -> None:
        """Add a row; `write` brings it to the disk."""
        self.rows.append(row)

    def write(self) -> None:
        """Write the table whole."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_file(self.path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            # 9 digits bring every float32 back; a step stays a whole number.
            writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in self.rows)

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Return steps and values of one figure, where it is known."""
        known = [row for row in self.rows if name in row]
        return [row["step"] for row in known], [row[name] for row in known]

    def names(self) -> list[str]:
        """Figures that occur, in the order of their first appearance."""
        return [name for name in dict.fromkeys(name for row in self.rows for name in row) if name != "step"]


class Events:
    """TensorBoard's event files; without the package it does nothing."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    @property
    def notice(self) -> str | None:
        """What to tell the user if nothing is written."""
        return NO_TENSORBOARD if self._writer is None else None

    def add(self, group: str, row: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, int(row["step"]))

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True)
class _Line:
    course: Course
    name: str
    label: str
    style: str = "-"


def draw_curves(path: Path, training: Course, validation: Course) -> None:
    """Draw loss, its terms, and the figures of the validations as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(training, validation)
    figure = Figure(figsize=(3.6 * len(panels), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (heading, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for line in lines:
            axes.plot(*line.course.series(line.name), line.style, label=line.label, linewidth=1.2, markersize=3)
        axes.set(title=heading, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        if "%" in heading:
            axes.set_ylim(0, max(axes.get_ylim()[1], 0.1))
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=80)


_FIGURES = {
    "dice": "Dice", "endpoint_vox": "end-point error, voxels", "tre_vox": "landmark error, voxels", "folds_percent": "folds, % of voxels",
}  # fmt: skip


def _panels(training: Course, validation: Course) -> dict[str, list[_Line]]:
    panels = {"loss": [_Line(training, "loss", "training"), *_held_out(validation, "loss")]}
    terms = [name for name in training.names() if name.startswith("term ")]
    if len(terms) > 1:
        panels["terms of the loss, training"] = [_Line(training, name, name.removeprefix("term ")) for name in terms]
    return panels | {heading: _held_out(validation, name) for name, heading in _FIGURES.items() if name in validation.names()}


def _held_out(validation: Course, name: str) -> list[_Line]:
    known = [(name, "held out", "o-"), (f"{name} before", "held out, no motion", "--")]
    return [_Line(validation, column, label, style) for column, label, style in known if column in validation.names()]
