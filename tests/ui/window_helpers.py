"""What the window tests share: quick settings and a stand-in for the engine."""

import time

from napari_deformreg.result import Step
from napari_deformreg.settings import Settings

QUICK = Settings.from_mapping(
    {"affine": {"mode": "rigid", "start": "header"}, "search": {"mode": "off"}, "refine": {"shrink_factors": (2.0,), "steps": (5,)}}
)


class SlowEngine:
    """Stands in for the engine: steps of known length, then a given outcome; remembers how it ended."""

    def __init__(self, outcome, picture, steps=40, step_seconds=0.02):
        self.value = (outcome, picture)
        self.steps, self.step_seconds = steps, step_seconds
        self.started = self.ended = False
        self.given = None

    def __call__(self, inputs, settings):
        self.given = (inputs, settings)
        self.started = True
        try:
            for n in range(self.steps):
                time.sleep(self.step_seconds)
                yield Step("refine", level=1, levels=3, index=n + 1, count=self.steps, loss=-0.5, fraction=n / self.steps, seconds_left=5.0)
            return self.value
        finally:
            self.ended = True
