#!/usr/bin/env python3
"""Measures how long the window does not answer, in each phase of a registration done in the real window.

    window_gaps.py FIXED MOVING [--fixed-labels FILE --moving-labels FILE --fixed-landmarks FILE --moving-landmarks FILE]
                   [--preset NAME] [--result FOLDER] [--only PART ...] [--repeat N] [--screenshots FOLDER] [--json FILE]

It opens napari with the Register dock, drops the files on it, presses Register, waits for the result, presses every control, compares in
every way twice, turns, opens the orthogonal views and moves their crosshair, saves, cancels a second run, drops the saved folder, opens it
for review, and moves through the slices of all planes with arrows, Jacobian and contours; all through the docks' own widgets. With --result
nothing is registered: a process of its own reads that folder and hands over what a registration would (same sizes, same way), in seconds
instead of a minute. With --only some parts alone are done. A part that fails is told and left out. At the end the same is done in a napari
without anything of ours, as far as it can: what of the pauses is napari's own.

A timer of the event loop ticks every 5 ms; for each phase the longest time between two ticks is printed, four ways (for slices, the median
and the 95th percentile over all steps instead, each step's longest):

* `clock`: as a person with a stopwatch sees it, other programs on the machine included;
* `process`: processor time of the whole napari process in that time, threads that may hold Python's lock included;
* `own`: processor time of the GUI thread alone;
* `gl`: what of `clock` is OpenGL's, from its calls to the composed window: painting by the processor where no graphics card does it.

On a quiet machine `clock` is what counts, and `clock` less `gl` is left where a graphics card paints. On a machine that has more to do than
processors `clock` measures the others; the truth is then between `own` and `process`. Phase `idle` is an untouched window: what its clock
shows is the machine's, not ours.
Needs a display (on a machine without one: xvfb-run -s "-screen 0 1600x1000x24").
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

TICK_MS = 5
ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")


CLOCKS = ("clock", "process", "own", "gl")


class Painting:
    """Adds up how long OpenGL takes: its calls while the canvas is painted, and Qt's putting the window together."""

    def __init__(self, canvases: list[Any]) -> None:
        from vispy.gloo import gl

        self.seconds = 0.0
        self._composing: float | None = None
        for name in dir(gl):
            call = getattr(gl, name)
            if name.startswith("gl") and callable(call):
                setattr(gl, name, self._timed(call))
        for canvas in canvases:
            # The processor paints behind the calls' back; here it is waited for, as the window's composition would.
            canvas._vispy_canvas.events.draw.connect(lambda event: gl.glFinish(), position="last")
            canvas.aboutToCompose.connect(self._compose)
            canvas.frameSwapped.connect(self._composed)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return timed

    def _compose(self) -> None:
        self._composing = time.perf_counter()

    def _composed(self) -> None:
        if self._composing is not None:
            self.seconds += time.perf_counter() - self._composing
            self._composing = None


class Heartbeat:
    """Ticks on the event loop and keeps, phase by phase, the longest pause by several clocks."""

    def __init__(self, watch_ms: float | None, painting: Painting) -> None:
        from qtpy.QtCore import QTimer

        self._painting = painting
        self.phase: str | None = None
        self.longest: dict[str, dict[str, float]] = {}
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._last = self._now()
        self._watch = Watch(watch_ms) if watch_ms else None
        self._timer.start()

    def take(self) -> dict[str, float]:
        """Give the longest pause of the present phase, and begin anew with it."""
        self._tick()
        return self.longest.pop(str(self.phase), dict.fromkeys(CLOCKS, 0.0))

    def enter(self, phase: str | None) -> None:
        """Count what follows as this phase."""
        self._tick()
        if self.phase is not None and self.phase != phase and self.phase in self.longest:
            # As it goes, for a run that is stopped half-way.
            print(self.phase, {name: round(value) for name, value in self.longest[self.phase].items()}, file=sys.stderr, flush=True)
        self.phase = phase

    def _now(self) -> dict[str, float]:
        found = (time.perf_counter(), time.process_time(), time.thread_time(), self._painting.seconds)
        return dict(zip(CLOCKS, found, strict=True))

    def _tick(self) -> None:
        now = self._now()
        if self.phase is not None:
            known = self.longest.setdefault(self.phase, {**dict.fromkeys(CLOCKS, 0.0), "ticks": 0})
            for name, value in now.items():
                known[name] = max(known[name], 1000 * (value - self._last[name]))
            known["ticks"] += 1
            if self._watch is not None:
                self._watch.note(self.phase, 1000 * (now["own"] - self._last["own"]))
        self._last = now
        if self._watch is not None:
            self._watch.beat = now["own"]
            self._watch.stacks.clear()


class Watch(threading.Thread):
    """Samples where the GUI thread is; prints the samples of a pause that was too long. Costs time itself: for looking, not for figures."""

    def __init__(self, limit_ms: float) -> None:
        super().__init__(daemon=True)
        self.limit_ms, self.beat = limit_ms, 0.0
        self.stacks: list[str] = []
        self._gui = threading.get_ident()
        self.start()

    def run(self) -> None:
        while True:
            time.sleep(0.004)
            frame = sys._current_frames().get(self._gui)
            if frame is not None:
                lines = traceback.extract_stack(frame)[-14:]
                self.stacks.append(" < ".join(f"{Path(line.filename).name}:{line.lineno}:{line.name}" for line in reversed(lines)))

    def note(self, phase: str, own_ms: float) -> None:
        if own_ms > self.limit_ms:
            print(f"--- {phase}: {own_ms:.0f} ms of own work", *self.stacks, sep="\n      ", file=sys.stderr)


def stored_registration(folder: Path) -> Callable[..., Generator[Any, Any, Any]]:
    """Give something that stands in for the engine: the stored result, judged again, from a process as the engine's would come."""
    from napari_deformreg.ui.process import in_process

    def start(inputs: Any, settings: Any) -> Generator[Any, Any, Any]:
        sys.path.insert(0, str(Path(__file__).parent))
        import window_gaps

        return in_process(window_gaps.judging, folder, inputs)

    return start


def judging(folder: Path, inputs: Any) -> Generator[Any, Any, Any]:
    """Judge a stored result again, and gather what it has to show (runs in the process)."""
    from napari_deformreg.result import Step
    from napari_deformreg.ui.pictures import picture_of_outcome
    from napari_deformreg.workflow import check_inputs, evaluate, read_result

    yield Step("read", message="reading the stored result", fraction=0.1)
    result = read_result(folder)
    yield Step("evaluate", message="judging", fraction=0.5)
    outcome = evaluate(check_inputs(inputs, result.settings), result)
    return outcome, picture_of_outcome(outcome)


class Window:
    """An empty napari window, what is done in it, and how long it did not answer."""

    def __init__(self, given: argparse.Namespace) -> None:
        import napari
        from qtpy.QtWidgets import QApplication, QWidget

        self.given = given
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1500, 950)
        self.app = QApplication.instance()
        self.wait(1.0)
        top = self.viewer.window._qt_window
        canvases = [child for child in top.findChildren(QWidget) if child.inherits("QOpenGLWidget")]
        self.heartbeat = Heartbeat(given.watch, Painting(canvases))

    def wait(self, seconds: float) -> None:
        """Let the event loop run."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(int(1000 * seconds), loop.quit)
        loop.exec()

    def until(self, done: Callable[[], bool], limit: float = 900.0) -> None:
        """Let the event loop run until something is so."""
        end = time.monotonic() + limit
        while not done():
            if time.monotonic() > end:
                raise TimeoutError("waited too long")
            self.wait(0.02)

    def hand(self) -> None:
        """Move the mouse a little, as a hand does: what waits for the window to be at rest is not to come in the middle of work."""
        from qtpy.QtGui import QCursor

        place = QCursor.pos()
        QCursor.setPos(place.x() + (1 if place.x() % 2 else -1), place.y())

    def act(self, phase: str, action: Callable[[], Any], settle: float = 0.5, done: Callable[[], bool] | None = None) -> None:
        """Do one thing from within the event loop, as a click does, and wait until it is done and the window has settled."""
        from qtpy.QtCore import QTimer

        self.hand()
        self.heartbeat.enter(phase)
        QTimer.singleShot(0, action)
        self.wait(settle)
        if done is not None:
            self.until(done)
            self.wait(settle)
        self.heartbeat.enter(None)

    def attempt(self, name: str, part: Callable[[], Any]) -> None:
        """Do one part; what goes wrong is told, and the next one has its turn."""
        try:
            part()
        except Exception:
            self.heartbeat.enter(None)
            print(f"The part '{name}' failed:", file=sys.stderr)
            traceback.print_exc()

    def steps(self, phase: str, actions: list[Callable[[], Any]], settle: float = 0.15) -> None:
        """Do like things one after the other; keep the median and the 95th percentile of the longest pause of each."""
        from qtpy.QtCore import QTimer

        found = []
        self.heartbeat.enter(phase)
        for action in actions:
            self.hand()
            self.heartbeat.take()
            QTimer.singleShot(0, action)
            self.wait(settle)
            found.append(self.heartbeat.take())
        self.heartbeat.phase = None
        for title, part in (("median", 50), ("95 %", 95)):
            row = {name: percentile([step[name] for step in found], part) for name in CLOCKS}
            self.heartbeat.longest[f"{phase}, {title}"] = row
            print(f"{phase}, {title}", {name: round(value) for name, value in row.items()}, file=sys.stderr, flush=True)

    def scrub(self, what: str, count: int = 40) -> None:
        """Move through the slices of all planes."""
        dims = self.viewer.dims
        for order, plane in (((0, 1, 2), "axial"), ((1, 0, 2), "coronal"), ((2, 0, 1), "sagittal")):
            dims.order = order
            self.wait(1.0)
            axis = order[0]
            middle = dims.nsteps[axis] // 2 - count // 2
            dims.set_current_step(axis, middle)
            self.wait(0.5)
            self.steps(
                f"{plane} slices with {what}",
                [lambda axis=axis, n=n: dims.set_current_step(axis, n) for n in range(middle + 1, middle + 1 + count)],
            )
        dims.order = (0, 1, 2)
        self.wait(1.0)


class Bare(Window):
    """napari by itself, with the same two images and nothing of ours: what of the pauses is its own."""

    def run(self) -> dict[str, dict[str, float]]:
        """Go through everything once."""
        self.attempt("napari alone", self.everything)
        self.heartbeat.enter(None)
        self.viewer.close()
        return self.heartbeat.longest

    def everything(self) -> None:
        """Add, hide, show, turn, show side by side, move through slices, remove."""
        import nibabel
        import numpy as np

        add, layers = self.viewer.add_image, self.viewer.layers
        for path in (self.given.fixed, self.given.moving):
            data = np.ascontiguousarray(np.asarray(nibabel.load(path).dataobj, dtype=np.float32).T)
            limits = (float(data.min()), float(np.percentile(data, 99.5)))
            self.act("napari alone: image added", lambda data=data, limits=limits: add(data, contrast_limits=limits, opacity=0.5), 1.5)
        for shown in (False, True):
            self.act("napari alone: image hidden or shown", lambda shown=shown: setattr(layers[1], "visible", shown))
        for order in ((1, 0, 2), (2, 0, 1), (0, 1, 2)):
            self.act("napari alone: turn to another plane", lambda order=order: setattr(self.viewer.dims, "order", order), 1.0)
        for count in (3, 2):
            self.act(f"napari alone: {count} dimensions", lambda count=count: setattr(self.viewer.dims, "ndisplay", count), 2.0)
        grid = getattr(getattr(self.viewer, "canvas", self.viewer), "grid", None) or self.viewer.grid
        for enabled in (True, False):
            self.act("napari alone: grid on or off", lambda enabled=enabled: setattr(grid, "enabled", enabled), 1.0)
        self.scrub("two images, napari alone", 20)
        self.act("napari alone: image removed", lambda: layers.remove(layers[1]), 1.5)


class Session(Window):
    """One use of the window, from an empty viewer to a closed one."""

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__(given)
        self.opening: Any = None
        self.act("dock opened", self.open_dock, done=lambda: self.opening is not None and not self.opening.busy)
        self.dock = self.opening.inside
        # It prepares what will be written on the canvas.
        self.heartbeat.enter("dock prepares")
        self.wait(4.0)
        self.heartbeat.enter(None)

    def drop(self, path: Path) -> None:
        """Drop a file or folder on the dock."""
        from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
        from qtpy.QtGui import QDropEvent

        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        self.dock.dropEvent(
            QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
        )

    def busy(self) -> bool:
        """Whether anything is under way in the dock."""
        return bool(self.dock.busy)

    def settled(self, seconds: float = 0.3) -> None:
        """Wait until nothing is under way any more."""
        self.until(lambda: not self.busy())
        self.wait(seconds)

    def picture(self, name: str) -> None:
        """Take a picture of the whole window."""
        if self.given.screenshots:
            phase, self.heartbeat.phase = self.heartbeat.phase, None
            self.viewer.screenshot(str(Path(self.given.screenshots) / f"{name}.png"), canvas_only=False, flash=False)
            self.heartbeat.enter(phase)

    # --- phases -----------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, dict[str, float]]:
        """Go through everything once."""
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "result"
            self.act("idle", lambda: None, 3.0)
            for name, part in (
                ("register", self.open_and_register), ("look", self.look), ("compare", self.compare), ("turn", self.turn),
                ("planes", self.planes), ("save", lambda: self.save(folder)), ("cancel", self.cancel),
                ("reopen", lambda: self.reopen(folder)), ("review", lambda: self.review(folder)),
            ):  # fmt: skip
                if name == "register" or not self.given.only or name in self.given.only:
                    self.attempt(name, part)
        self.heartbeat.enter("idle at the end")
        self.wait(2.0)
        # What was removed is collected once the mouse has rested.
        self.heartbeat.enter("tidied up")
        self.wait(10.0)
        self.heartbeat.enter(None)
        self.viewer.close()
        return self.heartbeat.longest

    def open_dock(self) -> None:
        """Open the Register dock as napari's menu does."""
        from napari_deformreg.ui.docks import RegisterOpening

        self.opening = RegisterOpening(self.viewer)
        self.viewer.window.add_dock_widget(self.opening, name="Register", area="right")

    def open_and_register(self) -> None:
        """From files to a result."""
        self.open_inputs()
        self.register()

    def open_inputs(self) -> None:
        """Drop the files on the rows."""
        self.heartbeat.enter("files dropped")
        for role in ROLES:
            path = getattr(self.given, role)
            if path is not None:
                self.dock.open_file(role, Path(path))
        self.settled()
        self.heartbeat.enter(None)
        self.dock.page.preset.setCurrentText(self.given.preset)
        self.picture("1-start")

    def register(self) -> None:
        """Register and wait for the layers."""
        if self.given.result:
            self.dock.start_registration = stored_registration(Path(self.given.result))
        self.heartbeat.enter("starting")
        self.dock.page.register_button.click()
        self.wait(1.5)
        self.heartbeat.enter("running")
        self.dock.result.shown.connect(lambda: self.heartbeat.enter("just after"))
        pictured = False
        while self.dock.runner.busy:
            self.wait(0.01)
            if not pictured and self.dock.page.progress.value() > 400:
                pictured = True
                self.picture("2-running")
        self.heartbeat.enter("result arriving, layers added")
        self.settled(1.0)
        self.heartbeat.enter(None)
        self.picture("3-result")

    def look(self) -> None:
        """Press every control, scroll and turn."""
        controls = self.dock.result.controls
        for value in (20, 80, 50):
            self.act("blend slider", lambda value=value: controls.blend.setValue(value), 0.2)
        for part, button in controls.toggles.items():
            if button.isVisible():
                self.act(f"switch {part}", button.click)
                self.act(f"scroll with {part}", lambda: self.scroll(6), 0.8)
                self.picture(f"4-{part.replace(' ', '-')}")
                self.act(f"switch {part}", button.click)
        controls.toggles["displacement"].click()
        self.wait(0.5)
        self.act("denser arrows", lambda: controls.field.spacing.setValue(controls.field.spacing.value() / 2))
        self.act("thicker slab", lambda: controls.field.slab.setValue(9))
        controls.field.slab.setValue(1)
        controls.toggles["Jacobian determinant"].click()
        self.wait(0.5)
        for row in (1, controls.field.region.count() - 1, 0):
            self.act("field bounded", lambda row=row: controls.field.region.setCurrentIndex(row))
        controls.toggles["Jacobian determinant"].click()
        controls.toggles["displacement"].click()
        self.wait(0.5)

    def compare(self) -> None:
        """Compare in every way, twice: on the first time much is made that is kept."""
        bar = self.dock.result.compare
        buttons = [("before", bar.before), *((str(mode), button) for mode, button in bar.buttons.items())]
        for time_word in ("first", "second"):
            for name, button in buttons:
                for state in ("on", "off"):
                    phase = f"{name} {state}, {time_word} time"
                    self.act(phase, button.click, 0.5, done=lambda: not bar.comparison.busy)
                    if state == "on":
                        self.picture(f"5-{name.replace(' ', '-')}")

    def turn(self) -> None:
        """Turn to the other planes, and to three dimensions and back."""
        dims = self.viewer.dims
        for order in ((1, 0, 2), (2, 0, 1), (0, 1, 2)):
            self.act("turn to another plane", lambda order=order: setattr(dims, "order", order), 1.0)
            self.picture(f"6-plane-{''.join(map(str, order))}")
        for count in (3, 2):
            self.act(f"{count} dimensions", lambda count=count: setattr(dims, "ndisplay", count), 2.0)

    def planes(self) -> None:
        """Open the orthogonal views, and move their crosshair."""
        from napari_deformreg.ui.orthogonal_dock import OrthogonalDock

        self.act("orthogonal views opened", self.dock.result.open_planes, 2.0)
        found = self.viewer.window.dock_widgets.get("Orthogonal views")
        dock = next(w for w in self.app.allWidgets() if isinstance(w, OrthogonalDock))
        assert found is not None
        place = dock.place
        moves = [tuple(n + step for n in place) for step in range(-20, 20, 2)]
        self.steps("crosshair moved", [lambda to=to: dock.go_to(to) for to in moves])
        self.picture("7-planes")
        self.act("orthogonal views closed", lambda: self.viewer.window.remove_dock_widget(dock))

    def scroll(self, slices: int) -> None:
        """Step through slices, one per turn of the event loop."""
        from qtpy.QtCore import QTimer

        dims = self.viewer.dims
        for n in range(slices):
            QTimer.singleShot(100 * n, lambda: dims.set_current_step(dims.order[0], dims.current_step[dims.order[0]] + 1))

    def save(self, folder: Path) -> None:
        """Save the result folder."""
        self.heartbeat.enter("saving")
        self.dock.result.save(folder)
        self.settled(1.0)
        self.heartbeat.enter(None)
        if not folder.is_dir():
            raise RuntimeError(self.dock.result.message.text())

    def cancel(self) -> None:
        """Cancel a run after two seconds, and print how long it took."""
        self.dock.page.register_button.click()
        self.wait(2.0)
        self.heartbeat.enter("canceling")
        began = time.perf_counter()
        self.dock.page.cancel_button.click()
        self.until(lambda: not self.dock.runner.busy)
        seconds = time.perf_counter() - began
        self.wait(1.0)
        self.heartbeat.enter(None)
        self.heartbeat.longest["canceling"]["took_ms"] = 1000 * seconds

    def reopen(self, folder: Path) -> None:
        """Drop a result folder on the dock."""
        self.viewer.layers.clear()
        self.wait(0.5)
        self.act("result folder dropped", lambda: self.drop(folder), 1.0, done=lambda: not self.busy())

    def review(self, folder: Path) -> None:
        """Open a result for review, and look at it."""
        from napari_deformreg.ui.docks import ReviewOpening

        self.viewer.layers.clear()
        self.wait(0.5)
        folder = folder if folder.is_dir() else Path(self.given.result)
        opening = ReviewOpening(self.viewer)
        add = self.viewer.window.add_dock_widget
        self.act("review dock opened", lambda: add(opening, name="Review", area="right", tabify=True), done=lambda: not opening.busy)
        review = opening.inside
        self.act("review opened", lambda: review.open_result(folder), 1.0, done=lambda: review.desk.review is not None and not review.busy)
        self.picture("8-review")
        for n in range(review.tabs.count()):
            self.act("tab of the review", lambda n=n: review.tabs.setCurrentIndex(n))
        review.tabs.setCurrentWidget(review.structures)
        if review.structures.table.rows_model.rows:
            self.act("contours", review.structures.contours.click, 1.0, done=lambda: not review.busy)
            self.steps("next structure", [lambda: review.step(1) for _ in range(6)], 1.0)
            review.structures.only.click()
            self.wait(1.0)
        toggles = review.own.controls.toggles
        self.scrub("contours")
        for part in ("displacement", "Jacobian determinant"):
            self.act(f"switch {part}", toggles[part].click)
        self.scrub("arrows, Jacobian, contours")
        self.picture("9-review-field")


def percentile(values: list[float], part: float) -> float:
    """Give a percentile of some values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part / 100 * (len(ordered) - 1)))]


PARTS = ("look", "compare", "turn", "planes", "save", "cancel", "reopen", "review", "napari")


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    for role in ROLES[2:]:
        parser.add_argument(f"--{role.replace('_', '-')}")
    parser.add_argument("--preset", default="generic")
    parser.add_argument("--result", help="a stored result of this pair, instead of registering")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=(), help="these parts alone, after the result came")
    parser.add_argument("--repeat", type=int, default=1, help="how often; medians are printed")
    parser.add_argument("--watch", type=float, metavar="MS", help="print where pauses of more own work than this come from")
    parser.add_argument("--screenshots", help="folder for pictures of the window")
    parser.add_argument("--json", help="file for the figures")
    given = parser.parse_args()
    if given.screenshots:
        Path(given.screenshots).mkdir(parents=True, exist_ok=True)
    bare = not given.only or "napari" in given.only
    runs = [{**Session(given).run(), **(Bare(given).run() if bare else {})} for _ in range(given.repeat)]
    print(f"{given.repeat} run(s), {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; longest pause, ms")
    print(f"{'phase':36s} {'clock':>6s} {'process':>8s} {'own':>6s} {'gl':>6s}")
    table = {}
    for phase in runs[0]:
        row = {name: statistics.median(run[phase][name] for run in runs if phase in run) for name in runs[0][phase]}
        table[phase] = row
        took = f"   took {row['took_ms']:.0f}" if "took_ms" in row else ""
        print(f"{phase:36s} {row['clock']:6.0f} {row['process']:8.0f} {row['own']:6.0f} {row['gl']:6.0f}{took}")
    if given.json:
        Path(given.json).write_text(json.dumps({"load": os.getloadavg()[0], "phases": table}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
