"""The registration engine; torch lives here and nowhere else."""

from .inverse import inverse_of_field
from .resample import resample, resample_labels
from .stages import register, register_steps

__all__ = ["inverse_of_field", "register", "register_steps", "resample", "resample_labels"]
