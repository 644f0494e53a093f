"""The command line: ``deformreg register | apply | apply-points | evaluate | review | view | demo | phantom | train | …``.

Thin: it parses words, shows progress and turns the user's mistakes into one line. The work is in `workflow` and `training`, imported only
when a command needs it, so that ``deformreg --help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import Cancelled, DeformregError, InputError
from .closed_pipe import quiet_at_closed_pipe
from .networks import add_network_commands
from .progress import ProgressLine, step_text
from .registration import add_registration_commands
from .review import add_review_command

USER_MISTAKE, INTERRUPTED = 2, 130
"""Exit codes: 2 as argparse's own, 130 as shells report an interrupt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    with quiet_at_closed_pipe():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    try:
        words = _parser().parse_args(argv)
        words.command(words)
    except Cancelled as error:
        print(f"deformreg: {error}", file=sys.stderr)
        return INTERRUPTED
    except DeformregError as error:
        print(f"deformreg: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("deformreg: cancelled; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other mistake is told."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deformreg", description="Deformable registration of medical images, and the means to judge it.")
    parser.add_argument("--version", action="version", version=f"deformreg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_registration_commands(commands)
    add_review_command(commands)
    add_network_commands(commands)
    return parser


__all__ = ["INTERRUPTED", "USER_MISTAKE", "ProgressLine", "main", "step_text"]
