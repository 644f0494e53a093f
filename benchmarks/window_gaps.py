#!/usr/bin/env python3
"""Measures how long the window does not answer, in each phase of a registration done in the real window.

    window_gaps.py FIXED MOVING [--fixed-labels FILE --moving-labels FILE --fixed-landmarks FILE --moving-landmarks FILE]
                   [--preset NAME] [--result FOLDER] [--repeat N] [--screenshots FOLDER]

It opens napari with the Register dock, drops the files on it, presses Register, waits for the result, presses every control, scrolls,
saves, cancels a second run, and opens a saved folder; all through the dock's own widgets. With --result nothing is registered: a process
of its own reads that folder and hands over what a registration would (same sizes, same way), in seconds instead of a minute.

A timer of the event loop ticks every 5 ms; for each phase the longest time between two ticks is printed, three ways:

* `clock`: as a person with a stopwatch sees it, other programs on the machine included;
* `process`: processor time of the whole napari process in that time, threads that may hold Python's lock included;
* `own`: processor time of the GUI thread alone.

On a quiet machine `clock` is what counts. On a machine that has more to do than processors it measures the others; the truth is then
between `own` and `process`. Phase `idle` is an untouched window: what its clock shows is the machine's, not ours.
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


class Heartbeat:
    """Ticks on the event loop and keeps, phase by phase, the longest pause by three clocks."""

    def __init__(self, watch_ms: float | None) -> None:
        from qtpy.QtCore import QTimer

        self.phase: str | None = None
        self.longest: dict[str, dict[str, float]] = {}
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._last = self._now()
        self._watch = Watch(watch_ms) if watch_ms else None
        self._timer.start()

    def enter(self, phase: str | None) -> None:
        """Count what follows as this phase."""
        self._tick()
        if self.phase is not None and self.phase != phase:
            # As it goes, for a run that is stopped half-way.
            print(self.phase, {name: round(value) for name, value in self.longest[self.phase].items()}, file=sys.stderr, flush=True)
        self.phase = phase

    def _now(self) -> dict[str, float]:
        return {"clock": time.perf_counter(), "process": time.process_time(), "own": time.thread_time()}

    def _tick(self) -> None:
        now = self._now()
        if self.phase is not None:
            known = self.longest.setdefault(self.phase, {"clock": 0.0, "process": 0.0, "own": 0.0, "ticks": 0})
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


class Session:
    """One use of the window, from an empty viewer to a closed one."""

    def __init__(self, given: argparse.Namespace) -> None:
        import napari
        from qtpy.QtWidgets import QApplication

        self.given = given
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1500, 950)
        self.app = QApplication.instance()
        self.wait(1.0)
        self.heartbeat = Heartbeat(given.watch)
        self.act("dock opened", self.open_dock, 4.0)

    # --- acting -----------------------------------------------------------------------------------------------------

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

    def act(self, phase: str, action: Callable[[], Any], settle: float = 0.5) -> None:
        """Do one thing from within the event loop, as a click does, and wait until the window has settled."""
        from qtpy.QtCore import QTimer

        self.heartbeat.enter(phase)
        QTimer.singleShot(0, action)
        self.wait(settle)
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
        self.act("idle", lambda: None, 3.0)
        self.open_inputs()
        self.register()
        self.look()
        with tempfile.TemporaryDirectory() as place:
            self.save(Path(place) / "result")
            self.cancel()
            self.reopen(Path(place) / "result")
        self.heartbeat.enter("idle at the end")
        self.wait(2.0)
        self.heartbeat.enter(None)
        self.dock.shut_down()
        self.viewer.close()
        return self.heartbeat.longest

    def open_dock(self) -> None:
        """Add the Register dock; it prepares what is written on the canvas."""
        from napari_deformreg.ui.register_dock import RegisterDock

        self.dock = RegisterDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="Register", area="right")

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
        controls, compare, dims = self.dock.result.controls, self.dock.result.compare, self.viewer.dims
        for value in (20, 80, 50):
            self.act("blend slider", lambda value=value: controls.blend.setValue(value), 0.2)
        for switch, name in ((compare.before, "before"), *((button, f"compare: {mode}") for mode, button in compare.buttons.items())):
            for _ in range(2):
                self.act(name, switch.click, 1.0)
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
        self.wait(0.5)
        for order in ((1, 0, 2), (2, 0, 1), (0, 1, 2)):
            self.act("turn to another plane", lambda order=order: setattr(dims, "order", order), 1.0)
            self.picture(f"5-plane-{''.join(map(str, order))}")
        controls.toggles["displacement"].click()
        self.wait(0.5)

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
        self.heartbeat.enter("result folder dropped")
        self.drop(folder)
        self.settled(1.0)
        self.heartbeat.enter(None)


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    for role in ROLES[2:]:
        parser.add_argument(f"--{role.replace('_', '-')}")
    parser.add_argument("--preset", default="generic")
    parser.add_argument("--result", help="a stored result of this pair, instead of registering")
    parser.add_argument("--repeat", type=int, default=1, help="how often; medians are printed")
    parser.add_argument("--watch", type=float, metavar="MS", help="print where pauses of more own work than this come from")
    parser.add_argument("--screenshots", help="folder for pictures of the window")
    parser.add_argument("--json", help="file for the figures")
    given = parser.parse_args()
    if given.screenshots:
        Path(given.screenshots).mkdir(parents=True, exist_ok=True)
    runs = [Session(given).run() for _ in range(given.repeat)]
    print(f"{given.repeat} run(s), {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; longest pause, ms")
    print(f"{'phase':36s} {'clock':>6s} {'process':>8s} {'own':>6s}")
    table = {}
    for phase in runs[0]:
        row = {name: statistics.median(run[phase][name] for run in runs if phase in run) for name in runs[0][phase]}
        table[phase] = row
        took = f"   took {row['took_ms']:.0f}" if "took_ms" in row else ""
        print(f"{phase:36s} {row['clock']:6.0f} {row['process']:8.0f} {row['own']:6.0f}{took}")
    if given.json:
        Path(given.json).write_text(json.dumps({"load": os.getloadavg()[0], "phases": table}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
