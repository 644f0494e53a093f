"""The napari door: Volume, LabelMap and Landmarks <-> layers; the only place that knows napari's reversed axes.

napari draws an oblique array wrong in 2-D and crashes on permuted axes. So every array is turned to RAS+ axes, drawn axis-aligned with its
own spacing (millimeters, axes z, y, x) around its true center, and its true place is kept in the layer's metadata. For an array that is
axis-aligned already, what the status bar shows are RAS millimeters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ..errors import InputError
from ..space import Grid, LabelMap, Landmarks, Volume, color_notice, gray_of_colors
from ..space.orientation import axis_codes, reorient
from .contrast import contrast_limits

METADATA_KEY = "napari-deformreg"
AXIS_LABELS = ("z", "y", "x")
UNITS = "mm"

LayerTuple = tuple[Any, dict[str, Any], str]

_REVERSE = np.eye(4)[[2, 1, 0, 3]]


@dataclass(frozen=True, eq=False)
class Placement:
    """How one grid is drawn.

    Parameters
    ----------
    grid : Grid
        The grid as it is in the world, any axis order, flipped or oblique.
    """

    grid: Grid

    @cached_property
    def canonical(self) -> Grid:
        """The same voxels with axes nearest to RAS+."""
        return reorient(np.broadcast_to(np.uint8(0), self.grid.shape), self.grid)[1]

    @cached_property
    def spacing(self) -> Float[np.ndarray, "3"]:
        """Millimeters between drawn voxels along x, y, z."""
        return self.canonical.spacing

    @cached_property
    def origin(self) -> Float[np.ndarray, "3"]:
        """Drawn place (x, y, z) of the first canonical voxel; the array's center is drawn where it truly is."""
        return np.asarray(self.canonical.center - self.spacing * (np.array(self.canonical.shape) - 1) / 2)

    @cached_property
    def display_affine(self) -> Float[np.ndarray, "4 4"]:
        """Canonical voxels to drawn millimeters (x, y, z): diagonal."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    @cached_property
    def display_to_world(self) -> Float[np.ndarray, "4 4"]:
        """Drawn millimeters (x, y, z) to RAS+ mm: the identity for an axis-aligned grid."""
        return np.asarray(self.canonical.affine @ np.linalg.inv(self.display_affine))

    @property
    def layer_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a napari layer whose data are in canonical voxels, reversed."""
        return {
            "scale": tuple(float(n) for n in self.spacing[::-1]),
            "translate": tuple(float(n) for n in self.origin[::-1]),
            "units": UNITS,
            "axis_labels": AXIS_LABELS,
            "metadata": {METADATA_KEY: {"display_to_world": self.display_to_world.tolist(), "axis_codes": axis_codes(self.grid)}},
        }

    def to_layer_array(self, data: Shaped[np.ndarray, "i j k *rest"]) -> Shaped[np.ndarray, "z y x *rest"]:
        """Turn an array on the grid into napari's order (a view; trailing axes are kept)."""
        turned, _ = reorient(data, self.grid)
        return np.asarray(turned.transpose(2, 1, 0, *range(3, data.ndim)))

    def to_layer_points(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to this placement's layer coordinates (voxels z, y, x)."""
        return np.asarray(self.canonical.world_to_voxel(np.asarray(points, dtype=np.float64).reshape(-1, 3))[:, ::-1])

    def drawn(self, point_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Tell where a RAS+ mm point is drawn: mm along z, y, x of the viewer's world."""
        voxel = self.to_layer_points(np.array([point_mm]))[0]
        z, y, x = voxel * self.spacing[::-1] + self.origin[::-1]
        return float(z), float(y), float(x)

    def to_drawn(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm points to where they are drawn in the viewer's world (mm along z, y, x)."""
        return np.asarray(self.to_layer_points(points) * self.spacing[::-1] + self.origin[::-1])

    def to_world(self, drawn: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry places of the viewer's world (mm along z, y, x) to the RAS+ mm points that are drawn there."""
        matrix = self.display_to_world
        return np.asarray(np.asarray(drawn, dtype=np.float64).reshape(-1, 3)[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])

    def to_layer_vectors(self, vectors_mm: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Carry RAS+ mm vectors to this placement's layer coordinates (voxels z, y, x), in which they are drawn as millimeters."""
        return np.asarray((vectors_mm @ self.canonical.world_to_voxel_matrix[:3, :3].T)[:, ::-1])


def image_layer(volume: Volume, **arguments: Any) -> LayerTuple:
    """Turn a volume into an Image layer."""
    placement = Placement(volume.grid)
    given = {"name": volume.name, "contrast_limits": contrast_limits(volume.data), **arguments}
    return placement.to_layer_array(volume.data), {**placement.layer_arguments, **given}, "image"


def labels_layer(labels: LabelMap, **arguments: Any) -> LayerTuple:
    """Turn a label map into a Labels layer; the structures' names become its features."""
    placement = Placement(labels.grid)
    given: dict[str, Any] = {"name": labels.name, **arguments}
    if labels.label_names:
        given.setdefault("features", name_features(labels.label_names))
    return placement.to_layer_array(_compact(labels.data)), {**placement.layer_arguments, **given}, "labels"


def name_features(names: Mapping[int, str]) -> pd.DataFrame:
    """Give the features of a Labels layer that name its structures where the mouse is."""
    rows = {0: "background", **names}
    return pd.DataFrame({"index": list(rows), "name": list(rows.values())})


def _compact(labels: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "i j k"]:
    """Give labels one byte each where that leaves room for more, else two: for wider ones napari compiles code in the GUI thread."""
    largest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or largest > np.iinfo(np.uint16).max:
        return labels
    return labels.astype(np.uint8 if largest <= np.iinfo(np.uint8).max // 2 else np.uint16)


def points_layer(
    landmarks: Landmarks, placement: Placement | None = None, size_mm: float = 5.0, features: dict[str, Any] | None = None, **arguments: Any
) -> LayerTuple:
    """Turn landmarks into a Points layer that is drawn with the image of that placement (RAS millimeters without one).

    One unit of the layer is the points' diameter. So they are round on anisotropic images too, and a point is shown on every slice that its
    sphere meets: napari shows what lies within half a unit.
    """
    placement = placement or Placement(Grid((1, 1, 1), np.eye(4)))
    # Not below the image's spacing: the finest layer decides how far one step of the slider goes.
    size_mm = max(size_mm, float(placement.spacing.max()))
    own = {**placement.layer_arguments, "scale": (size_mm,) * 3}
    drawn = placement.to_layer_points(landmarks.points) * placement.spacing[::-1] / size_mm
    table = pd.DataFrame({"name": list(landmarks.names), **(features or {})})
    return drawn, {**own, "size": 1, "features": table, **arguments}, "points"


@dataclass(frozen=True, eq=False)
class LayerSnapshot:
    """What a registration needs of an Image or Labels layer, taken on the GUI thread; its array is read later, off it.

    Attributes
    ----------
    data : array-like
        The layer's array (numpy, dask, ...), axes y, x or z, y, x; then colors, if it has any.
    affine : (4, 4) float array
        Its voxels in order x, y, z to RAS+ mm.
    codes : str or None
        Axis order of the file it came from, if it is known.
    """

    name: str
    data: Any
    affine: Float[np.ndarray, "4 4"]
    codes: str | None
    notices: tuple[str, ...]
    label_names: dict[int, str]
    has_colors: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        spatial = tuple(int(n) for n in (self.data.shape[:-1] if self.has_colors else self.data.shape)[-3:])
        return (1, *spatial) if len(spatial) == 2 else (spatial[0], spatial[1], spatial[2])

    def volume(self) -> Volume:
        """Read the array as a volume; of colors one gray value is taken, with a notice."""
        data, grid = self._placed()
        if not self.has_colors:
            return Volume(data, grid, self.name, self.notices)
        gray, words = gray_of_colors(data)
        return Volume(gray, grid, self.name, (*self.notices, color_notice(self.name, words)))

    def label_map(self) -> LabelMap:
        """Read the array as a label map."""
        if self.has_colors:
            raise InputError(f"Layer {self.name!r} is a color image; expected whole numbers as labels or mask. Choose a Labels layer.")
        data, grid = self._placed()
        if data.dtype.kind == "f" and not np.array_equal(data, np.round(data)):
            raise InputError(f"Layer {self.name!r} has fractions; expected whole numbers as labels or mask. Convert it to a Labels layer.")
        return LabelMap(data.astype(np.int32), grid, self.name, self.label_names, self.notices)

    def _placed(self) -> tuple[Shaped[np.ndarray, "i j k *colors"], Grid]:
        array = np.asarray(self.data)
        colors = array.shape[-1:] if self.has_colors else ()
        array = np.moveaxis(array.reshape(*self.shape, *colors), (0, 1, 2), (2, 1, 0))
        grid = Grid((array.shape[0], array.shape[1], array.shape[2]), self.affine)
        return reorient(array, grid, self.codes) if self.codes else (array, grid)


def snapshot(layer: Any) -> LayerSnapshot:
    """Take what a registration needs of an Image or Labels layer; call it on the GUI thread.

    Raises
    ------
    InputError
        If the layer is no single image in two or three axes.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    has_colors = bool(getattr(layer, "rgb", False))
    extra = [int(n) for n in data.shape[: -4 if has_colors else -3]]
    if max(extra, default=1) > 1:
        raise InputError(
            f"Layer {layer.name!r} holds {int(np.prod(extra))} volumes (shape {tuple(data.shape)}); expected one. "
            "Right-click it and choose 'Split Stack', then pick one."
        )
    affine, notices = _layer_affine(layer)
    known = _own_metadata(layer)
    display_to_world = np.array(known["display_to_world"]) if known else np.eye(4)
    return LayerSnapshot(layer.name, data, display_to_world @ affine, known.get("axis_codes"), notices, _label_names(layer), has_colors)


def placement_of(layer: Any) -> Placement:
    """Tell where an Image or Labels layer lies in the world and how it would be drawn by us."""
    taken = snapshot(layer)
    canonical = Grid((taken.shape[2], taken.shape[1], taken.shape[0]), taken.affine)
    if taken.codes is None:
        return Placement(canonical)
    return Placement(reorient(np.broadcast_to(np.uint8(0), canonical.shape), canonical, taken.codes)[1])


def is_drawn_as(layer: Any, placement: Placement) -> bool:
    """Tell whether a layer's array is drawn exactly where results of this placement are drawn."""
    affine, _ = _layer_affine(layer)
    return bool(np.allclose(affine, placement.display_affine, atol=1e-3)) and Placement(placement_of(layer).grid).grid == placement.grid


def shares_voxels(layer: Any, placement: Placement) -> bool:
    """Tell whether a Labels layer has the voxels of an image of this placement, as far as they are drawn."""
    shape = tuple(int(n) for n in layer.data.shape[::-1])
    affine, _ = _layer_affine(layer)
    return shape == tuple(placement.canonical.shape) and bool(np.allclose(affine, placement.display_affine, atol=1e-3))


def landmarks_from_layer(layer: Any, image_layer: Any | None = None) -> Landmarks:
    """Read a Points layer as landmarks in RAS+ mm; names come from its ``name`` feature, else the points are numbered from 1.

    Parameters
    ----------
    layer : Points layer
        2-D points lie on the only slice of their image.
    image_layer : Image layer, optional
        The image on which the points were placed: its true position decides where they are, unless the points carry their own.

    Raises
    ------
    InputError
        If the layer is empty, or its points have more than three coordinates.
    """
    if not len(layer.data):
        raise InputError(f"Points layer {layer.name!r} is empty; place landmarks in it, or choose none.")
    if layer.ndim > 3:
        raise InputError(f"Points layer {layer.name!r} has {layer.ndim} axes; expected 2 or 3.")
    return Landmarks(rows_in_world(layer, layer.data, image_layer), _point_names(layer))


def rows_in_world(layer: Any, rows: Any, image_layer: Any | None = None) -> Float[np.ndarray, "n 3"]:
    """Carry data coordinates of a layer (z, y, x or y, x) to RAS+ mm; see `landmarks_from_layer`."""
    affine, _ = _layer_affine(layer)
    voxels = np.asarray(rows, dtype=np.float64)
    voxels = np.concatenate([np.zeros((len(voxels), 3 - voxels.shape[1])), voxels], axis=1)[:, ::-1]
    drawn = voxels @ affine[:3, :3].T + affine[:3, 3]
    known = _own_metadata(layer) or (_own_metadata(image_layer) if image_layer is not None else {})
    if known:
        display_to_world = np.array(known["display_to_world"])
        drawn = drawn @ display_to_world[:3, :3].T + display_to_world[:3, 3]
    return np.asarray(drawn)


def layer_to_world(layer: Any, image: Placement) -> Float[np.ndarray, "4 4"]:
    """Return what carries a layer's own coordinates, in order x, y, z, to RAS+ mm.

    Parameters
    ----------
    layer : Points, Shapes or Labels layer
        One that does not say itself where in the world it lies was drawn on that image; one of two axes lies on the image's only slice.
    image : Placement
        How the image is drawn.

    Raises
    ------
    InputError
        If the layer has other axes than the image.
    """
    if layer.ndim not in (2, 3):
        raise InputError(f"Layer {layer.name!r} has {layer.ndim} axes; expected 2 or 3. Right-click it and choose 'Split Stack'.")
    affine, _ = _layer_affine(layer)
    if layer.ndim == 2:
        slices = image.canonical.shape[2]
        if slices != 1:
            raise InputError(
                f"Layer {layer.name!r} has two axes, the image it was drawn on {slices} slices; expected one of three axes: "
                "select the image first, then make the new layer."
            )
        affine[2, 2:] = image.spacing[2], image.origin[2]
    known = _own_metadata(layer)
    return np.asarray((np.array(known["display_to_world"]) if known else image.display_to_world) @ affine)


def _layer_affine(layer: Any) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """Read a layer's own transform (any scale, rotation, ...) as voxels x, y, z to drawn millimeters x, y, z, with notices."""
    ndim = layer.ndim
    corners = [layer.data_to_world(tuple(float(axis == k) for k in range(ndim))) for axis in range(-1, ndim)]
    origin = np.asarray(corners[0])[-3:]
    columns = np.stack([np.asarray(corner)[-3:] for corner in corners[1:]], 1)[:, -3:] - origin[:, None]
    size = len(origin)
    affine = np.eye(4)
    affine[3 - size : 3, 3 - size : 3] = columns
    affine[3 - size : 3, 3] = origin
    factors, notices = _millimeters(layer)
    affine[3 - size : 3] *= np.array(factors[-3:])[:, None]
    return np.asarray(_REVERSE @ affine @ _REVERSE), notices


def _millimeters(layer: Any) -> tuple[list[float], tuple[str, ...]]:
    """Tell how many millimeters one unit of each of the layer's axes is; an axis in pixels is taken for millimeters, with a notice."""
    factors = []
    assumed = False
    for unit in layer.units:
        if str(unit) == "pixel" or not (1 * unit).check("[length]"):
            assumed = True
            factors.append(1.0)
        else:
            factors.append(float((1 * unit).to("millimeter").magnitude))
    notice = (
        f"Layer {layer.name!r} has no length unit: its scale was taken as millimeters and its axes as z, y, x (superior, anterior, right)."
    )
    return factors, (notice,) if assumed else ()


def is_placed(layer: Any) -> bool:
    """Tell whether a layer was made by this module, so that its axes point to the superior, anterior and right side."""
    return bool(_own_metadata(layer))


def _own_metadata(layer: Any) -> dict[str, Any]:
    known = layer.metadata.get(METADATA_KEY) if isinstance(layer.metadata, dict) else None
    return dict(known) if isinstance(known, dict) and "display_to_world" in known else {}


def _label_names(layer: Any) -> dict[int, str]:
    features = getattr(layer, "features", None)
    if features is None or "index" not in features or "name" not in features:
        return {}
    return {int(n): str(name) for n, name in zip(features["index"], features["name"], strict=True) if int(n) != 0}


def _point_names(layer: Any) -> tuple[str, ...]:
    column: Sequence[Any] = list(layer.features["name"]) if "name" in layer.features else [None] * len(layer.data)
    names = ["" if n is None or pd.isna(n) else str(n).strip() for n in column]
    if "" in names and len(set(filter(None, names))) == 0:
        return tuple(str(n + 1) for n in range(len(names)))
    if "" in names:
        raise InputError(
            f"Points layer {layer.name!r}: point {names.index('') + 1} has no name. Name every point in its features, or none."
        )
    return tuple(names)


def file_of(layer: Any) -> str | None:
    """Tell which file a layer came from, as far as it is known."""
    known = _own_metadata(layer).get("file") or layer.source.path
    return str(known) if known else None
