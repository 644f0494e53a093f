"""Random numbers that are a function of a seed and of what they are for: resuming and sharing out work then need no state."""

from __future__ import annotations

import hashlib

import torch


def number_from(seed: int, purpose: str, index: int) -> int:
    """Derive a seed below 2^63 for one purpose and number; different ones are unrelated."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seeded(seed: int, purpose: str, index: int) -> torch.Generator:
    """Return a generator on the CPU, whatever device the work is on."""
    return torch.Generator().manual_seed(number_from(seed, purpose, index))
