"""Synthetic training pairs: labels of random shapes or anatomy, a known motion, and images of any contrast made from them."""

from .settings import SynthesisSettings
from .source import SyntheticPairs

__all__ = ["SynthesisSettings", "SyntheticPairs"]
