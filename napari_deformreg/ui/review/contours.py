"""Outlines of structures on the displayed slice as thin lines: fixed in one color, moved in the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QColor

from .. import compat, garbage
from .. import result_layers as parts
from ..adding import LayerAdder
from ..kept_shaders import keep_shaders
from ..layers import LayerTuple
from ..several_changes import DrawnOnce, changed_at_once
from .desk import Desk

COLORS = {parts.FIXED_LABELS: parts.FIXED_COLOR, parts.MOVED_LABELS: parts.MOVED_COLOR}
"""Which labels are outlined, and in which color at first."""

TOGETHER = {parts.CONTOURS: tuple(COLORS)}
"""Both in one layer: each layer takes its time with every slice, however little is in it."""

SIDE_BY_SIDE = {parts.CONTOURS: (parts.FIXED_LABELS,), parts.MOVED_CONTOURS: (parts.MOVED_LABELS,)}
"""In napari's grid each image has its own outlines, and a layer lies over one image alone."""

LINE_MM = 0.5
"""Width of a line; less for finer voxels, a third of one."""

REDRAW_MS = 20

AT_ONCE_MS = 20
"""What takes less is drawn together with the slice; what takes more follows when the slider rests."""


class Contours(QObject):
    """Follows the displayed slice while it is on.

    Parameters
    ----------
    desk : Desk
        Whose structures are outlined.
    """

    def __init__(self, desk: Desk, parent: QObject | None = None) -> None:
        super().__init__(parent)
        keep_shaders()
        self._desk = desk
        self._label: int | None = None
        self._colors = dict(COLORS)
        self._hidden: set[str] = set()
        self._drawn: dict[str, Any] = {}
        self._following = False
        self._cost_ms = 0.0
        self._active: Any | None = None
        self._adder = LayerAdder(desk.viewer, desk.dock)
        self._adder.done.connect(self._on_added)
        self._once = DrawnOnce(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)

    def show(self, label: int | None) -> None:
        """Outline one structure, or all of them."""
        self._label = label
        self._follow(True)
        self.redraw()

    def hide(self) -> None:
        """Outline nothing; the layers go."""
        self._follow(False)
        self._timer.stop()
        self._once.release()
        self._remove(list(self._drawn))

    def show_side(self, part: str, shown: bool) -> None:
        """Outline the labels of this part, too, or not."""
        (self._hidden.discard if shown else self._hidden.add)(part)
        if self._following:
            self._schedule()

    def color_side(self, part: str, color: str) -> None:
        """Outline the labels of this part in another color."""
        self._colors[part] = color
        if self._following:
            self._schedule()

    def stop(self) -> None:
        """Do no more: the dock goes away."""
        self._adder.stop()
        self.hide()
        for layer in [layer for layer in self._desk.viewer.layers if parts.part_of(layer) in SIDE_BY_SIDE]:
            self._desk.viewer.layers.remove(layer)

    @property
    def busy(self) -> bool:
        """Whether the lines are still to come."""
        return self._adder.busy or self._timer.isActive()

    def redraw(self) -> None:
        """Draw the outlines of the displayed slice."""
        if self._comparison_busy():
            self._timer.start()  # It puts layers in order: none must come or go meanwhile.
            return
        began = time.thread_time()
        wanted = SIDE_BY_SIDE if compat.grid(self._desk.viewer).enabled else TOGETHER
        self._remove([name for name in self._drawn if name not in wanted])
        fresh = []
        for name, sides in wanted.items():
            layer = self._drawn.get(name)
            if layer is not None and layer in self._desk.viewer.layers:
                self._fill(layer, sides)
            elif self._desk.shown is not None and any(self._desk.layer(side) is not None for side in sides):
                fresh.append(self._entry(name))
        if fresh and not self._adder.busy:
            self._active = self._desk.viewer.layers.selection.active
            self._adder.add(fresh)
        self._cost_ms = 1000 * (time.thread_time() - began)

    def _comparison_busy(self) -> bool:
        panel = self._desk.panel
        return panel is not None and panel.compare.comparison.busy

    def _remove(self, names: list[str]) -> None:
        for name in names:
            layer = self._drawn.pop(name)
            if layer in self._desk.viewer.layers:
                garbage.remove(self._desk.viewer.layers, layer)

    def _fill(self, layer: Any, sides: tuple[str, ...]) -> None:
        found = list(self._outlines(sides))
        vectors = np.concatenate([np.zeros((0, 2, 3), np.float32), *(lines for lines, _ in found)])
        with changed_at_once(layer, extent=False):
            layer.data = vectors
            if len(vectors):
                layer.edge_color = np.concatenate([np.broadcast_to(color, (len(lines), 4)) for lines, color in found])

    def _outlines(self, sides: tuple[str, ...]) -> Iterator[tuple[Float[np.ndarray, "n 2 3"], Float[np.ndarray, "4"]]]:
        for side in sides:
            labels = self._desk.layer(side)
            if labels is not None and side not in self._hidden:
                yield self._lines(np.asarray(labels.data)), np.array(QColor(self._colors[side]).getRgbF(), np.float32)

    def _lines(self, labels: Shaped[np.ndarray, "z y x"]) -> Float[np.ndarray, "n 2 3"]:
        dims = self._desk.viewer.dims
        if dims.ndisplay != 2 or dims.ndim < 3 or self._desk.shown is None:
            return np.zeros((0, 2, 3), np.float32)
        first = dims.ndim - 3
        axis = next(a - first for a in dims.order if a >= first)
        placement = self._desk.shown.placement
        place = (dims.point[axis + first] - placement.origin[::-1][axis]) / placement.spacing[::-1][axis]
        index = int(np.clip(round(place), 0, labels.shape[axis] - 1))
        plane = labels[(slice(None),) * axis + (index,)]  # numpy's take copies the whole volume first, unless its order in memory is C
        return outline(plane if self._label is None else plane == self._label, axis, index)

    def _entry(self, name: str) -> LayerTuple:
        """Describe a layer without a line: to come and to be filled are a turn of the event loop each."""
        shown = self._desk.shown
        assert shown is not None
        spacing = shown.placement.spacing
        width = min(LINE_MM, float(spacing.min()) / 3) / float(spacing.mean())
        look = {"name": name, "edge_color": parts.FIXED_COLOR, "edge_width": width, "vector_style": "line", "opacity": 1.0}
        return parts.marked_as_result((np.zeros((0, 2, 3), np.float32), {**shown.placement.layer_arguments, **look}, "vectors"))

    def _on_added(self, added: list[Any]) -> None:
        self._drawn.update({str(parts.part_of(layer)): layer for layer in added})
        if self._following:
            self._timer.start()
        else:
            self.hide()
        if self._active is not None and self._active in self._desk.viewer.layers:
            self._desk.viewer.layers.selection.active = self._active

    def _follow(self, following: bool) -> None:
        if following == self._following:
            return
        self._following = following
        viewer = self._desk.viewer
        events, grid = viewer.dims.events, compat.grid(viewer).events
        later = (events.order, events.ndisplay, grid.enabled)
        for event, action in ((events.current_step, self._on_step), *((event, self._schedule) for event in later)):
            (event.connect if following else event.disconnect)(action)

    def _schedule(self, event: Any = None) -> None:
        self._once.release()
        self._timer.start()

    def _on_step(self, event: Any = None) -> None:
        """Draw together with the slice, unless that takes long: one painting for both."""
        if self._cost_ms > AT_ONCE_MS or self._adder.busy or self._comparison_busy():
            self._schedule()
        else:
            self.redraw()
            self._once.hold(layer for layer in self._drawn.values() if layer in self._desk.viewer.layers)


def outline(plane: Shaped[np.ndarray, "r c"], axis: int, index: int) -> Float[np.ndarray, "n 2 3"]:
    """Give the lines between pixels of different values, as vectors (start and way) in the voxels of a volume.

    Parameters
    ----------
    plane : (r, c) array
        One slice; what lies beyond its rim counts as 0.
    axis, index : int
        Across which axis the slice was taken, and where.
    """
    framed = np.pad(plane, 1)
    across, along = framed[:-1, 1:-1] != framed[1:, 1:-1], (framed[1:-1, :-1] != framed[1:-1, 1:]).T
    rows, columns = _runs(across), _runs(along)[:, [1, 0, 3, 2]]
    lines = np.concatenate([rows, columns]).astype(np.float32)
    vectors = np.zeros((len(lines), 2, 3), np.float32)
    in_plane = [other for other in range(3) if other != axis]
    vectors[:, 0, axis] = index
    vectors[:, 0, in_plane] = lines[:, :2] - 0.5
    vectors[:, 1, in_plane] = lines[:, 2:]
    return vectors


def _runs(edges: Bool[np.ndarray, "r c"]) -> np.ndarray:
    """Join edges that follow each other along a row: (row, first column, 0, length) of each run."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    return np.stack([rows, starts, np.zeros_like(rows), stops - starts], axis=1)
