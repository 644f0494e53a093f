"""The registration engine; torch lives here and nowhere else."""

from .resample import resample, resample_labels
from .stages import register, register_steps

__all__ = ["register", "register_steps", "resample", "resample_labels"]
