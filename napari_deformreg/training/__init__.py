"""Training networks: pairs to learn from, and the loop that learns. Stands beside `workflow`; nothing that registers needs it."""

from .command import run_training
from .config import TrainingConfig
from .pairs import PairSource, TrainingPair
from .run import TrainingPlan, train, train_steps
from .trainer import TrainingOutcome

__all__ = ["PairSource", "TrainingConfig", "TrainingOutcome", "TrainingPair", "TrainingPlan", "run_training", "train", "train_steps"]
