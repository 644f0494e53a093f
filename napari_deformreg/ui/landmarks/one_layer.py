"""One small layer of the dock's own, which comes, changes and goes without a pause."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject

from .. import garbage, result_layers
from ..adding import LayerAdder
from ..layers import LayerTuple

ABOUT_PLACE = ("scale", "translate", "contrast_limits")
"""Arguments that another array brings along."""


class OneLayer(QObject):
    """Shows at most one layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    """

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any | None = None
        self._wanted: LayerTuple | None = None
        self._active: Any | None = None
        self._adder = LayerAdder(viewer, parent)
        self._adder.done.connect(self._on_added)

    @property
    def busy(self) -> bool:
        """Whether it is still to come."""
        return self._adder.busy

    @property
    def layer(self) -> Any | None:
        """The layer, if it is there."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def show(self, entry: LayerTuple | None) -> None:
        """Show this, in place of what was shown; None for nothing."""
        self._wanted = None if entry is None else result_layers.marked_as_result(entry)
        self._follow()

    def stop(self) -> None:
        """Show nothing, now and later."""
        self._wanted = None
        self._adder.stop()
        self._remove()

    def _follow(self) -> None:
        if self._wanted is None:
            self._remove()
        elif (layer := self.layer) is not None:
            data, arguments, _ = self._wanted
            layer.data = data
            for name in ABOUT_PLACE:
                if name in arguments:
                    setattr(layer, name, arguments[name])
            layer.visible = True
        elif not self._adder.busy:
            self._active = self._viewer.layers.selection.active
            self._adder.add([self._wanted])

    def _on_added(self, added: list[Any]) -> None:
        self._layer = added[0] if added else None
        self._follow()  # Something else may be wanted meanwhile.
        if self._active is not None and self._active in self._viewer.layers:
            self._viewer.layers.selection.active = self._active

    def _remove(self) -> None:
        layer, self._layer = self.layer, None
        if layer is not None:
            garbage.remove(self._viewer.layers, layer)
