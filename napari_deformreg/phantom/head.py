"""The anatomy of a head, as layers of shapes painted one over the other. Canonical space: RAS+ mm, origin near the anterior commissure.

Sizes and places follow a typical adult brain in a stereotactic frame by eye; nothing is measured from anybody's images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from .shapes import Distance, Points, Waves, blend, ellipsoid, mirrored, tube

TISSUES: dict[str, tuple[float, float, float]] = {
    # tissue: brightness under T1, under a second scanner's T1, and under T2, of 255
    "air": (3, 3, 3),
    "skin": (92, 84, 84),
    "fat": (205, 214, 150),
    "muscle": (84, 92, 52),
    "bone": (16, 20, 14),
    "marrow": (112, 126, 96),
    "csf": (36, 30, 232),
    "gray": (106, 98, 140),
    "white": (164, 156, 96),
    "striatum": (122, 114, 130),
    "pallidum": (142, 136, 84),
    "thalamus": (134, 127, 116),
    "stem": (150, 142, 104),
    "eye": (34, 30, 245),
    "lens": (96, 90, 40),
    "blood": (128, 70, 26),
}

LABELS: dict[int, str] = {
    1: "cerebral cortex", 2: "cerebral white matter", 3: "lateral ventricle right", 4: "lateral ventricle left", 5: "third ventricle",
    6: "fourth ventricle", 7: "caudate right", 8: "caudate left", 9: "putamen right", 10: "putamen left", 11: "pallidum right",
    12: "pallidum left", 13: "thalamus right", 14: "thalamus left", 15: "hippocampus right", 16: "hippocampus left",
    17: "brain stem", 18: "cerebellar cortex", 19: "cerebellar white matter",
}

LANDMARKS: dict[str, tuple[float, float, float]] = {
    "anterior commissure": (0.0, 2.0, -4.0),
    "posterior commissure": (0.0, -27.0, -2.0),
    "genu of corpus callosum": (0.0, 34.0, 5.0),
    "splenium of corpus callosum": (0.0, -42.0, 14.0),
    "frontal horn tip right": (10.0, 35.0, 4.0), "frontal horn tip left": (-10.0, 35.0, 4.0),
    "occipital horn tip right": (26.0, -74.0, 4.0), "occipital horn tip left": (-26.0, -74.0, 4.0),
    "temporal horn tip right": (34.0, -8.0, -20.0), "temporal horn tip left": (-34.0, -8.0, -20.0),
    "atrium right": (24.0, -40.0, 14.0), "atrium left": (-24.0, -40.0, 14.0),
    "caudate head right": (15.0, 20.0, 5.0), "caudate head left": (-15.0, 20.0, 5.0),
    "putamen anterior right": (23.5, 17.0, 1.0), "putamen anterior left": (-23.5, 17.0, 1.0),
    "putamen posterior right": (30.5, -13.0, 1.0), "putamen posterior left": (-30.5, -13.0, 1.0),
    "pulvinar right": (14.0, -32.0, 8.0), "pulvinar left": (-14.0, -32.0, 8.0),
    "hippocampus head right": (25.0, -13.0, -21.0), "hippocampus head left": (-25.0, -13.0, -21.0),
    "fourth ventricle apex": (0.0, -54.0, -32.0),
    "pons anterior": (0.0, -11.0, -30.0),
    "pontomedullary junction": (0.0, -22.0, -45.0),
    "eye center right": (32.0, 64.0, -34.0), "eye center left": (-32.0, 64.0, -34.0),
}


class Layer(NamedTuple):
    """One shape to paint: tissue, label (0 leaves the label map alone, -1 clears it) and signed distance at the points."""

    tissue: str
    label: int | Integer[np.ndarray, "n"]
    distance_mm: Distance


@dataclass(frozen=True)
class Head:
    """One individual: what chance decides about a head.

    Attributes
    ----------
    folds : Waves
        Sulci run where it is zero.
    fold_depth, wobble, texture : Waves
        How deep they go, how the skull and the surfaces waver, and how tissue brightness varies within.
    asymmetry, meander : tuple of Waves
        One a direction: how left and right differ, and how sulci bend.
    """

    folds: Waves
    fold_depth: Waves
    wobble: Waves
    texture: Waves
    asymmetry: tuple[Waves, Waves, Waves]
    meander: tuple[Waves, Waves, Waves]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Head:
        """Draw an individual."""
        return cls(
            folds=Waves.random(rng, 27.0, 40, 0.3),
            fold_depth=Waves.random(rng, 34.0, 16),
            wobble=Waves.random(rng, 30.0, 16),
            texture=Waves.random(rng, 14.0, 24, 0.5),
            asymmetry=(Waves.random(rng, 110.0, 8), Waves.random(rng, 110.0, 8), Waves.random(rng, 110.0, 8)),
            meander=(Waves.random(rng, 30.0, 10), Waves.random(rng, 30.0, 10), Waves.random(rng, 30.0, 10)),
        )

    def to_symmetric(self, points: Points) -> Points:
        """Carry points of this head to the mirror-symmetric space in which the shapes are described."""
        return points + ASYMMETRY_MM * np.stack([w.at(points) for w in self.asymmetry], 1)

    def from_symmetric(self, points: Points) -> Points:
        """Invert `to_symmetric`; the iteration halves its error at least (the asymmetry's slope is below 1/4)."""
        guess = np.array(points)
        for _ in range(60):
            guess = points - (self.to_symmetric(guess) - guess)
        return guess

    def landmarks(self) -> tuple[tuple[str, ...], Points]:
        """Names and places (mm) of the landmarks in this head."""
        return tuple(LANDMARKS), self.from_symmetric(np.array(list(LANDMARKS.values())))

    def surface(self, points: Points) -> Distance:
        """Distance (mm) to the skin."""
        half = mirrored(self.to_symmetric(points))
        return _skin(half, _brain(half).skull)

    def layers(self, points: Points) -> Iterator[Layer]:
        """Describe the anatomy at points (mm) of this head, bottom layer first."""
        p = self.to_symmetric(points)
        side = p[:, 0]
        half = mirrored(p)
        brain = _brain(half)
        wobble = self.wobble.at(p)
        yield from _shell(half, brain, wobble, self.texture.at(p * np.array([0.8, 0.8, 0.3])))
        yield from _face(half)
        yield from _sinuses(half, brain)
        yield from self._cerebrum(p, half, brain.cerebrum, wobble)
        yield from _deep(half, side)
        yield from self._hindbrain(half, brain)

    def _cerebrum(self, p: Points, half: Points, cerebrum: Distance, wobble: Distance) -> Iterator[Layer]:
        """Cortex as a ribbon of even thickness along everything that touches fluid: the hull, the sulci and the fissures."""
        near = np.flatnonzero(cerebrum < 4.0)
        depth = -cerebrum[near]
        to_fluid = np.minimum.reduce([depth, self._sulci(p[near], half[near], depth), _fissures(half[near], wobble[near])])
        inward = np.full(len(p), -10.0)
        inward[near] = to_fluid
        yield Layer("gray", 1, -inward)
        yield Layer("white", 2, CORTEX_MM + 0.25 * wobble - inward)

    def _sulci(self, p: Points, half: Points, depth: Distance) -> Distance:
        """Distance to the nearest sulcus: sheets that stand on the zero lines of `folds` on the surface and run inward."""
        center = np.stack([np.where(p[:, 0] >= 0, 26.0, -26.0), np.full(len(p), -18.0), np.full(len(p), 8.0)], 1)
        local = p - center
        level = np.maximum(np.linalg.norm(local / np.array([44.0, 88.0, 62.0]), axis=1), 0.2)
        # The share of `local` tilts the sheets against the radius, as real sulci are.
        # `meander` bends them on their way in, and is too gentle to matter for the distance.
        bent = local / level[:, None] + 0.4 * local + MEANDER_MM * np.stack([w.at(p) for w in self.meander], 1)
        value, slope = self.folds.with_gradient_at(bent)
        steepness = np.hypot(np.linalg.norm(slope, axis=1), 0.06) * (1 / level + 0.4)
        reach = np.clip(16.0 + 6.0 * self.fold_depth.at(p), 5.0, 25.0)
        # Deep nuclei have no sulci, however near the base they lie.
        too_deep = np.maximum(depth - reach, 0) + 40.0 * np.maximum(0.62 - level, 0) + 4.0 * np.maximum(3.0 - _core(half), 0)
        return np.asarray(np.hypot(np.abs(value) / steepness, too_deep) - 0.7)

    def _hindbrain(self, half: Points, brain: _Brain) -> Iterator[Layer]:
        _, y, z = half.T
        depth = -brain.cerebellum
        angle = np.arctan2(z + 32, -(y + 46))
        radius = np.hypot(z + 32, y + 46)
        leaf = np.abs(np.sin(10 * angle + 0.5 * self.fold_depth.at(half))) * radius / 10
        to_fluid = np.minimum(depth, np.hypot(leaf, np.maximum(depth - 15.0, 0)) - 0.5)
        yield Layer("gray", 18, np.maximum(-to_fluid, -depth))
        yield Layer("white", 19, 3.0 - to_fluid)
        yield Layer("white", 19, tube(half, ((9, -30, -31), (19, -48, -36)), (7, 5)))
        yield Layer("stem", 17, np.maximum(brain.stem, z - 1))
        yield Layer("csf", 6, tube(half, ((0, -44, -22), (0, -49.5, -32), (0, -45, -44)), (1.5, 4.5, 1.5)))
        yield Layer("csf", 0, tube(half, ((0, -31, -4), (0, -43, -20)), (1.3, 1.3)))


CORTEX_MM = 3.0
"""Thickness of the cortical ribbon, a typical mean over a human brain."""

MEANDER_MM = 2.5
"""Standard deviation of the bending of sulci in each direction."""

ASYMMETRY_MM = 1.6
"""Standard deviation of the left-right asymmetry in each direction."""


def _skin(half: Points, skull: Distance) -> Distance:
    """Distance to the skin, from points folded onto one side and their distance to the inside of the skull."""
    face = blend(ellipsoid(half, (0, 48, -48), (56, 48, 62)), ellipsoid(half, (0, 54, -86), (43, 38, 26)), 12.0)
    nose = tube(half, ((0, 82, -22), (0, 97, -50)), (7, 9.5))
    neck = tube(half, ((0, -30, -60), (0, -36, -160)), (54, 55))
    ear = ellipsoid(half, (79, -24, -28), (5, 15, 27), yaw_deg=-20)
    return blend(blend(blend(blend(skull - 13.0, face, 18.0), neck, 22.0), nose, 8.0), ear, 5.0)


def _shell(half: Points, brain: _Brain, wobble: Distance, texture: Distance) -> Iterator[Layer]:
    """Skin, fat, muscle, and the skull with marrow between its tables."""
    skin = _skin(half, brain.skull)
    yield Layer("skin", -1, skin)
    yield Layer("fat", 0, skin + 2.2)
    muscle = skin + 5.0 + 1.2 * wobble
    yield Layer("muscle", 0, muscle)
    yield Layer("fat", 0, np.maximum(muscle + 2.5, 3.0 * (1.1 - texture)))
    thickness = 6.5 + 1.0 * wobble
    yield Layer("bone", 0, brain.skull - thickness)
    yield Layer("marrow", 0, np.maximum(brain.skull - thickness + 1.7, 1.7 - brain.skull))


def _face(half: Points) -> Iterator[Layer]:
    yield Layer("bone", 0, tube(half, ((10, 86, -94), (36, 60, -92), (50, 18, -80), (53, 8, -45)), (6.5, 6, 5.5, 5)))
    yield Layer("marrow", 0, tube(half, ((10, 86, -94), (36, 60, -92), (50, 18, -80)), (3.5, 3.5, 3)))
    yield Layer("bone", 0, ellipsoid(half, (0, 64, -62), (38, 24, 20)))
    yield Layer("marrow", 0, ellipsoid(half, (0, 70, -72), (28, 16, 6)))
    yield Layer("fat", 0, ellipsoid(half, (30, 52, -34), (17, 27, 16), yaw_deg=-14))
    for across, up in ((11.5, 0.0), (-11.5, 0.0), (0.0, 11.0), (0.0, -11.0)):
        yield Layer("muscle", 0, tube(half, ((32 + across, 62, -34 + up), (19, 28, -27)), (1.8, 2.2)))
    yield Layer("white", 0, tube(half, ((31, 54, -34), (19, 26, -27), (7, 12, -20)), (2.2, 2.2, 2.2)))
    yield Layer("muscle", 0, ellipsoid(half, (32, 64, -34), (13.2, 13.2, 13.2)))
    yield Layer("eye", 0, ellipsoid(half, (32, 64, -34), (12, 12, 12)))
    yield Layer("lens", 0, ellipsoid(half, (32, 73, -34), (4.6, 2.2, 4.6)))


def _sinuses(half: Points, brain: _Brain) -> Iterator[Layer]:
    """Air, fluid between skull and brain, and the large vein under the vault."""
    x, y, z = half.T
    yield Layer("air", 0, ellipsoid(half, (28, 58, -62), (12, 15, 15)))
    yield Layer("air", 0, ellipsoid(half, (6, 68, -58), (3.6, 28, 17)))
    yield Layer("air", 0, ellipsoid(half, (8, 22, -34), (7, 11, 8)))
    yield Layer("air", 0, ellipsoid(half, (9, 79, -8), (10, 4, 9)))
    yield Layer("air", 0, tube(half, ((0, 40, -68), (0, 16, -72), (0, 10, -100), (0, 12, -150)), (7, 8, 8, 9)))
    yield Layer("csf", -1, brain.skull)
    vault = np.maximum(5 - z, 0) * (y > -80)
    yield Layer("blood", 0, np.maximum(np.hypot(np.hypot(x, brain.skull + 1.0), vault) - 3.2, brain.skull))


def _core(half: Points) -> Distance:
    """Distance to the middle of the brain, up to the corpus callosum."""
    return ellipsoid(half, (0, -5, -2), (26, 42, 29))


def _fissures(half: Points, wobble: Distance) -> Distance:
    """Distance to the cleft between the hemispheres, which ends at the corpus callosum, and to the one above the temporal lobe."""
    x, y, z = half.T
    between = np.hypot(x, np.maximum(-_core(half), 0)) - 0.9
    above = 0.93 * (z + 8 - 0.4 * (20 - y)) + 2.0 * wobble
    along = np.maximum(np.maximum(-42 - y, y - 28), 0)
    lateral = np.sqrt(above**2 + np.maximum(36 - x, 0) ** 2 + along**2) - 1.1
    bend = 36 + 1.5 * wobble - 0.004 * (y + 6) ** 2
    insula = np.sqrt((x - bend) ** 2 + np.maximum(np.abs(above) - 9, 0) ** 2 + np.maximum(along + 4 * (along > 0), 0) ** 2) - 0.9
    return np.asarray(np.minimum.reduce([between, lateral, insula]))


def _deep(half: Points, side: Distance) -> Iterator[Layer]:
    def both(right: int) -> Integer[np.ndarray, "n"]:
        return np.where(side >= 0, right, right + 1)

    yield Layer("thalamus", both(13), ellipsoid(half, (10.5, -18, 7), (8, 14, 8.5), yaw_deg=16))
    yield Layer("striatum", both(7), tube(half, ((15, 20, 5), (16.5, 2, 18), (21, -18, 21), (26, -32, 16)), (7.5, 4.6, 3, 2)))
    yield Layer("striatum", both(9), ellipsoid(half, (27, 2, 1), (5.6, 16, 10), yaw_deg=13))
    yield Layer("pallidum", both(11), ellipsoid(half, (20.3, -3, -1), (4.4, 9, 7), yaw_deg=22))
    yield Layer("gray", both(15), tube(half, ((25, -14, -20), (27, -24, -17), (25, -36, -7)), (5.5, 4.6, 3.2)))
    yield Layer("gray", 0, ellipsoid(half, (23, -3, -20), (7, 7, 6.5)))
    trunk = tube(half, ((10, 30, 4), (7.5, 10, 16), (8, -12, 20.5), (17, -34, 19), (24, -40, 13)), (5, 5.6, 5, 5.4, 6.6))
    horns = np.minimum(
        tube(half, ((24, -40, 13), (26, -55, 7), (25.7, -71, 4)), (6.6, 4.4, 3)),
        tube(half, ((24, -40, 13), (31, -36, -4), (35, -26, -14), (34, -10.8, -20)), (6.2, 3.6, 2.8, 2.8)),
    )
    yield Layer("csf", both(3), np.maximum(np.minimum(trunk, horns), 1.1 - half[:, 0]))
    yield Layer("csf", 5, ellipsoid(half, (0, -14, -4), (2.4, 15, 9)))


class _Brain(NamedTuple):
    cerebrum: Distance
    cerebellum: Distance
    stem: Distance
    skull: Distance


def _brain(half: Points) -> _Brain:
    _, y, z = half.T
    main = ellipsoid(half, (0, -18, 16), (69, 87, 61))
    hemisphere = ellipsoid(half, (28, -18, 20), (41, 85, 55))
    main = blend(main, hemisphere, 12.0)
    base = -(z + 16 + 0.12 * np.maximum(y - 10, 0) - 0.1 * np.minimum(y + 30, 0))
    main = -blend(-main, -base, 14.0)
    temporal = ellipsoid(half, (46, -16, -20), (21, 50, 24), yaw_deg=6, pitch_deg=-10)
    cerebellum = blend(ellipsoid(half, (24, -63, -36), (29, 27, 21), yaw_deg=-12), ellipsoid(half, (0, -67, -33), (14, 24, 22)), 6.0)
    axis = ((0, -22, -6), (0, -25, -18), (0, -25, -30), (0, -33, -48), (0, -40, -70), (0, -44, -130))
    stem = tube(half, axis, (17, 14, 14.5, 9, 6.5, 5.5))
    cerebrum = np.maximum(blend(main, temporal, 4.0), 2.5 - cerebellum)
    skull = blend(blend(blend(main, temporal, 22.0), cerebellum, 16.0) - 2.5, stem - 4.5, 5.0)
    return _Brain(cerebrum, cerebellum, stem, skull)
