"""Going to a place of the world in the viewer: slices, camera, and a ring around the place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from ...space import Landmarks
from .. import compat, garbage, result_layers
from ..adding import LayerAdder
from ..layers import LayerTuple, Placement, points_layer
from ..turns import Turns

PLACE = "review place"
RING_COLOR = "#ffee58"

Point = tuple[float, float, float]


class Places(QObject):
    """Moves one viewer to places, and marks the last one with a ring; a piece a turn, as each makes napari draw anew.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._ring: Any | None = None
        self._wanted: LayerTuple | None = None
        self._active: Any | None = None
        self._turns = Turns(self)
        self._adder = LayerAdder(viewer, parent)
        self._adder.done.connect(self._on_added)

    @property
    def busy(self) -> bool:
        """Whether the viewer is still on its way."""
        return self._turns.busy or self._adder.busy

    def go_to(self, point_mm: Point, placement: Placement, across_mm: float | None = None, ring_mm: float | None = None) -> None:
        """Show the slices through a world point, with the point in the middle.

        Parameters
        ----------
        point_mm : tuple of float
            RAS+ mm.
        placement : Placement
            How the fixed grid is drawn.
        across_mm : float, optional
            Width of what is to be seen; the zoom stays without it.
        ring_mm : float, optional
            Diameter of a ring around the point; no ring is left without it.
        """
        self._wanted = None if ring_mm is None else _ring_layer(point_mm, placement, ring_mm)
        self._turns.run(self._move(placement.drawn(point_mm), across_mm))

    def forget(self) -> None:
        """Go nowhere, and take the ring away."""
        self._turns.stop()
        self._wanted = None
        self._remove()

    def stop(self) -> None:
        """Do no more: the dock goes away."""
        self.forget()
        self._adder.stop()
        left = [layer for layer in self._viewer.layers if result_layers.part_of(layer) == PLACE]
        for layer in left:
            self._viewer.layers.remove(layer)

    def _move(self, drawn: Point, across_mm: float | None) -> Iterator[None]:
        dims = self._viewer.dims
        dims.set_point(range(dims.ndim - 3, dims.ndim), drawn)
        yield
        compat.look_at(self._viewer, drawn)
        if across_mm is not None:
            compat.camera(self._viewer).zoom = min(compat.canvas_size(self._viewer)) / across_mm
        yield
        self._encircle()

    def _encircle(self) -> None:
        if self._wanted is None:
            self._remove()
        elif self._ring is not None and self._ring in self._viewer.layers:
            data, arguments, _ = self._wanted
            self._ring.data, self._ring.scale, self._ring.translate = data, arguments["scale"], arguments["translate"]
        elif not self._adder.busy:
            self._active = self._viewer.layers.selection.active
            self._adder.add([self._wanted])

    def _on_added(self, added: list[Any]) -> None:
        self._ring = added[0] if added else None
        self._encircle()  # Someone may have gone on meanwhile.
        if self._active is not None and self._active in self._viewer.layers:
            self._viewer.layers.selection.active = self._active

    def _remove(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None and ring in self._viewer.layers:
            garbage.remove(self._viewer.layers, ring)


def _ring_layer(point_mm: Point, placement: Placement, ring_mm: float) -> LayerTuple:
    look: dict[str, Any] = {"symbol": "disc", "face_color": "transparent", "border_color": RING_COLOR, "border_width": 0.05}
    entry = points_layer(Landmarks(np.array([point_mm]), ("place",)), placement, ring_mm, name=PLACE, **look)
    return result_layers.marked_as_result(entry)
