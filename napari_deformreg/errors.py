"""The errors this package raises on purpose.

None of them is a ``RuntimeError``: superqt 0.9 swallows a RuntimeError raised inside a generator worker, and the dock would wait for ever.
Every message says what was expected, what came, and what to do.
"""


class DeformregError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(DeformregError, ValueError):
    """The user's input cannot be used: wrong kind, wrong shape, wrong values."""


class FileFormatError(InputError):
    """A file cannot be read or written as what it claims to be."""


class SettingsError(InputError):
    """A setting is unknown, out of bounds or at odds with another one."""


class EngineError(DeformregError):
    """The computation itself failed (out of memory, device lost)."""


class OutOfMemoryError(EngineError):
    """The device has too little memory for this computation."""


class Cancelled(DeformregError):
    """The user asked the run to stop; nothing was written."""
