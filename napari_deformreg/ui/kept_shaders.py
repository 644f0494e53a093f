"""Keeps the shaders of meshes when only their vertices change.

vispy's mesh hands its shader a new function with every change of its data, although the same text comes out each time
(`MeshVisual._build_color_transform`), and builds, compiles and links the program anew for it: some ten milliseconds for each Vectors layer
and slice. Here all meshes whose colors need no scale share one function, as they share `_ensure_vec4_func` in vispy itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from vispy.visuals.mesh import MeshVisual

_NAME = "_build_color_transform"


@cache
def keep_shaders() -> bool:
    """Let meshes keep their shaders from now on; False where this vispy has no such function, and works as it always did."""
    build = getattr(MeshVisual, _NAME, None)
    if build is None:
        return False
    shared: dict[str, Any] = {}

    def build_once(mesh: Any, colors: Any) -> Any:
        """Build the function of the colors, or give the one that passes them on as they are."""
        if colors.ndim == 2 and colors.shape[1] == 1:
            return build(mesh, colors)  # Mapped with the mesh's own limits and colormap.
        if "plain" not in shared:
            shared["plain"] = build(mesh, colors)
        return shared["plain"]

    setattr(MeshVisual, _NAME, build_once)
    return True
