"""Synthetic pairs of images whose true transform is known exactly, both ways: for tests, sample data and demos.

Fixed and moving are each rendered straight from one analytic anatomy, never one from the other, and each gets its own noise, shading and
brightness; so nothing in the pair gives the transform away but the anatomy.
"""

from __future__ import annotations

from .pairs import PhantomPair, head_pair, slice_pair, small_pair

__all__ = ["PhantomPair", "head_pair", "slice_pair", "small_pair"]
