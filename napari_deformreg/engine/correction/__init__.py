"""Local corrections of a finished registration, by landmark pairs and by regions."""

from .session import CorrectionSession

__all__ = ["CorrectionSession"]
