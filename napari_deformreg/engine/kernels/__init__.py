"""Fused kernels behind the plain functions; each has a plain-torch twin, here or in `losses`, that is its reference."""
