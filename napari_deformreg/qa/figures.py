"""Pictures of a registration as PNG bytes, drawn with matplotlib's object API (no window, no global state)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy import ndimage

from ..errors import InputError
from ..result import RegistrationResult
from ..space import Grid, LabelMap, Volume
from .foreground import fixed_foreground
from .report import Report
from .views import View, best_views, views_through

CONVENTION = (
    "Radiological convention: the patient's right (R) is on the left of the picture. Oblique images are shown along their own axes, named "
    "by the nearest anatomical directions."
)

FOLD_COLOR = "#39ff14"
_BACKGROUND, _TEXT = "black", "#dddddd"
_ARROWS_ACROSS = 24
_DPI = 110
_GAP_INCHES, _TITLE_INCHES, _BAR_INCHES = 0.06, 0.35, 0.55


@dataclass(frozen=True, eq=False)
class _Scene:
    """Everything a panel may draw, with intensity windows and ranges shared by all views."""

    fixed: Volume
    moved: Volume
    moving_before: Volume
    result: RegistrationResult
    report: Report
    mask: np.ndarray
    fixed_range: tuple[float, float]
    moving_range: tuple[float, float]
    displacement_limit_mm: float
    jacobian_limit: float
    arrow_scale: float

    @property
    def grid(self) -> Grid:
        return self.fixed.grid


def draw_pictures(
    fixed: Volume,
    moved: Volume,
    moving_before: Volume,
    result: RegistrationResult,
    report: Report,
    *,
    fixed_labels: LabelMap | None = None,
    moved_labels: LabelMap | None = None,
) -> dict[str, bytes]:
    """Draw the pictures of a report.

    Returns
    -------
    dict of str to bytes
        PNG files: ``"preview"`` always; ``"structures"`` with both label maps; ``"landmarks"`` with landmarks; ``"folds"`` where the
        foreground folds; ``"progress"`` when the run kept its losses.

    Raises
    ------
    InputError
        If an image or label map does not lie on the fixed grid.
    """
    for thing in (moved, moving_before, fixed_labels, moved_labels):
        if thing is not None and thing.grid != fixed.grid:
            raise InputError(f"Pictures need everything on the fixed grid {fixed.grid.shape}; {thing.name!r} lies on {thing.grid.shape}.")
    mask = fixed_foreground(fixed).mask
    views = best_views(fixed, mask)
    scene = _scene(fixed, moved, moving_before, result, report, mask, views)
    pictures = {"preview": _panels(scene, views, _PREVIEW)}
    if fixed_labels is not None and moved_labels is not None:
        outlined = [
            ("Fixed and its outlines", _outlines(fixed, fixed_labels, None)),
            ("Moved and its outlines", _outlines(moved, None, moved_labels)),
            ("Moved and both", _outlines(moved, fixed_labels, moved_labels)),
        ]
        pictures["structures"] = _panels(scene, views, outlined, column_inches=4.2)
    if report.landmarks is not None and len(report.landmarks):
        pictures["landmarks"] = _landmark_picture(report)
    if report.folds.foreground.digital_count:
        worst = report.folds.regions[0].center_mm
        pictures["folds"] = _panels(scene, views_through(fixed, mask, worst), _FOLDS, column_inches=3.2, ring_mm=worst)
    if any(step.loss is not None for step in result.history):
        pictures["progress"] = _progress_picture(result)
    return pictures


def _scene(
    fixed: Volume, moved: Volume, moving_before: Volume, result: RegistrationResult, report: Report, mask: np.ndarray, views: list[View]
) -> _Scene:
    length = np.linalg.norm(result.displacement.displacement_mm[mask], axis=1)
    low, high = np.percentile(report.jacobian.data[mask], [0.5, 99.5])
    spread = max(high, 1 / low if low > 0 else np.inf)
    limit_mm = max(float(np.percentile(length, 99.5)), 1e-3)
    return _Scene(
        fixed, moved, moving_before, result, report, mask,
        fixed_range=_intensity_range(fixed.data[mask]),
        moving_range=_intensity_range(np.concatenate([moved.data[mask], moving_before.data[mask]])),
        displacement_limit_mm=limit_mm,
        # At least so wide that noise does not look like motion, at most so wide that ordinary change is still seen.
        jacobian_limit=float(np.clip(spread, 1.5, 4.0)),
        arrow_scale=_arrow_scale(limit_mm, views),
    )  # fmt: skip


def _arrow_scale(limit_mm: float, views: list[View]) -> float:
    """Choose by how much small deformations are drawn enlarged: so that the longest arrow spans about two arrow distances."""
    step_mm = max(max(view.size_mm) for view in views) / _ARROWS_ACROSS
    return max(scale for scale in (1.0, 2.0, 5.0, 10.0, 20.0) if scale == 1 or scale * limit_mm <= 2 * step_mm)


def _intensity_range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [1, 99.5])
    return float(min(low, values.min() if low == high else low)), float(high if high > low else low + 1)


_Panel = Callable[[Axes, View, _Scene], Any]


def _panels(
    scene: _Scene,
    views: list[View],
    columns: list[tuple[str, _Panel]],
    column_inches: float = 2.5,
    ring_mm: tuple[float, float, float] | None = None,
) -> bytes:
    """Draw a table of pictures, one row a view, all at one scale in mm; a panel may return what its color bar describes."""
    heights = [view.size_mm[0] for view in views]
    width = max(view.size_mm[1] for view in views)
    inch_per_mm = column_inches / width
    rows_inches = [max(height * inch_per_mm, 0.6) for height in heights]
    width_inches = len(columns) * (column_inches + _GAP_INCHES) + _GAP_INCHES
    bar_inches = _BAR_INCHES if any(panel in (_draw_displacement, _draw_jacobian) for _, panel in columns) else 0.0
    height_inches = sum(rows_inches) + _GAP_INCHES * len(rows_inches) + bar_inches + _TITLE_INCHES
    figure = Figure(figsize=(width_inches, height_inches), facecolor=_BACKGROUND)

    def place(left: float, bottom: float, width: float, height: float) -> Axes:
        return figure.add_axes((left / width_inches, bottom / height_inches, width / width_inches, height / height_inches))

    for n, (name, panel) in enumerate(columns):
        title = f"{name}, arrows × {scene.arrow_scale:g}" if panel is _draw_displacement and scene.arrow_scale != 1 else name
        left = _GAP_INCHES + n * (column_inches + _GAP_INCHES)
        bottom = height_inches - _TITLE_INCHES
        place(left, bottom, column_inches, _TITLE_INCHES).set_axis_off()
        figure.axes[-1].text(0.5, 0.4, title, color=_TEXT, ha="center", va="center", fontsize=9)
        mapped = None
        for view, row_inches in zip(views, rows_inches, strict=True):
            bottom -= row_inches
            axes = place(left, bottom, column_inches, row_inches)
            mapped = panel(axes, view, scene) or mapped
            _finish(axes, view, marks=n == 0)
            if ring_mm is not None:
                ((right, down),), _ = view.place(np.array([ring_mm]), scene.grid)
                axes.plot(right, down, "o", ms=12, mec="#ffd34d", mfc="none", mew=1.2)
            bottom -= _GAP_INCHES
        if mapped is not None:
            _color_bar(figure, mapped, place(left + 0.3, 0.33, column_inches - 0.6, 0.09))
    return _png(figure)


def _finish(axes: Axes, view: View, marks: bool) -> None:
    axes.set_axis_off()
    axes.set_aspect(view.spacing[0] / view.spacing[1])
    if not marks:
        return
    for text, x, y in zip(view.marks, (0.02, 0.98, 0.5, 0.5), (0.5, 0.5, 0.98, 0.02), strict=True):
        horizontal = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        vertical = "top" if y > 0.9 else "bottom" if y < 0.1 else "center"
        letter = axes.text(x, y, text, transform=axes.transAxes, color="#ffd34d", fontsize=9, fontweight="bold", ha=horizontal, va=vertical)
        letter.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _color_bar(figure: Figure, mapped: Any, axes: Axes) -> None:
    # The bar shows full colors though the picture dims what lies outside the foreground.
    bar = figure.colorbar(ScalarMappable(mapped.norm, mapped.cmap), cax=axes, orientation="horizontal")
    if isinstance(mapped.norm, LogNorm):
        limit = float(mapped.norm.vmax or 2)
        ticks = [t for t in (0.25, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0) if 1 / limit - 1e-6 <= t <= limit + 1e-6]
        ticks = [t for t in ticks if limit < 1.9 or t not in (0.8, 1.25, 0.67, 1.5)]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.tick_params(colors=_TEXT, labelsize=7, length=2)
    bar.outline.set_visible(False)


def _gray(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    return np.asarray(np.clip((image - window[0]) / (window[1] - window[0]), 0, 1))


def _draw_gray(axes: Axes, image: np.ndarray, window: tuple[float, float]) -> None:
    axes.imshow(_gray(image, window), cmap="gray", vmin=0, vmax=1)


def _draw_fixed(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_gray(axes, view.cut(scene.fixed.data, scene.grid), scene.fixed_range)


def _draw_before(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_gray(axes, view.cut(scene.moving_before.data, scene.grid), scene.moving_range)


def _draw_moved(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_gray(axes, view.cut(scene.moved.data, scene.grid), scene.moving_range)


def _draw_fusion(axes: Axes, view: View, scene: _Scene, other: Volume) -> None:
    """Draw fixed in green, the other in magenta: gray where both are alike, colored where one is brighter (the color-blind see it, too)."""
    fixed = _gray(view.cut(scene.fixed.data, scene.grid), scene.fixed_range)
    moving = _gray(view.cut(other.data, scene.grid), scene.moving_range)
    axes.imshow(np.stack([moving, fixed, moving], -1))


def _draw_fusion_before(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_fusion(axes, view, scene, scene.moving_before)


def _draw_fusion_after(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_fusion(axes, view, scene, scene.moved)


def _dimmed_outside(view: View, scene: _Scene) -> np.ndarray:
    """Give the opacity that fades what lies outside the foreground; dark organs inside (lungs, ventricles) do not fade."""
    shown = view.cut(scene.mask, scene.grid)
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(shown, 3), iterations=2))
    return np.where(np.asarray(filled)[3:-3, 3:-3], 1.0, 0.35)


def _draw_displacement(axes: Axes, view: View, scene: _Scene) -> Any:
    vectors = scene.result.displacement.displacement_mm
    length = np.linalg.norm(view.cut(vectors, scene.grid), axis=-1)
    picture = axes.imshow(length, cmap="magma", vmin=0, vmax=scene.displacement_limit_mm, alpha=_dimmed_outside(view, scene))
    flat = view.cut_vectors(vectors, scene.grid) * scene.arrow_scale
    step_mm = max(view.size_mm) / _ARROWS_ACROSS
    down, right = (max(round(step_mm / spacing), 1) for spacing in view.spacing)
    rows, columns = np.arange(down // 2, flat.shape[0], down), np.arange(right // 2, flat.shape[1], right)
    chosen = flat[np.ix_(rows, columns)]
    x, y = np.meshgrid(columns, rows)
    # At scale 1 an arrow ends where its voxel's point lies in moving space once the affine is taken away.
    axes.quiver(
        x, y, chosen[..., 0] / view.spacing[1], -chosen[..., 1] / view.spacing[0], angles="xy", scale_units="xy", scale=1, color="#9fe8ff",
        width=0.004, headwidth=3.5, headlength=4, minlength=0,
    )  # fmt: skip
    axes.set_xlim(-0.5, flat.shape[1] - 0.5)
    axes.set_ylim(flat.shape[0] - 0.5, -0.5)
    return picture


def _draw_jacobian(axes: Axes, view: View, scene: _Scene) -> Any:
    limit = scene.jacobian_limit
    determinant = np.clip(view.cut(scene.report.jacobian.data, scene.grid), 1 / limit, limit)
    picture = axes.imshow(determinant, cmap="RdBu_r", norm=LogNorm(1 / limit, limit), alpha=_dimmed_outside(view, scene))
    folded = view.cut(scene.report.folds.labels, scene.grid) > 0
    if folded.any():
        axes.imshow(np.where(folded, 1.0, np.nan), cmap=ListedColormap([FOLD_COLOR]), interpolation="nearest")
    return picture


def _draw_moved_with_folds(axes: Axes, view: View, scene: _Scene) -> None:
    _draw_moved(axes, view, scene)
    folded = view.cut(scene.report.folds.labels, scene.grid) > 0
    axes.imshow(np.where(folded, 1.0, np.nan), cmap=ListedColormap([FOLD_COLOR]), interpolation="nearest")


_PREVIEW: list[tuple[str, _Panel]] = [
    ("Fixed", _draw_fixed),
    ("Moving before", _draw_before),
    ("Moved", _draw_moved),
    ("Before: fixed green, moving magenta", _draw_fusion_before),
    ("After: fixed green, moved magenta", _draw_fusion_after),
    ("Deformation (mm)", _draw_displacement),
    ("Volume change, folds green", _draw_jacobian),
]

_FOLDS: list[tuple[str, _Panel]] = [
    ("Fixed, at the worst fold", _draw_fixed),
    ("Moved, folds green", _draw_moved_with_folds),
    ("Deformation (mm)", _draw_displacement),
    ("Volume change, folds green", _draw_jacobian),
]


def _outlines(image: Volume, first: LabelMap | None, second: LabelMap | None) -> _Panel:
    """Make a panel of an image with the outlines of one or two label maps."""

    def draw(axes: Axes, view: View, scene: _Scene) -> None:
        _draw_gray(axes, view.cut(image.data, image.grid), scene.fixed_range if image is scene.fixed else scene.moving_range)
        for labels, color in ((first, "#ffd34d"), (second, "#35d0ff")):
            if labels is not None:
                border = _border(view.cut(labels.data, labels.grid))
                axes.imshow(np.where(border, 1.0, np.nan), cmap=ListedColormap([color]), interpolation="nearest", alpha=0.8)

    return draw


def _border(labels: np.ndarray) -> np.ndarray:
    """Mark labelled pixels that have another label below or to the right, or background beside them."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    differs = (inner != padded[2:, 1:-1]) | (inner != padded[1:-1, 2:])
    open_ = (padded[:-2, 1:-1] == 0) | (padded[1:-1, :-2] == 0)
    return np.asarray((inner > 0) & (differs | open_))


def _landmark_picture(report: Report) -> bytes:
    landmarks = report.landmarks
    assert landmarks is not None
    order = np.argsort(landmarks.after_mm)[::-1]
    figure = Figure(figsize=(8, max(1.6, 0.8 + 0.17 * len(order))), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(order))
    before, after = landmarks.before_mm[order], landmarks.after_mm[order]
    axes.hlines(rows, np.minimum(before, after), np.maximum(before, after), color="#bbbbbb", lw=1)
    axes.plot(before, rows, "o", ms=4, color="#999999", label="before")
    worse = after > before
    axes.plot(after[~worse], rows[~worse], "o", ms=5, color="#1f5fa8", label="after")
    if worse.any():
        axes.plot(after[worse], rows[worse], "o", ms=5, color="#b3261e", label="after, farther than before")
    axes.set_yticks(rows, [landmarks.pairs.names[n] for n in order], fontsize=7)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("target registration error (mm)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _png(figure)


def _progress_picture(result: RegistrationResult) -> bytes:
    figure = Figure(figsize=(8, 2.2), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    steps = [step for step in result.history if step.loss is not None]
    start = 0
    for key in dict.fromkeys((step.stage, step.level) for step in steps):
        losses = [step.loss for step in steps if (step.stage, step.level) == key]
        axes.plot(np.arange(start, start + len(losses)), np.array(losses, dtype=float), label=f"{key[0]}, level {key[1]}")
        start += len(losses)
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("loss (each level its own)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, facecolor=figure.get_facecolor(), metadata={"Software": "napari-deformreg"})
    return out.getvalue()
