"""Fused kernels behind the plain functions; each has a plain-torch twin that is its reference."""
