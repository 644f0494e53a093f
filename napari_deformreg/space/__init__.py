"""Things placed in the world: grids, volumes, landmarks and the transforms between them (RAS+ mm, numpy only)."""

from .grid import Grid
from .landmarks import LandmarkPairs, Landmarks
from .transforms import AffineTransform, DisplacementField, InversePoints, Transform, TransformChain, invert_points
from .volume import LabelMap, Volume

__all__ = [
    "AffineTransform", "DisplacementField", "Grid", "InversePoints", "LabelMap", "LandmarkPairs", "Landmarks", "Transform",
    "TransformChain", "Volume", "invert_points",
]
