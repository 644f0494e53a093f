"""Shows fixed and moved together in one of several ways, and gives the layers back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from . import compat, garbage
from . import result_layers as parts
from .adding import insert_in_turns
from .canvas_rest import CanvasRest, ListRest
from .comparison import Checkerboard, Composite, Mode, Rule, Wipe, difference, linked_limits
from .side_by_side import SideBySide
from .turns import Turns

COMPARISON = "comparison"
IMAGES = (parts.FIXED, parts.MOVED, parts.MOVING_BEFORE)

FIXED_TINT, OTHER_TINT = "green", "magenta"
"""What coincides turns gray; told apart by color-blind readers."""

DIFFERENCE_COLORS = "inferno"
_RULES = (Mode.CHECKERBOARD, Mode.WIPE, Mode.DIFFERENCE)

Look = dict[str, Any]


class Comparison(QObject):
    """Switches one result's images between the modes.

    A mode changes properties of layers; what each was before is kept until no mode wants it otherwise. So layers come back as they were, in
    whatever order modes follow each other and whatever was removed meanwhile.
    """

    changed = Signal()
    flickered = Signal(str)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._images: dict[str, Any] = {}
        self._originals: dict[Any, Look] = {}
        self._beside = SideBySide(viewer, self._on_inserted)
        self._starts: dict[str, tuple[float, float]] = {}
        self._layer: Any | None = None
        self._linking = False
        self._turns = Turns(self)
        self._rest, self._list_rest = CanvasRest(parent), ListRest(parent)
        self._timer = QTimer(self)
        self._timer.setInterval(500)
        self._timer.timeout.connect(self._flick)
        self.mode = Mode.BLEND
        self.before = False
        self.linked = True
        self.tile_mm = 20.0
        self.wipe_part = 0.5

    def bind(self, found: dict[str, Any]) -> None:
        """Take these layers (part -> layer)."""
        self.release()
        self._images = {part: found[part] for part in IMAGES if part in found}
        self._starts = {part: tuple(layer.contrast_limits) for part, layer in self._images.items()}
        for layer in self._images.values():
            layer.events.contrast_limits.connect(self._on_contrast)
        dims = self._viewer.dims
        for event in (dims.events.order, dims.events.ndisplay):
            event.connect(self._on_plane)
        self.changed.emit()

    def release(self) -> None:
        """Give all layers back as they were, and let go of them."""
        self._turns.stop()
        for _ in self._pieces(Mode.BLEND):
            pass
        if self._images:
            dims = self._viewer.dims
            for event in (dims.events.order, dims.events.ndisplay):
                event.disconnect(self._on_plane)
        for layer in self._images.values():
            layer.events.contrast_limits.disconnect(self._on_contrast)
        self.mode, self.before = Mode.BLEND, False
        self._images, self._originals, self._starts = {}, {}, {}

    def forget(self, layer: Any) -> None:
        """Let go of one layer that was removed from the viewer; a mode that needs it ends."""
        self._originals.pop(layer, None)
        if self._layer is not None and layer == self._layer:
            self._layer = None
            self.set_mode(Mode.BLEND)
        for part in [part for part, known in self._images.items() if known == layer]:
            self._images.pop(part).events.contrast_limits.disconnect(self._on_contrast)
            if part == parts.MOVING_BEFORE:
                self.before = False
            self.set_mode(Mode.BLEND)

    @property
    def busy(self) -> bool:
        """Whether layers are being changed."""
        return self._turns.busy

    @property
    def possible(self) -> bool:
        """Whether there are two images to compare."""
        fixed, other = self._pair()
        return fixed is not None and other is not None and tuple(fixed.data.shape) == tuple(other.data.shape)

    @property
    def has_before(self) -> bool:
        """Whether moving as it was before can be shown."""
        return parts.MOVING_BEFORE in self._images

    def set_mode(self, mode: Mode) -> None:
        """Show the images in another way; the mode that is on already is switched off, back to the blend."""
        mode = Mode.BLEND if mode == self.mode or not self.possible else mode
        self.mode = mode
        self._run()

    def set_before(self, before: bool) -> None:
        """Show moving as it was before instead of moved, or moved again, in every mode."""
        if before == self.before or not self.has_before:
            return
        self.before = before
        for part, shown in ((parts.MOVED, not before), (parts.MOVING_BEFORE, before)):
            if part in self._images:
                self._become(self._images[part], "visible", shown)
        self._run()

    def look_without(self, layer: Any) -> Look:
        """Give what the mode changed of a layer, as it comes back when the mode ends."""
        return dict(self._originals.get(layer, {}))

    def order_without(self) -> list[Any]:
        """Give the layers in the order in which they come back."""
        return self._beside.order_without()

    def set_blend(self, part: float) -> None:
        """Show the blend, with this part (0 to 1) of the moved image."""
        for name in (parts.MOVED, parts.MOVING_BEFORE):
            if name in self._images:
                self._become(self._images[name], "opacity", part)
        if self.mode != Mode.BLEND:
            self.set_mode(Mode.BLEND)

    def set_tile(self, tile_mm: float) -> None:
        """Choose the side of the checkerboard's fields."""
        self.tile_mm = tile_mm
        self._renew()

    def set_wipe(self, part: float) -> None:
        """Choose where the wipe's line is, from 0 (left) to 1 (right)."""
        self.wipe_part = float(np.clip(part, 0, 1))
        self._renew()

    def set_wipe_at(self, point: tuple[float, ...]) -> None:
        """Put the wipe's line to a place in the viewer's world."""
        other = self._pair()[1]
        if other is None or self.mode != Mode.WIPE:
            return
        axis, count = self._wipe_axis(), other.data.shape[-3:][self._wipe_axis()]
        place = (point[axis - 3] - other.translate[axis - 3]) / other.scale[axis - 3]
        self.set_wipe(1 - place / max(count - 1, 1))

    def set_interval(self, milliseconds: int) -> None:
        """Choose how long the flicker shows each image."""
        self._timer.setInterval(milliseconds)

    # --- the modes --------------------------------------------------------------------------------------------------

    def _pair(self) -> tuple[Any | None, Any | None]:
        return self._images.get(parts.FIXED), self._images.get(parts.MOVING_BEFORE if self.before else parts.MOVED)

    def _run(self) -> None:
        self._timer.stop()
        self._turns.run(self._pieces(self.mode), self._settled)
        self.changed.emit()

    def _settled(self) -> None:
        if self.mode == Mode.FLICKER:
            self._timer.start()

    def _pieces(self, mode: Mode) -> Iterator[None]:
        """Change what differs, one property per turn, and paint all of it once, in a turn of its own."""
        with self._rest.during():
            yield from self._changes(mode)
        yield

    def _changes(self, mode: Mode) -> Iterator[None]:
        wanted = self._wanted(mode)
        if mode != Mode.SIDE_BY_SIDE:
            # First of all, for in the grid each layer that comes back would get a canvas of its own for a moment.
            yield from self._beside.leave()
        if mode in _RULES:
            yield from self._show_composite(mode)
        yield from self._give_back(wanted)
        yield from self._take(wanted)
        if mode not in _RULES:
            yield from self._drop_composite()
        if mode == Mode.SIDE_BY_SIDE:
            yield from self._enter_grid()

    def _wanted(self, mode: Mode) -> dict[Any, Look]:
        fixed, other = self._pair()
        if fixed is None or other is None or mode == Mode.BLEND:
            return {}
        third = {layer: {"visible": False} for layer in self._images.values() if layer not in (fixed, other)}
        if mode in _RULES:
            return {fixed: {"visible": False}, other: {"visible": False}, **third}
        plain = {"visible": True, "opacity": 1.0}
        if mode == Mode.FUSION:
            tinted = {"colormap": FIXED_TINT, **plain}
            return {**third, fixed: tinted, other: {"colormap": OTHER_TINT, "blending": "additive", **plain}}
        if mode == Mode.SIDE_BY_SIDE:
            left, right = self._beside.sides(fixed, other, moved=not self.before)
            rest = {layer: {"visible": False} for layer in self._viewer.layers if layer not in (*left, *right)}
            return {**rest, fixed: plain, other: plain}
        return {**third, fixed: plain, other: plain}

    def _take(self, wanted: dict[Any, Look]) -> Iterator[None]:
        for layer, look in wanted.items():
            for name, value in look.items():
                if layer not in self._viewer.layers:
                    continue
                self._originals.setdefault(layer, {}).setdefault(name, getattr(layer, name))
                if not _same(getattr(layer, name), value):
                    setattr(layer, name, value)
                    yield

    def _give_back(self, wanted: dict[Any, Look]) -> Iterator[None]:
        for layer, originals in list(self._originals.items()):
            for name in [name for name in originals if name not in wanted.get(layer, {})]:
                value = originals.pop(name)
                if layer in self._viewer.layers and not _same(getattr(layer, name), value):
                    setattr(layer, name, value)
                    yield
            if not originals:
                self._originals.pop(layer, None)

    def _become(self, layer: Any, name: str, value: Any) -> None:
        """Set a property for when no mode wants it otherwise: at once, or as what the layer comes back to."""
        if name in self._originals.get(layer, {}):
            self._originals[layer][name] = value
        elif layer in self._viewer.layers:
            setattr(layer, name, value)

    def _flick(self) -> None:
        other = self._pair()[1]
        if other is not None and other in self._viewer.layers:
            other.opacity = 0.0 if other.opacity else 1.0
            self.flickered.emit(("moving before" if self.before else "moved") if other.opacity else "fixed")

    def _enter_grid(self) -> Iterator[None]:
        fixed, other = self._pair()
        if fixed is not None and other is not None:
            yield from self._beside.enter(self._beside.sides(fixed, other, moved=not self.before), self._zoom_for_half())

    def _on_inserted(self, event: Any) -> None:
        """Give a layer that comes while two are seen side by side its field."""
        self._turns.run(self._pieces(self.mode), self._settled)

    def _zoom_for_half(self) -> float:
        """Give the zoom at which an image fits into half of the canvas' width."""
        other = self._pair()[1]
        if other is None:
            return float(compat.camera(self._viewer).zoom)
        axis = self._wipe_axis()
        width_mm = float(other.scale[axis - 3] * other.data.shape[axis - 3])
        return 0.95 * compat.canvas_size(self._viewer)[1] / 2 / max(width_mm, 1e-6)

    # --- the layer that is made of both ------------------------------------------------------------------------------

    def _show_composite(self, mode: Mode) -> Iterator[None]:
        composite = self._composite(mode)
        if composite is None:
            return
        colors = DIFFERENCE_COLORS if mode == Mode.DIFFERENCE else "gray"
        if self._layer is not None and self._layer in self._viewer.layers:
            self._layer.data = composite
            self._layer.contrast_limits = _limits(mode)
            yield
            if self._layer is not None and self._layer.colormap.name != colors:
                self._layer.colormap = colors
                yield
            return
        made = _layer_of(composite, self._pair()[1], colors, _limits(mode))
        yield
        active = self._viewer.layers.selection.active
        # Inserting does this too, at once: the controls of the selected layer go away.
        self._viewer.layers.selection.clear()
        yield
        places = [n for n, layer in enumerate(self._viewer.layers) if layer in self._images.values()]
        self._layer = made
        yield from insert_in_turns(self._viewer, made, max(places, default=-1) + 1, active, self._list_rest)
        if made in self._viewer.layers:
            made.visible = True
            yield

    def _drop_composite(self) -> Iterator[None]:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            active = self._viewer.layers.selection.active
            garbage.remove(self._viewer.layers, layer)
            if active is not None and active != layer and active in self._viewer.layers:
                self._viewer.layers.selection.active = active
            yield

    def _composite(self, mode: Mode) -> Composite | None:
        fixed, other = self._pair()
        if fixed is None or other is None:
            return None
        return Composite(fixed.data, other.data, tuple(fixed.contrast_limits), tuple(other.contrast_limits), self._rule(mode, other))

    def _rule(self, mode: Mode, other: Any) -> Rule:
        if mode == Mode.CHECKERBOARD:
            z, y, x = (max(1, round(self.tile_mm / mm)) for mm in other.scale[-3:])
            return Checkerboard((z, y, x))
        if mode == Mode.WIPE:
            axis = self._wipe_axis()
            return Wipe(axis, round((1 - self.wipe_part) * (other.data.shape[axis - 3] - 1)))
        return difference

    def _wipe_axis(self) -> int:
        """Tell the layer axis along the screen."""
        dims = self._viewer.dims
        return int(max(0, dims.order[-1] - (dims.ndim - 3)))

    def _renew(self) -> None:
        """Show the composite anew after one of its inputs changed."""
        if self._layer is None or self._layer not in self._viewer.layers or self.mode not in _RULES:
            return
        composite, made = self._layer.data, self._composite(self.mode)
        if isinstance(composite, Composite) and made is not None:
            composite.fixed_limits, composite.other_limits, composite.rule = made.fixed_limits, made.other_limits, made.rule
            self._layer.refresh(thumbnail=False, extent=False)

    def _on_plane(self, event: Any = None) -> None:
        self._renew()

    def _on_contrast(self, event: Any) -> None:
        """Let the other images follow one image's contrast, and the composite all of them."""
        if self._linking:
            return
        source = next((part for part, layer in self._images.items() if layer == event.source), None)
        if source is not None and self.linked:
            self._linking = True
            limits = tuple(self._images[source].contrast_limits)
            for part, layer in self._images.items():
                if part != source:
                    layer.contrast_limits = linked_limits(limits, self._starts[source], self._starts[part])
            self._linking = False
        self._renew()


def _layer_of(composite: Composite, like: Any, colors: str, limits: tuple[float, float]) -> Image:
    place = {"scale": like.scale, "translate": like.translate, "units": like.units, "axis_labels": like.axis_labels}
    entry = (composite, {"name": COMPARISON, "metadata": dict(like.metadata)}, "image")
    metadata = parts.marked_as_result(entry)[1]["metadata"]
    look = {"contrast_limits": limits, "colormap": colors, "blending": "translucent_no_depth", "visible": False}
    return Image(composite, name=COMPARISON, metadata=metadata, rgb=False, multiscale=False, **place, **look)


def _limits(mode: Mode) -> tuple[float, float]:
    # Tissues seldom differ by the whole contrast; half of it is as bright as can be.
    return (0.0, 0.5) if mode == Mode.DIFFERENCE else (0.0, 1.0)


def _same(value: Any, wanted: Any) -> bool:
    return bool(getattr(value, "name", value) == wanted if isinstance(wanted, str) else value == wanted)
