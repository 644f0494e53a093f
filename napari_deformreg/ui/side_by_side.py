"""Two images beside each other in napari's grid, each with what belongs to it: labels, landmarks, contours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import compat
from . import result_layers as parts

WITH_FIXED = (parts.FIXED_LABELS, parts.FIXED_LANDMARKS, parts.CONTOURS)
WITH_MOVED = (parts.MOVED_LABELS, parts.MOVED_LANDMARKS, parts.MOVED_CONTOURS, parts.FOLDS)
"""What is seen over which image."""

Sides = tuple[list[Any], list[Any]]


class SideBySide:
    """Turns one viewer's grid on and off.

    Parameters
    ----------
    viewer : napari viewer
        Whose layers are shown.
    on_inserted : callable
        Called for each layer that comes while the grid is on: it has no field yet.
    """

    def __init__(self, viewer: Any, on_inserted: Callable[[Any], None]) -> None:
        self._viewer = viewer
        self._on_inserted = on_inserted
        self._before: dict[str, Any] = {}
        self._order: list[Any] = []

    def sides(self, fixed: Any, other: Any, moved: bool) -> Sides:
        """Sort into left and right what is seen; what was moved is seen over the moved image alone (`moved`: whether that is the other)."""
        over_other = WITH_MOVED if moved else ()
        present = list(self._viewer.layers)
        left = [layer for layer in present if layer == fixed or parts.part_of(layer) in WITH_FIXED]
        right = [layer for layer in present if layer == other or parts.part_of(layer) in over_other]
        return (left, right) if max(len(left), len(right)) <= len(present) // 2 else ([fixed], [other])

    def enter(self, sides: Sides, zoom_at_most: float) -> Iterator[None]:
        """Turn the grid on, or give new layers their fields; the grid puts as many neighbors of the layer list as its stride into one."""
        grid, camera, layers = compat.grid(self._viewer), compat.camera(self._viewer), self._viewer.layers
        if not self._before:
            self._before = {"shape": tuple(grid.shape), "stride": grid.stride, "enabled": grid.enabled, "zoom": camera.zoom}
            self._order = list(layers)
            layers.events.inserted.connect(self._on_inserted)
        left, right = sides
        rest, stride = [layer for layer in layers if layer not in (*left, *right)], (len(layers) + 1) // 2
        fill = stride - len(left)
        yield from self._put_in_order([*left, *rest[:fill], *right, *rest[fill:]])
        if grid.enabled and grid.stride == stride:
            return
        for name, value in (("stride", stride), ("shape", (1, -1)), ("enabled", True)):
            setattr(grid, name, value)
            yield
        camera.zoom = min(camera.zoom, zoom_at_most)
        yield

    def order_without(self) -> list[Any]:
        """Give the layers in the order in which they lie without the grid."""
        present = list(self._viewer.layers)
        known = [layer for layer in self._order if layer in present]
        return [*known, *(layer for layer in present if layer not in known)]

    def leave(self) -> Iterator[None]:
        """Give the grid and the order of the layers back as they were; what came meanwhile lies on top."""
        if not self._before:
            return
        grid, layers = compat.grid(self._viewer), self._viewer.layers
        layers.events.inserted.disconnect(self._on_inserted)
        before, self._before = self._before, {}
        for name in ("enabled", "stride", "shape"):
            setattr(grid, name, before[name])
            yield
        compat.camera(self._viewer).zoom = before["zoom"]
        yield
        order, self._order = self.order_without(), []
        yield from self._put_in_order(order)

    def _put_in_order(self, order: list[Any]) -> Iterator[None]:
        layers = self._viewer.layers
        for place, layer in enumerate(order):
            if layer in layers and place < len(layers) and layers.index(layer) != place:
                layers.move(layers.index(layer), place)
                yield
