"""Things placed in the world: grids, volumes, landmarks and the transforms between them (RAS+ mm, numpy only)."""

from .box import Box, Region
from .color import color_notice, gray_of_colors
from .grid import Grid
from .landmarks import LandmarkPairs, Landmarks
from .transforms import AffineTransform, DisplacementField, InversePoints, Transform, TransformChain, invert_points
from .volume import LabelMap, Volume

__all__ = [
    "AffineTransform", "Box", "DisplacementField", "Grid", "InversePoints", "LabelMap", "LandmarkPairs", "Landmarks", "Region",
    "Transform", "TransformChain", "Volume", "color_notice", "gray_of_colors", "invert_points",
]
