"""Training networks: pairs to learn from, and the loop that learns. Stands beside `workflow`; nothing that registers needs it."""

from .pairs import PairSource, TrainingPair

__all__ = ["PairSource", "TrainingPair"]
