"""The progress of a command, on standard error."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Never


async def show_progress(text: Callable[[], str]) -> Never:
    """Show a text until cancelled: in one line of a terminal twice a second, else once a minute."""
    terminal = sys.stderr.isatty()
    before, after = ("\r\x1b[K", "") if terminal else ("", "\n")
    try:
        while True:
            await asyncio.sleep(0.5 if terminal else 60.0)
            _write(f"{before}{text()}{after}")
    finally:
        if terminal:
            _write(f"{before}{text()}\n")


def count_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines; show how many have been read if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from lines
        return
    shown_at = time.monotonic()
    number = 0
    for number, line in enumerate(lines, 1):
        yield line
        if time.monotonic() - shown_at > 0.2:
            shown_at = time.monotonic()
            _write(f"\r{number:,} lines")
    _write(f"\r{number:,} lines\n")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
