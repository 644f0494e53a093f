"""A result whose layers are written into where a correction changed something: a box at a time, and each layer is drawn anew once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ...space import Box, DisplacementField, LabelMap, Volume
from .. import result_layers as parts
from ..comparing import COMPARISON
from ..drawn_arrays import Bounded
from ..layers import METADATA_KEY, LayerTuple, Placement
from ..pictures import ResultPicture
from ..result_layers import result_layers
from .corrections import Update

REDRAWN = (parts.MOVED, parts.JACOBIAN, parts.MAGNITUDE, parts.FOLDS, parts.MOVED_LABELS)
"""Parts whose arrays change in a box."""


@dataclass(frozen=True, eq=False)
class OwnPicture:
    """A picture with arrays that nobody else holds, and its layers; made off the GUI thread."""

    picture: ResultPicture
    entries: list[LayerTuple]

    @classmethod
    def of(cls, picture: ResultPicture) -> OwnPicture:
        """Copy what corrections write into."""
        labels = picture.moved_labels
        own = replace(
            picture,
            moved=_own(picture.moved),
            jacobian=_own(picture.jacobian),
            folds=replace(picture.folds, data=picture.folds.data.copy()),
            displacement=DisplacementField(picture.displacement.grid, np.array(picture.displacement.displacement_mm, dtype=np.float32)),
            moved_labels=None if labels is None else replace(labels, data=labels.data.copy()),
        )
        # The drawn Jacobian has the color of folds in it, which must not get into the numbers.
        return cls(own, [_with_own_array(entry) if entry[1]["name"] == parts.JACOBIAN else entry for entry in result_layers(own)])


def _with_own_array(entry: LayerTuple) -> LayerTuple:
    return np.array(entry[0]), entry[1], entry[2]


def _own(volume: Volume) -> Volume:
    return replace(volume, data=volume.data.copy())


class LiveResult:
    """Writes updates into one result that a viewer shows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    picture : ResultPicture
        With arrays of its own; see `OwnPicture`.
    layers : dict of str to layer
        By part.
    """

    def __init__(self, viewer: Any, picture: ResultPicture, layers: dict[str, Any]) -> None:
        self._viewer, self._picture, self._layers = viewer, picture, layers
        self._before_preview: tuple[np.ndarray, Box] | None = None
        self._version = 0

    @property
    def previewing(self) -> bool:
        """Whether something is shown that is no solution yet."""
        return self._before_preview is not None

    def preview(self, update: Update) -> None:
        """Show a preview, in place of the one before."""
        self._restore()
        self._before_preview = self._picture.moved.data[update.box.slices].copy(), update.box
        # The field stays: a point that is being dragged lies where the registration, not its preview, carries it.
        self._put(self._picture.moved, parts.MOVED, update.box, update.moved)
        self._redraw((parts.MOVED,))

    def end_preview(self) -> None:
        """Show what was there before the preview."""
        if self._restore():
            self._redraw((parts.MOVED,))

    def show(self, update: Update) -> None:
        """Show a correction, or what is there after one was taken back."""
        self._restore()
        self._write(update)
        self._redraw()

    def _restore(self) -> bool:
        before, self._before_preview = self._before_preview, None
        if before is not None:
            self._put(self._picture.moved, parts.MOVED, before[1], before[0])
        return before is not None

    def _write(self, update: Update) -> None:
        picture, box = self._picture, update.box.slices
        picture.displacement.displacement_mm[box] = update.displacement_mm
        self._put(picture.moved, parts.MOVED, update.box, update.moved)
        if update.jacobian is not None and update.folded is not None:
            picture.jacobian.data[box] = update.jacobian
            self._put(None, parts.JACOBIAN, update.box, np.where(update.folded, np.minimum(update.jacobian, 0), update.jacobian))
            self._put(picture.folds, parts.FOLDS, update.box, update.folded.astype(np.int32))
        if update.moved_labels is not None and picture.moved_labels is not None:
            self._put(picture.moved_labels, parts.MOVED_LABELS, update.box, update.moved_labels)

    def _put(self, values: Volume | LabelMap | None, part: str, box: Box, update: Shaped[np.ndarray, "i j k"]) -> None:
        if values is not None:
            values.data[box.slices] = update
        array = self._array(part)
        if array is not None:
            write_box(array, Placement(self._picture.displacement.grid), box, update)

    def _array(self, part: str) -> np.ndarray | None:
        """Return the array behind a layer, as far as it has one that can be written into."""
        layer = self._layers.get(part)
        data = None if layer is None else layer.data
        data = data.values if isinstance(data, Bounded) else data
        return data if isinstance(data, np.ndarray) else None

    def _redraw(self, some: tuple[str, ...] = REDRAWN) -> None:
        """Draw what is visible anew, once each."""
        self._version += 1
        shown = [layer for part in some if (layer := self._layers.get(part)) is not None and layer in self._viewer.layers]
        for layer in [*shown, *(layer for layer in self._viewer.layers if parts.part_of(layer) == COMPARISON)]:
            # Who keeps drawings of a layer sees by this that its array was written into.
            layer.metadata[METADATA_KEY]["version"] = self._version
            if layer.visible:
                layer.refresh(thumbnail=False, extent=False)


def write_box(
    array: Shaped[np.ndarray, "z y x"], placement: Placement, box: Box, values: Shaped[np.ndarray, "i j k"]
) -> None:
    """Write a box of the grid into a layer's array, which has its axes turned to z, y, x of the world."""
    part = Placement(box.grid(placement.grid))
    first = placement.canonical.world_to_voxel(part.canonical.voxel_to_world(np.zeros((1, 3))))[0]
    start = np.round(first).astype(int)[::-1]
    turned = part.to_layer_array(values)
    array[tuple(slice(a, a + n) for a, n in zip(start, turned.shape, strict=True))] = turned
