"""How a file looks that was opened for a part in a registration: fixed and moving told apart, and the image below left to be seen."""

from __future__ import annotations

from typing import Any

from . import result_layers as parts
from .layers import LayerTuple

OUTLINE_VOX = 1
"""Width of a mask's outline, in voxels."""

BORDER = 0.15
"""Width of a landmark's border, as a part of its diameter."""


def dressed(entry: LayerTuple, role: str) -> LayerTuple:
    """Give a layer the color of its side; a mask is outlined, a landmark a circle. Images and labels stay as they are.

    Parameters
    ----------
    entry : layer tuple
        As a reader made it.
    role : str
        What it was opened for: ``fixed``, ``moving_mask``, ``fixed_landmarks``, ...
    """
    color = parts.FIXED_COLOR if role.startswith("fixed") else parts.MOVED_COLOR
    own: dict[str, Any] = {}
    if role.endswith("_mask"):
        own = {"contour": OUTLINE_VOX, "opacity": 1.0, "colormap": {None: color, 0: "transparent"}}
    elif role.endswith("_landmarks"):
        own = {"face_color": "transparent", "border_color": color, "border_width": BORDER}
    data, arguments, kind = entry
    return data, {**arguments, **own}, kind
