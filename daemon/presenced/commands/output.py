"""Exit statuses of the commands, and their messages on standard error."""

import sys

from presenced.system.journal import is_journal

DONE, FAILED, WRONG = 0, 1, 2
"""Exit statuses; WRONG is wrong usage or a wrong configuration."""


class CommandError(Exception):
    """The command has failed; the message says why, and what to do."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_line(text: str) -> None:
    """Print a line on standard output at once, also into a pipe."""
    print(text, flush=True)


def print_error(text: str) -> None:
    """Print a message on standard error, in the journal with the priority "error"."""
    # The journal gives lines the priority "info" unless they begin with another (sd-daemon(3)).
    level = "<3>" if is_journal(sys.stderr) else ""
    print(f"{level}{text}", file=sys.stderr)
