"""Interactive deformable registration of medical images, and the means to judge it.

Importing this package loads neither torch nor Qt; names are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("napari-deformreg")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from .engine import register, register_steps
    from .errors import DeformregError, InputError
    from .io import read_image, read_labels, read_landmarks
    from .result import RegistrationResult
    from .settings import Settings
    from .space import AffineTransform, DisplacementField, Grid, LabelMap, LandmarkPairs, Landmarks, TransformChain, Volume
    from .workflow import Inputs, Outcome, run

_HOMES = {
    "register": ".engine", "register_steps": ".engine",
    "DeformregError": ".errors", "InputError": ".errors",
    "read_image": ".io", "read_labels": ".io", "read_landmarks": ".io",
    "RegistrationResult": ".result", "Settings": ".settings",
    "AffineTransform": ".space", "DisplacementField": ".space", "Grid": ".space", "LabelMap": ".space", "LandmarkPairs": ".space",
    "Landmarks": ".space", "TransformChain": ".space", "Volume": ".space",
    "Inputs": ".workflow", "Outcome": ".workflow", "run": ".workflow",
}

__all__ = [
    "AffineTransform", "DeformregError", "DisplacementField", "Grid", "InputError", "Inputs", "LabelMap", "LandmarkPairs", "Landmarks",
    "Outcome", "RegistrationResult", "Settings", "TransformChain", "Volume", "__version__", "read_image", "read_labels", "read_landmarks",
    "register", "register_steps", "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
