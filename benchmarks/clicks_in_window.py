#!/usr/bin/env python3
"""Measures how long a correction takes in the real window: from the release of the mouse to the repainted canvas.

    clicks_in_window.py FIXED MOVING --result FOLDER [--clicks N] [--drags N] [--radius MM] [--screenshots FOLDER] [--json FILE]
                        [the other options of window_gaps.py]

It opens napari with the Register dock, hands over the stored result as a registration would, opens the Landmarks dock and places pairs by
real mouse events on the canvas: a click in the fixed image, a click on the moved one a few millimeters from where it is, which corrects;
then it drags ends of pairs, with the previews on the way. The clock starts as the button is released and stops when the canvas has swapped
its first frame after the corrected moved image was written into the layers. Every row is also told in parts: until the engine was asked,
until its answer was there, writing it into the layers, painting; and the whole, until all else is written (Jacobian, folds, labels,
tables), with the engine's own seconds for it.
Needs a display (on a machine without one: xvfb-run -s "-screen 0 1600x1000x24").
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import window_gaps

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ui"))

MISSED_MM = 2.5
"""How far a partner lies from where the registration has it, in the mean along each axis."""

DRAGGED_MM = 6.0
"""How far an end is dragged: more pixels than a trembling click."""

PARTS = ("release_to_screen", "until_asked", "solving", "writing", "painting", "release_to_all", "engine")


class ClickSession(window_gaps.Session):
    """A window with a result, in which pairs are clicked and dragged."""

    def prepare(self) -> Any:
        """Show the stored result, and open the Landmarks dock over it; returns the dock, ready for clicks."""
        from window_helpers import CanvasMouse

        from napari_deformreg.ui.docks import LandmarksOpening

        self.open_and_register()
        opening = LandmarksOpening(self.viewer)
        self.viewer.window.add_dock_widget(opening, name="Landmarks", area="right", tabify=True)
        self.until(lambda: not opening.busy and opening.inside is not None)
        self.marks: Any = opening.inside
        self.until(lambda: self.marks.desk.corrector.ready and not self.marks.busy)
        self.marks.page.radius.setValue(self.given.radius)
        self.marks.page.radius.editingFinished.emit()
        self.marks.page.place_button.click()
        self.wait(1.0)
        self.hand = CanvasMouse(self.viewer, self.marks)
        self.stamps: dict[str, float] = {}
        self.rows: list[dict[str, float]] = []
        self.hand.canvas.frameSwapped.connect(self._on_swapped)
        desk = self.marks.desk
        ask = desk.corrector.correct

        def asked(change: Any, order: Any) -> None:
            self.stamps.setdefault("asked", time.perf_counter())
            ask(change, order)

        desk.corrector.correct = asked
        # The desk shows it first; painting comes in a later turn.
        desk.corrector.foreseen.connect(lambda update: self.stamps.setdefault("written", time.perf_counter()))
        desk.corrector.updated.connect(lambda update: self.stamps.setdefault("all", time.perf_counter()))
        preview = desk.case._live.preview

        def previewed(update: Any) -> None:
            if "asked" in self.stamps:
                self.stamps.setdefault("answered", time.perf_counter())
            preview(update)

        desk.case._live.preview = previewed
        return self.marks

    def _on_swapped(self) -> None:
        if "written" in self.stamps and "swapped" not in self.stamps:
            self.stamps["swapped"] = time.perf_counter()

    def timed(self, kind: str, act: Any) -> None:
        """Do something that corrects; its last event is the release of the mouse."""
        self.stamps.clear()
        act()
        self.until(lambda: "swapped" in self.stamps and "all" in self.stamps, 60)
        self.until(lambda: not self.marks.busy, 60)
        self.wait(0.5)
        at, engine = self.stamps, self.marks.desk.figures.seconds
        # All is measured on one clock in this process, except the engine's own seconds.
        self.rows.append(
            {
                "kind": kind,  # type: ignore[dict-item]
                "release_to_screen": at["swapped"] - at["released"],
                "until_asked": at["asked"] - at["released"],
                "solving": at["answered"] - at["asked"],
                "writing": at["written"] - at["answered"],
                "painting": at["swapped"] - at["written"],
                "release_to_all": at["all"] - at["released"],
                "engine": engine,
            }
        )
        print(kind, {part: round(1000 * self.rows[-1][part]) for part in PARTS}, file=sys.stderr, flush=True)

    def release(self) -> None:
        """Start the clock; the very next event is the release."""
        self.stamps["released"] = time.perf_counter()

    def click_pairs(self, count: int) -> None:
        """Click pairs at random places of the fixed image's foreground."""
        rng, desk = np.random.default_rng(0), self.marks.desk
        shown = desk.case.shown.picture
        grid, values = shown.fixed.grid, shown.fixed.data
        inside = np.argwhere(values > values.mean())
        middle = inside[(np.abs(inside - np.array(grid.shape) / 2) < 0.3 * np.array(grid.shape)).all(axis=1)]
        for voxel in middle[rng.integers(len(middle), size=count)]:
            now = desk.case.now
            fixed = now.drawn_fixed(grid.voxel_to_world(voxel[None].astype(float)))[0]
            self.hand.show_slice(fixed)
            self.wait(0.3)
            self.hand.click(fixed)
            self.until(lambda: not self.marks.busy)
            self.wait(0.6)  # The suggestion comes; a hand takes longer than that.
            partner = fixed + rng.normal(size=3) * MISSED_MM * (np.arange(3) > 0)
            self.timed("click", lambda partner=partner: self.hand.click(partner, self.release))

    def drag_ends(self, count: int) -> None:
        """Drag moving ends of the pairs, some millimeters each."""
        from napari_deformreg.ui.landmarks.pair_layers import ON_MOVING

        rng, desk = np.random.default_rng(1), self.marks.desk
        for n in range(count):
            name = desk.pairs.names[n % len(desk.pairs)]
            desk.choose(name)
            desk.case.panel.controls.blend.setValue(100)
            end = next(end for end in desk.layers.ends if (end.name, end.side) == (name, ON_MOVING))
            self.hand.show_slice(end.drawn)
            self.wait(0.4)
            angle = rng.uniform(0, 2 * np.pi)
            target = np.array(end.drawn) + DRAGGED_MM * np.array([0.0, np.sin(angle), np.cos(angle)])
            self.timed("drag", lambda end=end, target=target: self.hand.drag(end.drawn, target, 12, self.release))


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return median and 95th percentile (s) of every part, for clicks, drags and both."""
    found = {}
    for kind in ("click", "drag", "all"):
        some = [row for row in rows if kind in ("all", row["kind"])]
        if some:
            found[kind] = {
                part: {name: float(np.percentile([row[part] for row in some], q)) for name, q in (("median", 50), ("p95", 95))}
                for part in PARTS
            }
            found[kind]["count"] = {"n": float(len(some))}
    return found


def told(description: str | None, **counts: int) -> argparse.Namespace:
    """Read the command line of a benchmark that corrects a stored result; `counts` are its own options, with their defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed")
    parser.add_argument("moving")
    for role in window_gaps.ROLES[2:]:
        parser.add_argument(f"--{role.replace('_', '-')}")
    parser.add_argument("--preset", default="brain-mri")
    parser.add_argument("--result", required=True, help="a stored result of this pair")
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--radius", type=float, default=25.0)
    parser.add_argument("--watch", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--screenshots", help="folder for pictures of the window")
    parser.add_argument("--json", help="file for the figures")
    given = parser.parse_args()
    if given.screenshots:
        Path(given.screenshots).mkdir(parents=True, exist_ok=True)
    return given


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    given = told(__doc__, clicks=12, drags=12)
    session = ClickSession(given)
    session.prepare()
    session.click_pairs(given.clicks)
    session.picture("pairs")
    session.drag_ends(given.drags)
    session.picture("dragged")
    found = summary(session.rows)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; seconds, median and 95 %")
    for kind, parts in found.items():
        said = ", ".join(f"{part} {parts[part]['median']:.3f} / {parts[part]['p95']:.3f}" for part in PARTS)
        print(f"{kind} (n = {parts['count']['n']:.0f}): {said}")
    if given.json:
        table = {"load": os.getloadavg()[0], "radius_mm": given.radius, "summary": found, "rows": session.rows}
        Path(given.json).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    session.viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
