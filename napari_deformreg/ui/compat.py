"""What napari 0.9 calls differently than 0.7 and 0.8, under one name."""

from __future__ import annotations

from typing import Any


def _member(viewer: Any, new: tuple[str, ...], old: str) -> Any:
    """Look a thing up under its path of napari 0.9, else under its older name."""
    found = viewer
    for name in new:
        if name not in dir(found):
            return getattr(viewer, old)
        found = getattr(found, name)
    return found


def camera(viewer: Any) -> Any:
    """Return the viewer's camera."""
    return _member(viewer, ("scene", "camera"), "camera")


def look_at(viewer: Any, drawn: tuple[float, float, float]) -> None:
    """Put a place (mm along the last three axes) into the middle of the canvas, whichever two of the axes are displayed."""
    dims = viewer.dims
    shown = [axis - (dims.ndim - 3) for axis in dims.order[-3:]]
    camera(viewer).center = tuple(float(drawn[axis]) for axis in shown)


def text_overlay(viewer: Any) -> Any:
    """Return the text drawn over the canvas."""
    return _member(viewer, ("canvas", "overlays", "text"), "text_overlay")


def scale_bar(viewer: Any) -> Any:
    """Return the scale bar drawn over the canvas."""
    return _member(viewer, ("canvas", "overlays", "scale_bar"), "scale_bar")


def grid(viewer: Any) -> Any:
    """Return the settings of the grid mode, which shows layers side by side."""
    return _member(viewer, ("canvas", "grid"), "grid")


def canvas_size(viewer: Any) -> tuple[int, int]:
    """Return height and width of the canvas in pixels."""
    canvas = viewer.canvas if "canvas" in dir(viewer) else None
    return tuple(int(n) for n in canvas.size) if canvas is not None else (800, 600)  # type: ignore[return-value]
