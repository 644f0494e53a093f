"""A picture of samples: what a network is shown, and whether the truth that it is told is one."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from ...engine import differentiable
from ..pairs import TrainingPair

_TITLES = ("fixed", "moving", "moved by the truth", "fixed labels", "moving labels", "labels that differ when moved", "true motion (vox)")
_PLANES_3D = ("first axis across", "second axis across", "third axis across")
_CELL_INCHES, _DPI = 1.9, 90
_GRID_LINES = 16


def draw_sheet(pairs: Sequence[TrainingPair], names: Sequence[str] = ()) -> bytes:
    """Draw pairs as PNG: one row a pair and plane; 3-D pairs are cut in the middle of each axis.

    Parameters
    ----------
    pairs : sequence of TrainingPair
        One pair a batch.
    names : sequence of str
        What is written beside each pair.
    """
    rows = [(number, plane) for number, pair in enumerate(pairs) for plane in range(3 if pair.fixed.dim() == 5 else 1)]
    figure = Figure(figsize=(_CELL_INCHES * len(_TITLES), _CELL_INCHES * len(rows) + 0.3), dpi=_DPI)
    axes = figure.subplots(len(rows), len(_TITLES), squeeze=False)
    panels = [_panels(pair) for pair in pairs]
    for row, (number, plane) in enumerate(rows):
        for column, title in enumerate(_TITLES):
            place = axes[row][column]
            place.set_xticks([])
            place.set_yticks([])
            if row == 0:
                place.set_title(title, fontsize=8)
            _draw(place, column, panels[number], plane)
        shown = _PLANES_3D[plane] if pairs[number].fixed.dim() == 5 else ""
        axes[row][0].set_ylabel(f"{names[number] if number < len(names) else number}\n{shown}", fontsize=7)
    figure.subplots_adjust(left=0.04, right=0.995, bottom=0.005, top=1 - 0.3 / (_CELL_INCHES * len(rows) + 0.3), wspace=0.03, hspace=0.03)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _panels(pair: TrainingPair) -> dict[int, Any]:
    """Compute what is drawn in each column; a pair without a true velocity leaves the last ones empty."""
    out: dict[int, Any] = {0: _array(pair.fixed[0, 0]), 1: _array(pair.moving[0, 0])}
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        out[3], out[4] = _array(pair.fixed_labels[0]), _array(pair.moving_labels[0])
    if pair.velocity_vox is None:
        return out
    motion = differentiable.integrate(pair.velocity_vox)
    out[2], out[6] = _array(differentiable.warp(pair.moving, motion)[0, 0]), _array(motion[0])
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        moved = differentiable.warp(pair.moving_labels[:, None].to(motion.dtype), motion, "nearest")
        out[5] = _array((moved[:, 0] != pair.fixed_labels)[0])
    return out


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().to("cpu", torch.float32))


def _draw(place: Axes, column: int, panels: dict[int, Any], plane: int) -> None:
    if column not in panels:
        place.text(0.5, 0.5, "not known", ha="center", va="center", transform=place.transAxes, fontsize=7)
        return
    data = panels[column]
    if column == 6:
        _draw_motion(place, data, plane)
        return
    shown = _cut(data, plane)
    if column in (3, 4):
        place.imshow(shown, cmap=_label_colors(), vmin=0, vmax=255, interpolation="nearest")
    else:
        place.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _cut(data: np.ndarray, plane: int) -> np.ndarray:
    """Cut the middle slice; the first of the remaining axes points right, the second one up, so that heads stand upright."""
    return np.asarray(data if data.ndim == 2 else np.take(data, data.shape[plane] // 2, axis=plane)).T[::-1]


def _draw_motion(place: Axes, motion: np.ndarray, plane: int) -> None:
    """Draw where a square grid on the fixed lattice lands in the moving one, over the length of the motion."""
    length = np.linalg.norm(motion, axis=0)
    place.imshow(_cut(length, plane), cmap="magma", vmin=0, vmax=max(float(np.percentile(length, 99)), 1e-3), interpolation="nearest")
    shown = [axis for axis in range(len(motion)) if len(motion) == 2 or axis != plane]
    across, up = (_cut(motion[axis], plane) for axis in shown)
    down, right = np.indices(across.shape, dtype=np.float64)
    step = max(max(across.shape) // _GRID_LINES, 1)
    x, y = right + across, down - up
    for line in range(0, across.shape[0], step):
        place.plot(x[line], y[line], color="white", lw=0.4)
    for line in range(0, across.shape[1], step):
        place.plot(x[:, line], y[:, line], color="white", lw=0.4)
    place.set_xlim(-0.5, across.shape[1] - 0.5)
    place.set_ylim(across.shape[0] - 0.5, -0.5)
    place.text(0.02, 0.02, f"max {length.max():.1f}", color="white", fontsize=7, transform=place.transAxes)


def _label_colors() -> ListedColormap:
    """Return black for background and well separated colors for the 255 labels."""
    order = (np.arange(256) * 61) % 256
    colors = colormaps["nipy_spectral"](0.08 + 0.87 * order / 255.0)  # without its black and white ends
    colors[0] = (0, 0, 0, 1)
    return ListedColormap(colors)
