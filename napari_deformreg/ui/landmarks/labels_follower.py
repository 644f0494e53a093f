"""A Labels layer that follows: it is resampled in the other process, and only what changed goes back and forth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from jaxtyping import Integer
from napari.layers import Labels
from qtpy.QtCore import QObject

from ...errors import DeformregError, InputError
from ...space import Box, Grid
from ..layers import METADATA_KEY, layer_to_world
from .carried_labels import DrawnLabels, LabelsUpdate
from .corrector import Corrector
from .directions import Side
from .drawn_layers import BothImages, marks
from .follower import Follower
from .live_result import write_box

_keys = count()


@dataclass(frozen=True, eq=False)
class _Painted:
    """What a box of the source shows now; `drawn` if all of it is new."""

    box: Box | None = None
    values: Integer[np.ndarray, "i j k"] | None = None
    drawn: DrawnLabels | None = None


class LabelsFollower(Follower):
    """Follows a Labels layer.

    Parameters
    ----------
    corrector : Corrector
        Who carries labels by the registration as it is.
    """

    EVENTS = ("data", "paint", "labels_update", "set_data")

    def __init__(
        self, viewer: Any, source: Any, side: Side, images: Callable[[], BothImages | None], corrector: Corrector,
        parent: QObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(viewer, source, side, images, parent)
        self.key = next(_keys)
        self._corrector = corrector
        self._sent: Integer[np.ndarray, "z y x"] | None = None
        self._asked = 0
        self._view: Any = None

    @property
    def busy(self) -> bool:
        """Whether the partner is not up to date yet."""
        return super().busy or (self.live and self._asked > 0)

    def begin_anew(self) -> None:
        """Send everything to the other process, which knows nothing of it."""
        self._sent, self._asked = None, 0
        super().begin_anew()

    def freeze(self, why: str) -> None:
        """Follow no more."""
        if self.live:
            self._corrector.ask("carry_no_more", self.key, then=_nothing, failed=_nothing)
        super().freeze(why)

    def read(self, images: BothImages) -> Callable[[], _Painted]:
        """Look for what was painted."""
        data = self.source.data[0] if self.source.multiscale else self.source.data
        to_world = layer_to_world(self.source, images.drawn_on(self.source, self.side, self.viewer))
        return lambda: self._look(data, to_world)

    def show(self, found: _Painted) -> None:
        """Tell the other process what was painted."""
        if found.drawn is not None:
            self._ask("carry", found.drawn)
        elif found.box is not None:
            self._ask("painted", found.box, found.values)

    def take(self, update: LabelsUpdate | None) -> None:
        """Show what the other process found."""
        images = self.images()
        if update is None or images is None or not self.live:
            return
        placement = images.placement(self.side.other)
        if self.partner is None:
            array = np.array(placement.to_layer_array(update.data))
            look = {"opacity": self.source.opacity, "colormap": self.source.colormap, "blending": self.source.blending}
            made = Labels(array, **marks(placement, self.source, self.side), **look)
            made.editable = False
            self._add(made)
        else:
            write_box(self.partner.data, placement, update.box, update.data)
            self.partner.metadata[METADATA_KEY]["version"] = self.partner.metadata[METADATA_KEY].get("version", 0) + 1
            if self.partner.visible:
                self.partner.refresh(thumbnail=False, extent=False)
        if self._sent is not None and not update.any_left and self._sent.any():
            self._refuse(InputError(
                f"none of its labels lies on the {self.side.other} image; draw where both images overlap, "
                "or choose the other image as the one it was drawn on."
            ))  # fmt: skip
        else:
            self._say("each voxel shows the nearest label")

    def _ask(self, method: str, *arguments: Any) -> None:
        self._asked += 1
        self._corrector.ask(method, self.key, *arguments, then=self._on_answer, failed=self._on_refusal)

    def _on_answer(self, update: LabelsUpdate | None) -> None:
        self._asked -= 1
        self.take(update)

    def _on_refusal(self, error: DeformregError) -> None:
        self._asked -= 1
        self._refuse(error)

    def _on_placed_anew(self, event: Any) -> None:
        self._sent = None
        self.touch()

    def _on_event(self, name: str, event: Any) -> None:
        """Follow what was painted; napari also tells that its data are set when another slice is shown."""
        dims = self.viewer.dims
        view = (tuple(dims.point), tuple(dims.order), dims.ndisplay)
        scrolled, self._view = view != self._view, view
        if name != "set_data" or not scrolled:
            self.touch()

    def _look(self, data: Any, to_world: np.ndarray) -> _Painted:
        """Compare with what was sent; off the GUI thread."""
        array = np.asarray(data)
        array = array[None] if array.ndim == 2 else array
        if self._sent is None or self._sent.shape != array.shape or self._sent.dtype != array.dtype:
            self._sent = array.copy()
            shape = array.shape[::-1]
            return _Painted(drawn=DrawnLabels(self._sent.transpose(2, 1, 0), Grid((shape[0], shape[1], shape[2]), to_world), self.side))
        slices = changed_box(self._sent, array)
        if slices is None:
            return _Painted()
        values = array[slices].copy()
        self._sent[slices] = values
        start, stop = ([int(n) for n in ends] for ends in zip(*((one.start, one.stop) for one in slices[::-1]), strict=True))
        return _Painted(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])), values.transpose(2, 1, 0))


def _nothing(value: Any) -> None:
    pass


def changed_box(before: Integer[np.ndarray, "z y x"], now: Integer[np.ndarray, "z y x"]) -> tuple[slice, slice, slice] | None:
    """Return what cuts out all voxels that differ; None if none does."""
    planes = [n for n in range(len(now)) if not np.array_equal(before[n], now[n])]
    if not planes:
        return None
    first, last = planes[0], planes[-1] + 1
    differ = (before[first:last] != now[first:last]).any(axis=0)
    rows, columns = np.flatnonzero(differ.any(axis=1)), np.flatnonzero(differ.any(axis=0))
    return slice(first, last), slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
