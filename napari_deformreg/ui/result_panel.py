"""The Result panel: summary, display controls, saving; and the one way in which a result's layers get into a viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDockWidget, QFileDialog, QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..errors import DeformregError
from ..io import result_folder as names
from ..settings import Settings
from ..workflow import InputPaths, Inputs, Outcome
from . import compat, layers
from . import result_layers as parts
from .adding import LayerAdder
from .canvas_rest import ResizeRest, StepRest
from .compare_bar import CANVAS_CHARACTERS, CompareBar
from .crosshair import raise_crosshair
from .display_controls import DisplayControls
from .field_overlays import FieldOverlays
from .layers import LayerTuple, Placement
from .orientation_text import OrientationText
from .orthogonal_dock import OrthogonalDock
from .overlays import DrawnField
from .pictures import ResultPicture
from .process import in_process
from .regions import regions_of
from .scrolling import scrolled
from .shown import ShownResult, topmost
from .summary import SummaryView
from .turns import Turns
from .work import writing
from .worker import Runner

PLANES_TITLE = "Orthogonal views"


class ResultPanel(QWidget):
    """Shows one result in a viewer and steers how it is looked at."""

    shown = Signal()
    """Another result."""
    exchanged = Signal()
    """Another version of it, by `exchange`."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.register_again: Callable[[Callable[[], Inputs], Settings, InputPaths | None], Any] | None = None
        """Who registers these inputs again, if anybody does."""
        self._outcome: Outcome | None = None
        self._paths: InputPaths | None = None
        self._folder: Path | None = None
        self._picture: ResultPicture | None = None
        self._overlays: FieldOverlays | None = None
        self._fixed_layer: Any | None = None
        self._found: dict[str, Any] = {}
        self._oriented = False
        self._unmeasured = False
        self._names: dict[int, str] = {}
        self._text = OrientationText(viewer, CANVAS_CHARACTERS)
        self.summary = SummaryView()
        self.summary.place_chosen.connect(self.go_to)
        self.controls = DisplayControls()
        self.compare = CompareBar(viewer)
        self.compare.seen.connect(self._text.say)
        self.controls.blend.valueChanged.connect(lambda percent: self.compare.comparison.set_blend(percent / 100))
        self.adder = LayerAdder(viewer, self)
        self.adder.done.connect(self._on_added)
        self._turns, self._orienting = Turns(self), Turns(self)
        self._rests = (ResizeRest(self), StepRest(viewer, self))
        self.writer = Runner(self)
        self.writer.succeeded.connect(self._on_written)
        self.writer.failed.connect(self._on_write_failed)
        self.save_button = QPushButton("Save result folder…")
        self.save_button.clicked.connect(self._ask_where)
        self.report_button = QPushButton("Open report")
        self.report_button.clicked.connect(self._open_report)
        self.planes_button = QPushButton("Orthogonal views")
        self.planes_button.setToolTip("<p>The two other planes below the canvas, linked with it by a crosshair.</p>")
        self.planes_button.clicked.connect(self.open_planes)
        self.message = QLabel("")
        self.message.setWordWrap(True)
        self._lay_out()
        self._update_buttons()
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def current(self) -> ShownResult | None:
        """The result that is shown, once all of its layers are there."""
        if self._picture is None or not self._found:
            return None
        return ShownResult(self._picture, self._found, self._folder, self._outcome, self._paths)

    @property
    def busy(self) -> bool:
        """Whether layers of a result are still to come."""
        return self._turns.busy or self.adder.busy

    def show_outcome(
        self, outcome: Outcome, picture: ResultPicture, entries: list[LayerTuple], fixed_layer: Any | None, paths: InputPaths | None
    ) -> None:
        """Show a fresh outcome; `entries` are the picture's layers, made off the GUI thread."""
        self._outcome, self._paths, self._folder = outcome, paths, None
        self._begin(picture, entries, fixed_layer)

    def show_folder(self, folder: Path, picture: ResultPicture, entries: list[LayerTuple]) -> None:
        """Show what a result folder holds; the same folder shown before, which may have held something else, goes away."""
        outdated = list(self._found.values()) if folder == self._folder else []
        self._outcome, self._paths, self._folder = None, None, folder
        self._begin(picture, entries, None, outdated)

    def exchange(self, outcome: Outcome | None, picture: ResultPicture, entries: list[LayerTuple]) -> None:
        """Show another version of the same result in the layers that are there."""
        self._outcome, self._picture, self._unmeasured = outcome, picture, False
        fresh = {str(arguments["name"]): (data, arguments) for data, arguments, _ in entries}
        self._turns.run(self._exchange(picture, fresh), self.exchanged.emit)
        self._update_buttons()

    def redraw_field(self) -> None:
        """Draw arrows and deformed grid anew: somebody wrote into the field."""
        if self._overlays is not None:
            self._overlays.schedule()

    def name_structures(self, names: Mapping[int, str]) -> None:
        """Call the result's structures by other names where one is chosen, as long as it is shown."""
        self._names = dict(names)
        self.controls.field.name_regions(self._names)

    def set_unmeasured(self, unmeasured: bool) -> None:
        """Note whether the layers show something else than the outcome and its report, which then cannot be saved."""
        self._unmeasured = unmeasured
        self._update_buttons()

    def save(self, folder: str | Path) -> None:
        """Write the result folder in the background."""
        if self._outcome is None or self._unmeasured or self.writer.busy:
            return
        self.message.setText(f"Writing {folder} …")
        outcome, paths = self._outcome, self._paths
        self.writer.start(lambda: in_process(writing, outcome, Path(folder), paths))
        self._update_buttons()

    def go_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slice through a world point, with the point in the middle."""
        if self._picture is None:
            return
        drawn, dims = Placement(self._picture.displacement.grid).drawn(point_mm), self._viewer.dims
        dims.set_point(range(dims.ndim - 3, dims.ndim), drawn)
        compat.look_at(self._viewer, drawn)

    def open_planes(self) -> None:
        """Show the two other planes below the canvas; the menu may have opened them, by another name."""
        present = [dock for dock in topmost(self).findChildren(QDockWidget) if dock.findChildren(OrthogonalDock)]
        for dock in present:
            dock.show()
            dock.raise_()
        if not present:
            self._viewer.window.add_dock_widget(OrthogonalDock(self._viewer), name=PLANES_TITLE, area="bottom")

    def orient(self) -> None:
        """Show axial slices as radiologists do, and write on the canvas which way the patient lies; once, so that the user can turn it."""
        if not self._oriented:
            self._oriented = True
            for rest in self._rests:
                rest.start()
            self._orienting.run(self._orient())

    def prepare(self) -> None:
        """Do ahead what would hold up the window when the first image or result appears."""
        self._text.prepare()

    def _orient(self) -> Iterator[None]:
        show_anatomically(self._viewer)
        yield
        self._text.start()

    def shut_down(self) -> None:
        """Stop everything and follow the viewer no more."""
        self._turns.stop()
        self._orienting.stop()
        self.adder.stop()
        self.writer.drop()
        self._release_overlays()
        self.compare.release()
        self.controls.release()
        for rest in self._rests:
            rest.stop()
        self._text.stop()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)

    def _begin(
        self, picture: ResultPicture, entries: list[LayerTuple], fixed_layer: Any | None, outdated: Sequence[Any] = ()
    ) -> None:
        self._turns.stop()
        self.adder.stop()
        self._release_overlays()
        self.compare.release()
        self.controls.release()
        self._picture, self._found, self._unmeasured = picture, {}, False
        self._names = {}
        placement = Placement(picture.displacement.grid)
        # Colors are hidden: what was compared, and what moved is laid over, is the gray value.
        reused = fixed_layer is not None and not getattr(fixed_layer, "rgb", False) and layers.is_drawn_as(fixed_layer, placement)
        self._fixed_layer = fixed_layer if reused else None
        wanted = [entry for entry in entries if not (reused and entry[1]["name"] == parts.FIXED)]
        self.message.setText("")
        self._update_buttons()
        self.orient()
        present = self._viewer.layers
        self._turns.run(
            self._clear_view(picture, outdated), lambda: self.adder.add(parts.numbered(wanted, [layer.name for layer in present]))
        )

    def _clear_view(self, picture: ResultPicture, outdated: Sequence[Any]) -> Iterator[None]:
        for layer in outdated:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
                yield
        for layer in list(self._viewer.layers):
            if layer != self._fixed_layer and layer.visible:
                layer.visible = False
                yield
        self.summary.show_report(picture.report, picture.notices)

    def _on_added(self, added: list[Any]) -> None:
        if self._picture is not None:
            self._turns.run(self._take_control(added, self._picture), self.shown.emit)

    def _take_control(self, added: list[Any], picture: ResultPicture) -> Iterator[None]:
        found = {str(parts.part_of(layer)): layer for layer in added}
        self._reuse_fixed(found, picture.window is not None)
        yield
        if parts.MOVED_LABELS in found:
            # As outlines over the filled fixed structures; napari takes this only of a layer that is there.
            found[parts.MOVED_LABELS].contour = 1
            yield
        self._bind({part: layer for part, layer in found.items() if layer in self._viewer.layers}, picture)
        yield
        if parts.MOVED in found and found[parts.MOVED] in self._viewer.layers:
            self._viewer.layers.selection.active = found[parts.MOVED]
            yield
        raise_crosshair(self._viewer)
        yield
        show_plane(self._viewer, Placement(picture.displacement.grid))
        yield
        compat.scale_bar(self._viewer).visible = True

    def _exchange(self, picture: ResultPicture, fresh: dict[str, tuple[Any, dict[str, Any]]]) -> Iterator[None]:
        # A comparison or a region may show something else in these layers meanwhile.
        self.compare.release()
        self._release_overlays()
        yield
        for part in parts.CHANGED_BY_TRANSFORM:
            layer = self._found.get(part)
            if layer is None or part not in fresh:
                continue
            data, arguments = fresh[part]
            layer.data = data
            yield
            if "features" in arguments and part == parts.MOVED_LANDMARKS:
                layer.features = arguments["features"]
                yield
        self._bind(dict(self._found), picture)
        yield
        self.summary.show_report(picture.report, picture.notices)

    def _bind(self, found: dict[str, Any], picture: ResultPicture) -> None:
        self._found = found
        field, controls = DrawnField.of(picture.displacement), self.controls.field
        maps = tuple(found[part] for part in (parts.MAGNITUDE, parts.JACOBIAN) if part in found)
        drawn = FieldOverlays(self._viewer, field, found.get(parts.QUIVER), found.get(parts.DEFORMED_GRID), maps, self)
        self._overlays = drawn
        self.controls.bind(found)
        controls.bind(field.longest_mm(), drawn.spacing_mm, regions_of(picture))
        controls.name_regions(self._names)
        drawn.drawn.connect(controls.note_arrows)
        for chosen, act in (
            (controls.spacing_chosen, drawn.set_spacing),
            (controls.slab_chosen, drawn.set_slab),
            (controls.scale_chosen, drawn.set_scale),
            (controls.region_chosen, drawn.set_region),
        ):
            chosen.connect(act)
        controls.choose_foreground()
        if self.current is not None:
            self.compare.bind(self.current)

    def _reuse_fixed(self, found: dict[str, Any], one_scale: bool) -> None:
        """Take the user's own fixed layer as the result's, if it is still there; images on one scale are shown in its window."""
        if self._fixed_layer is None or self._fixed_layer not in self._viewer.layers:
            return
        self._fixed_layer.visible = True
        found[parts.FIXED] = self._fixed_layer
        for part in (parts.MOVED, parts.MOVING_BEFORE):
            if one_scale and part in found:
                found[part].contrast_limits = self._fixed_layer.contrast_limits

    def _release_overlays(self) -> None:
        if self._overlays is not None:
            self._overlays.stop()
            self._overlays.deleteLater()
            self._overlays = None

    def _on_layer_removed(self, event: Any) -> None:
        self.controls.forget(event.value)
        self.compare.comparison.forget(event.value)
        for part in [part for part, layer in self._found.items() if layer == event.value]:
            del self._found[part]

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(4, 4, 4, 4)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        buttons = QHBoxLayout()
        buttons.addWidget(self.planes_button)
        buttons.addWidget(self.save_button)
        buttons.addWidget(self.report_button)
        for part in (self.summary, line, self.compare, self.controls):
            column.addWidget(part)
        column.addLayout(buttons)
        column.addWidget(self.message)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolled(inside))

    def _update_buttons(self) -> None:
        self.save_button.setEnabled(self._outcome is not None and not self._unmeasured and not self.writer.busy)
        tip = "The registration was corrected since it was measured; measure it in the Landmarks dock first."
        self.save_button.setToolTip(f"<p>{tip}</p>" if self._unmeasured else "")
        self.report_button.setEnabled(self._folder is not None)

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save result folder", "registration-result")
        if name:
            self.save(name)

    def _on_written(self, folder: Path) -> None:
        self._folder = folder
        self.message.setText(f"Saved in {folder}.")
        self._update_buttons()

    def _on_write_failed(self, error: DeformregError) -> None:
        self.message.setText(str(error))
        self._update_buttons()

    def _open_report(self) -> None:
        if self._folder is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder / names.REPORT_HTML)))


def show_anatomically(viewer: Any) -> None:
    """Turn the camera so that an axial slice has the patient's right on the left and the front on top; the data stay as they are."""
    compat.camera(viewer).orientation = ("away", "up", "left")


def show_plane(viewer: Any, placement: Placement) -> None:
    """Show a volume of one slice along its thin axis."""
    thin = [axis for axis, count in enumerate(placement.canonical.shape[::-1]) if count == 1]
    dims = viewer.dims
    if len(thin) == 1 and dims.ndim == 3:
        dims.order = (thin[0], *[axis for axis in range(3) if axis != thin[0]])
