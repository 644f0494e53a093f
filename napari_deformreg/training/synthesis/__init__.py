"""Synthetic training pairs: labels of random shapes or anatomy, a known motion, and images of any contrast made from them."""

from .command import settings_for_sheet, write_sheet
from .settings import SynthesisSettings
from .sheet import draw_sheet
from .source import SyntheticPairs

__all__ = ["SynthesisSettings", "SyntheticPairs", "draw_sheet", "settings_for_sheet", "write_sheet"]
