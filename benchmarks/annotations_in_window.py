#!/usr/bin/env python3
"""Measures how long an annotation's partner takes in the real window: from an edit, or a correction, to the repainted canvas.

    annotations_in_window.py FIXED MOVING --result FOLDER [--edits N] [--corrections N] [--screenshots FOLDER] [--json FILE]
                             [the other options of clicks_in_window.py]

It opens a stored result as clicks_in_window.py does, draws points, shapes and labels on the moving image, lets them follow to the fixed
one, edits each of them N times and corrects the registration by pairs. The clock starts with the edit (for a correction: when it is
written into the layers) and stops when the canvas has swapped its first frame after the partner was written into.
Needs a display (on a machine without one: xvfb-run -s "-screen 0 1600x1000x24").
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import clicks_in_window
import numpy as np


class AnnotationSession(clicks_in_window.ClickSession):
    """A window with a result, in which annotations follow."""

    def draw(self) -> None:
        """Draw one layer of each kind around the middle of the moving image, and let each follow."""
        from napari_deformreg.ui.landmarks.directions import Side

        self.now = self.marks.desk.case.now
        self.grid = self.now.displacement.grid
        z, y, x = self.middle = self.now.drawn_fixed(self.grid.center[None])[0]
        scale = self.now.placement.spacing[::-1]
        own = {"units": "mm", "axis_labels": ("z", "y", "x")}
        self.hand.show_slice(self.middle)
        marks = self.middle + np.array([[0, 25, 20], [0, -20, 30], [0, 10, -35], [0, -35, -20], [0, 0, 5]])
        self.points = self.viewer.add_points(marks, name="marks on moving", size=5, face_color="#ff5252", **own)
        angle = np.linspace(0, 2 * np.pi, 9)[:-1, None]
        ring = np.array([z, y, x]) + 28 * np.concatenate([0 * angle, np.sin(angle), 0.7 * np.cos(angle)], axis=1)
        self.shapes = self.viewer.add_shapes(
            [ring], shape_type="polygon", name="outline on moving", edge_color="#ffee58", face_color="transparent", edge_width=1.2, **own
        )
        array = np.zeros(self.now.placement.canonical.shape[::-1], np.uint8)
        placed = self.now.placement.layer_arguments
        self.labels = self.viewer.add_labels(array, name="lesion on moving", scale=scale, translate=placed["translate"], **own)
        self.labels.n_edit_dimensions, self.labels.brush_size = 3, 14
        self.paint(0.0)
        for layer in (self.points, self.shapes, self.labels):
            self.marks.annotations.follow(layer, Side.MOVING)
        self.until(lambda: not self.marks.busy)
        self.wait(1.0)
        self.stamps.clear()
        for one in self.marks.annotations.followers:
            self.watch(one)

    def paint(self, off_mm: float) -> None:
        """Paint a ball."""
        place = self.middle + np.array([0.0, -8.0 + off_mm, 22.0])
        self.labels.paint(tuple(np.round((place - self.labels.translate) / self.labels.scale)), 3)

    def watch(self, follower: Any) -> None:
        """Note when a partner is written into."""
        say, name = follower._say, type(follower).__name__

        def said(text: str) -> None:
            self.stamps.setdefault(name, time.perf_counter())
            say(text)

        follower._say = said

    def _on_swapped(self) -> None:
        super()._on_swapped()
        for name in ("PointsFollower", "ShapesFollower", "LabelsFollower"):
            if name in self.stamps:
                self.stamps.setdefault(f"{name} seen", time.perf_counter())

    def edited(self, name: str, edit: Any) -> float:
        """Return the seconds from an edit to its partner on the screen."""
        self.wait(0.4)
        self.stamps.clear()
        started = time.perf_counter()
        edit()
        self.until(lambda: f"{name} seen" in self.stamps, 60)
        seconds = self.stamps[f"{name} seen"] - started
        self.until(lambda: not self.marks.busy, 60)
        return seconds

    def measure(self, count: int) -> dict[str, list[float]]:
        """Edit every layer some times, and correct some times."""
        found: dict[str, list[float]] = {"points": [], "shapes": [], "labels": []}
        rng = np.random.default_rng(0)
        for n in range(count):
            found["points"].append(self.edited("PointsFollower", lambda: self.points.add(self.middle + rng.normal(size=3) * [0, 20, 20])))
            ring = np.array(self.shapes.data[0]) + np.array([0, 1.0, 0.5])
            found["shapes"].append(self.edited("ShapesFollower", lambda ring=ring: setattr(self.shapes, "data", [ring])))
            found["labels"].append(self.edited("LabelsFollower", lambda n=n: self.paint(2.0 * n + 2.0)))
        return found

    def correct(self, count: int) -> dict[str, list[float]]:
        """Click pairs within the annotations; how long after the update of the registration each partner is on the screen."""
        found: dict[str, list[float]] = {"points": [], "shapes": [], "labels": []}
        self.marks.page.place_button.setChecked(True)
        rng = np.random.default_rng(2)
        for n in range(count):
            # Apart from each other: a click on an end that is there already takes hold of it.
            fixed = self.middle + np.array([0.0, -8.0 - 14.0 * n, 22.0 - 6.0 * n])
            self.hand.show_slice(fixed)
            self.wait(0.4)
            self.hand.click(fixed)
            self.until(lambda: not self.marks.busy)
            self.wait(0.5)
            self.stamps.clear()
            self.hand.click(fixed + rng.normal(size=3) * [0, 3, 3], self.release)
            self.until(lambda: "written" in self.stamps and not self.marks.busy, 60)
            self.wait(0.4)
            for kind, name in (("points", "PointsFollower"), ("shapes", "ShapesFollower"), ("labels", "LabelsFollower")):
                if f"{name} seen" in self.stamps:
                    found[kind].append(self.stamps[f"{name} seen"] - self.stamps["written"])
        return found


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    given = clicks_in_window.told(__doc__, edits=10, corrections=4)
    session = AnnotationSession(given)
    session.prepare()
    session.draw()
    session.picture("followed")
    found = {"edit": session.measure(given.edits)}
    session.picture("edited")
    found["correction"] = session.correct(given.corrections)
    session.picture("corrected")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; seconds, median and 95 %")
    for kind, parts in found.items():
        for name, times in parts.items():
            if times:
                print(f"{kind}, {name}: {np.median(times):.3f} / {np.percentile(times, 95):.3f} (n = {len(times)})")
    if given.json:
        Path(given.json).write_text(json.dumps({"load": os.getloadavg()[0], **found}, indent=2) + "\n", encoding="utf-8")
    session.viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
