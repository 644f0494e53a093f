"""The registration engine; torch lives here and nowhere else."""

from .inverse import inverse_of_field
from .local_repair import inverse_near, repair_region
from .points_alone import register_points
from .resample import labels_at, nearest_voxels, resample, resample_labels
from .stages import register, register_steps

__all__ = [
    "inverse_near", "inverse_of_field", "labels_at", "nearest_voxels", "register", "register_points", "register_steps", "repair_region",
    "resample", "resample_labels",
]  # fmt: skip
