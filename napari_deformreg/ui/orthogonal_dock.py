"""The Orthogonal views dock: the two planes that the canvas does not show, linked with it by one crosshair."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import QTimer
from qtpy.QtGui import QImage, QResizeEvent
from qtpy.QtWidgets import QApplication, QBoxLayout, QCheckBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from . import compat, layers
from .compare_bar import CompareBar
from .crosshair import Crosshair
from .dock_life import DockLife
from .shown import topmost
from .slice_view import LARGEST_ZOOM, Hand, SliceView, as_image, as_place
from .slices import PLANES, Place, Plane, SlicePicture, is_sliceable, look_of, marks_of, picture_of, whole_extent

if TYPE_CHECKING:
    import napari

REDRAW_MS = 15
"""Between a change and its picture: many changes at once are drawn once."""

LOOKS = ("visible", "opacity", "contrast_limits", "colormap", "gamma", "blending", "data", "set_data", "contour", "scale", "translate")
"""Events of a layer after which its slice may look different."""

HELP = "Click or drag: all views go there. Wheel: next slice. Ctrl + wheel: zoom."


class OrthogonalDock(QWidget):
    """Shows the visible layers in the two planes that the canvas does not show.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers and place are shown.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer: Any = viewer
        self._life = DockLife(self)
        self._life.closed.connect(self.shut_down)
        self._drawn: dict[tuple[int, str], tuple[Any, tuple[SlicePicture, QImage]]] = {}
        self._camera_zoom = float(compat.camera(viewer).zoom)
        self._factor = 1.0
        self.crosshair = Crosshair(viewer)
        self.views = [SliceView(plane) for plane in PLANES[1:]]
        self.show_crosshair = QCheckBox("crosshair on the canvas")
        self.show_crosshair.setChecked(True)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        self._first_crosshair = QTimer(self)
        self._first_crosshair.setSingleShot(True)
        self._first_crosshair.setInterval(REDRAW_MS)
        self._first_crosshair.timeout.connect(self._draw_crosshair)
        self._lay_out()
        self._connect()
        self.schedule()

    @classmethod
    def pieces(cls, viewer: Any) -> Generator[None, None, OrthogonalDock]:
        """Make one: it is short enough."""
        yield
        return cls(viewer)

    @property
    def place(self) -> Place:
        """Where the crosshair is: mm along z, y, x of the viewer's world."""
        return as_place(self._viewer.dims.point)

    def go_to(self, place: Place) -> None:
        """Move the crosshair, and with it the slices of all views."""
        dims = self._viewer.dims
        if dims.ndim >= 3:
            dims.set_point(tuple(range(dims.ndim - 3, dims.ndim)), place)
            self._read(place)

    def set_hand(self, hand: Hand | None) -> None:
        """Let somebody take and drag what lies under the mouse in both views."""
        for view in self.views:
            view.hand = hand

    def schedule(self, event: Any = None) -> None:
        """Redraw soon, once for many changes."""
        if self._life.alive:
            self._timer.start()

    def redraw(self) -> None:
        """Draw both views and the crosshair anew."""
        if not self._life.alive or self._viewer.dims.ndim < 3:
            return
        arrays = self._arrays()
        extent, place = whole_extent(arrays), self.place
        anatomical = any(layers.is_placed(layer) for layer in arrays)
        for view, plane in zip(self.views, self._planes(), strict=True):
            view.plane, view.anatomical = plane, anatomical
            pictures = [self._picture(layer, plane, place) for layer in arrays if layer.visible]
            points = [layer for layer in self._viewer.layers if isinstance(layer, Points) and layer.visible and is_sliceable(layer)]
            marks = [mark for layer in points for mark in marks_of(layer, plane, place)]
            view.show_slices(place, [found for found in pictures if found is not None], marks, extent)
        if self.crosshair.present:
            self._draw_crosshair()
        else:
            self._first_crosshair.start()  # A new layer takes longer than both views: it comes in a turn of its own.

    def shut_down(self) -> None:
        """Follow the viewer no more, and take the crosshair away; for a dock or window that goes away."""
        if not self._life.end():
            return
        self._timer.stop()
        self._first_crosshair.stop()
        self._drawn.clear()
        self.crosshair.forget()
        self._viewer.mouse_drag_callbacks.remove(self._on_canvas_press)
        for event, action in self._events():
            event.disconnect(action)
        for layer in self._viewer.layers:
            self._unfollow(layer)

    # --- Qt ---------------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Put the views beside or above each other, whichever leaves more room for them."""
        super().resizeEvent(event)
        wide = self.width() > self.height()
        self._pair.setDirection(QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom)

    def _lay_out(self) -> None:
        self._pair = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._pair.setSpacing(2)
        for view in self.views:
            self._pair.addWidget(view, 1)
        help_text = QLabel(HELP)
        help_text.setMinimumWidth(10)
        line = QHBoxLayout()
        line.addWidget(self.show_crosshair)
        line.addWidget(help_text, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 2, 2, 2)
        column.addLayout(self._pair, 1)
        column.addLayout(line)

    def _events(self) -> tuple[tuple[Any, Any], ...]:
        dims, found = self._viewer.dims.events, self._viewer.layers.events
        return (
            (dims.point, self.schedule), (dims.order, self.schedule), (dims.ndisplay, self.schedule), (dims.ndim, self.schedule),
            (found.inserted, self._on_inserted), (found.removed, self._on_removed), (found.reordered, self.schedule),
            (compat.camera(self._viewer).events.zoom, self._on_zoom),
        )  # fmt: skip

    def _connect(self) -> None:
        for event, action in self._events():
            event.connect(action)
        for layer in self._viewer.layers:
            self._follow(layer)
        self._viewer.mouse_drag_callbacks.append(self._on_canvas_press)
        self.show_crosshair.toggled.connect(self._on_crosshair)
        for view in self.views:
            view.pointed.connect(self.go_to)
            view.hovered.connect(self._read)
            view.stepped.connect(self._step)
            view.zoomed.connect(self._zoom_by_hand)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _planes(self) -> list[Plane]:
        """Tell which planes the canvas does not show."""
        dims = self._viewer.dims
        shown = int(dims.order[-3]) - (dims.ndim - 3)
        return [plane for plane in PLANES if plane.across != shown][:2]

    def _picture(self, layer: Any, plane: Plane, place: Place) -> tuple[SlicePicture, QImage] | None:
        """Draw a layer's slice, or take the drawing at hand: mostly one moves across one plane, and the others stay."""
        look = look_of(layer, plane, place)
        known = self._drawn.get((id(layer), plane.name))
        if known is not None and known[0] == look:
            return known[1]
        picture = picture_of(layer, plane, place)
        if picture is None:
            return None
        self._drawn[id(layer), plane.name] = (look, (picture, as_image(picture)))
        return self._drawn[id(layer), plane.name][1]

    def _arrays(self) -> list[Any]:
        """Return the layers that have slices."""
        return [layer for layer in self._viewer.layers if is_sliceable(layer) and not isinstance(layer, Points)]

    def _draw_crosshair(self) -> None:
        arrays = self._arrays()
        extent = whole_extent(arrays)
        if extent is None or not self.show_crosshair.isChecked() or self._viewer.dims.ndim != 3:
            self.crosshair.forget()
            return
        spacing = np.min([np.asarray(layer.scale, dtype=np.float64) for layer in arrays], axis=0)
        self.crosshair.draw(self.place, extent, spacing)

    def _on_canvas_press(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Go to where the canvas is clicked: pressed and released at one place, with nothing else to do there."""
        start, still = tuple(event.pos), True
        yield
        while event.type == "mouse_move":
            still = still and _is_click(start, event.pos)
            yield
        still = still and _is_click(start, event.pos)
        active = self._viewer.layers.selection.active
        looking = active is None or str(active.mode) == "pan_zoom"
        if still and looking and self._viewer.dims.ndisplay == 2 and not event.modifiers and event.button == 1:
            self.go_to(as_place(event.position))

    def _read(self, place: Place) -> None:
        """Let the panels of this window read at a place."""
        for bar in topmost(self).findChildren(CompareBar):
            bar.read_at(place)

    def _step(self, axis: int, steps: int) -> None:
        dims = self._viewer.dims
        axis += dims.ndim - 3
        dims.set_current_step(axis, int(dims.current_step[axis]) + steps)

    def _zoom(self, factor: float) -> None:
        # Not cut off here: a canvas that zooms out and in again brings the views back to where they were.
        self._factor *= factor
        for view in self.views:
            view.zoom = float(np.clip(self._factor, 1.0, LARGEST_ZOOM))
            view.update()

    def _zoom_by_hand(self, factor: float) -> None:
        self._factor = self.views[0].zoom
        self._zoom(factor)

    def _on_zoom(self, event: Any = None) -> None:
        """Zoom as the canvas does."""
        zoom = float(compat.camera(self._viewer).zoom)
        if zoom > 0 and self._camera_zoom > 0:
            self._zoom(zoom / self._camera_zoom)
        self._camera_zoom = zoom

    def _on_crosshair(self, shown: bool) -> None:
        self.schedule()

    def _on_inserted(self, event: Any) -> None:
        self._follow(event.value)
        self.schedule()

    def _on_removed(self, event: Any) -> None:
        self._unfollow(event.value)
        for key in [key for key in self._drawn if key[0] == id(event.value)]:
            del self._drawn[key]
        if self.crosshair.is_gone_with(event.value):
            # The user threw it away: it is not forced on anybody.
            self.crosshair.forget()
            self.show_crosshair.setChecked(False)
        self.schedule()

    def _follow(self, layer: Any) -> None:
        if not is_sliceable(layer):
            return
        for name in LOOKS:
            if name in layer.events:
                getattr(layer.events, name).connect(self.schedule)

    def _unfollow(self, layer: Any) -> None:
        if not is_sliceable(layer):
            return
        for name in LOOKS:
            if name in layer.events:
                getattr(layer.events, name).disconnect(self.schedule)


def _is_click(start: tuple[float, ...], now: Any) -> bool:
    """Tell whether the mouse is still where it was pressed, as far as a hand can hold it."""
    return bool(np.abs(np.subtract(now, start)).max() < QApplication.startDragDistance())
