"""What a result says at one place: values of the voxel there, displacement, and where the place goes. Qt-free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ..space import TransformChain, Volume
from .layers import Placement
from .pictures import ResultPicture

NOTHING = "–"


@dataclass(frozen=True, eq=False)
class Reading:
    """What is under the cursor.

    Attributes
    ----------
    world_mm : (3,) float array
        The place, RAS+ mm of the fixed image.
    mapped_mm : (3,) float array
        Where fixed_to_moving carries it, affine included: RAS+ mm of the moving image.
    displacement_mm : (3,) float array
        The deformable part of it, interpolated; zero outside the field.
    fixed, moved, before, jacobian : float or None
        Values of the voxel that holds the place, as it is drawn; None outside the image.
    """

    world_mm: Float[np.ndarray, "3"]
    mapped_mm: Float[np.ndarray, "3"]
    displacement_mm: Float[np.ndarray, "3"]
    fixed: float | None
    moved: float | None
    before: float | None
    jacobian: float | None


@dataclass(frozen=True, eq=False)
class Probe:
    """Reads one result anywhere.

    Parameters
    ----------
    picture : ResultPicture
        The result.
    """

    picture: ResultPicture

    @cached_property
    def placement(self) -> Placement:
        """How the fixed grid is drawn."""
        return Placement(self.picture.displacement.grid)

    @cached_property
    def chain(self) -> TransformChain:
        """fixed_to_moving: the displacement first, then the affine."""
        return TransformChain((self.picture.displacement, self.picture.affine))

    def at_drawn(self, place: tuple[float, ...]) -> Reading:
        """Read at a place of the viewer's world (mm along z, y, x)."""
        matrix = self.placement.display_to_world
        return self.at(np.asarray(place[-3:], dtype=np.float64)[::-1] @ matrix[:3, :3].T + matrix[:3, 3])

    def at(self, world_mm: Float[np.ndarray, "3"]) -> Reading:
        """Read at a world point (RAS+ mm)."""
        picture, points = self.picture, np.asarray(world_mm, dtype=np.float64).reshape(1, 3)
        return Reading(
            world_mm=points[0],
            mapped_mm=self.chain.map(points)[0],
            displacement_mm=picture.displacement.displacement_at(points)[0],
            fixed=voxel_value(picture.fixed, points),
            moved=voxel_value(picture.moved, points),
            before=voxel_value(picture.moving_before, points),
            jacobian=voxel_value(picture.jacobian, points),
        )


def voxel_value(volume: Volume | None, points: Float[np.ndarray, "1 3"]) -> float | None:
    """Give the value of the voxel whose body holds a world point; None outside the image or without one."""
    if volume is None:
        return None
    voxel = np.floor(volume.grid.world_to_voxel(points)[0] + 0.5).astype(int)
    if (voxel < 0).any() or (voxel >= np.array(volume.grid.shape)).any():
        return None
    return float(volume.data[tuple(voxel)])


def reading_lines(reading: Reading | None) -> tuple[tuple[str, str], ...]:
    """Write a reading for people: titles and values."""
    titles = ("fixed", "moved", "before", "volume", "moves by", "here", "in moving")
    if reading is None:
        return tuple((title, NOTHING) for title in titles)
    u = reading.displacement_mm
    values = (
        _value(reading.fixed),
        _value(reading.moved),
        _value(reading.before),
        NOTHING if reading.jacobian is None else f"{reading.jacobian:.2f} ({volume_change(reading.jacobian)})",
        f"{np.linalg.norm(u):.1f} mm ({_triple(u, '+.1f')})",
        f"{_triple(reading.world_mm)} mm",
        f"{_triple(reading.mapped_mm)} mm",
    )
    return tuple(zip(titles, values, strict=True))


def volume_change(jacobian: float) -> str:
    """Say what a determinant means: the change of volume from fixed to moving, or a fold."""
    return "folded" if jacobian <= 0 else f"{100 * (jacobian - 1):+.0f} %"


def _value(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"


def _triple(vector: Float[np.ndarray, "3"], form: str = ".1f") -> str:
    return ", ".join(format(float(n) + 0.0, form) for n in vector)
