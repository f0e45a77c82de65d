"""How far a command has come, on standard error."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Never

_EVERY_ON_TERMINAL = 0.5
_EVERY = 60.0


class Progress:
    """Shows what `told` says: twice a second on a terminal, in one line; else once a minute."""

    def __init__(self, told: Callable[[], str]) -> None:
        self._told = told

    async def run(self) -> Never:
        """Show it until cancelled; on a terminal also the last of it."""
        terminal = sys.stderr.isatty()
        try:
            while True:
                await asyncio.sleep(_EVERY_ON_TERMINAL if terminal else _EVERY)
                self._show("\r\x1b[K" if terminal else "", "" if terminal else "\n")
        finally:
            if terminal:
                self._show("\r\x1b[K", "\n")

    def _show(self, before: str, after: str) -> None:
        sys.stderr.write(f"{before}{self._told()}{after}")
        sys.stderr.flush()


def count_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file; how many have been read is shown where a terminal shows it."""
    if not sys.stderr.isatty():
        yield from lines
        return
    shown_at = time.monotonic()
    number = 0
    for number, line in enumerate(lines, 1):
        yield line
        if time.monotonic() - shown_at > 0.2:
            shown_at = time.monotonic()
            sys.stderr.write(f"\r{number:,} lines")
            sys.stderr.flush()
    sys.stderr.write(f"\r{number:,} lines\n")
