"""napari's readers: files -> layer data. Which files are ours is decided by name and, for tables, by header; opening them is io's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import DeformregError
from ..io import READERS, read_image, read_labels, read_landmarks
from . import layers
from .layers import LayerTuple

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
"""Read when they are dropped on a row; opened by napari itself otherwise."""

VOLUME_SUFFIXES = tuple(suffix for suffix in READERS if suffix not in PICTURES and not suffix.startswith((".hdr", ".img")))

VOLUME_FILTER = f"Images ({' '.join(f'*{suffix}' for suffix in READERS)})"
LANDMARK_FILTER = "Landmarks (*.csv *.tsv *.fcsv *.mrk.json *.pts *.txt)"

LABEL_WORDS = ("label", "seg", "mask", "atlas", "aparc", "aseg", "parcellation")
"""A file whose name holds one of these words, and whole numbers, is opened as labels."""

LABEL_OPACITY = 0.4
"""Of labels and masks: the image below stays readable, and both label maps of a pair are seen."""

ReaderFunction = Callable[[str | Sequence[str]], list[LayerTuple]]


def get_image_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """Accept single files by their suffix."""
    if isinstance(path, str) and path.lower().endswith(VOLUME_SUFFIXES):
        return read_volume_file
    return None


def get_landmark_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """Accept a table whose header says that it holds named points; decline every other one."""
    if not isinstance(path, str):
        return None
    try:
        read_landmarks(path)
    except (DeformregError, OSError):
        return None
    return lambda given: [read_layer(Path(str(given)), "points")]


def get_result_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """Accept a result folder."""
    from ..io import open_result_folder

    if not isinstance(path, str):
        return None
    try:
        open_result_folder(path)
    except (DeformregError, OSError):
        return None
    return read_result_folder


def read_volume_file(path: str | Sequence[str]) -> list[LayerTuple]:
    """Read an image, or a label map where name and values say so."""
    file = Path(str(path))
    looks_like_labels = any(word in file.name.lower() for word in LABEL_WORDS)
    if looks_like_labels:
        try:
            return [read_layer(file, "labels")]
        except DeformregError:
            pass  # Not whole numbers: an image with a misleading name.
    return [read_layer(file, "image")]


def read_result_folder(path: str | Sequence[str]) -> list[LayerTuple]:
    """Read the layers of a result folder."""
    from .pictures import picture_of_folder
    from .result_layers import result_layers

    return result_layers(picture_of_folder(str(path)))


def read_layer(path: Path, kind: str) -> LayerTuple:
    """Read a file as the layer of one kind: image, labels or points."""
    if kind == "points":
        entry = layers.points_layer(read_landmarks(path), name=path.stem)
    elif kind == "labels":
        entry = layers.labels_layer(read_labels(path), opacity=LABEL_OPACITY)
    else:
        entry = layers.image_layer(read_image(path))
    return with_file(entry, path)


def with_file(entry: LayerTuple, path: Path) -> LayerTuple:
    """Note in a layer's metadata which file it came from."""
    data, arguments, kind = entry
    metadata: dict[str, Any] = {**arguments["metadata"][layers.METADATA_KEY], "file": str(path)}
    return data, {**arguments, "metadata": {layers.METADATA_KEY: metadata}}, kind
