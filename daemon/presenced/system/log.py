"""Structured logs for people at a terminal and for programs that read a journal."""

import logging
import math
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partialmethod
from types import SimpleNamespace
from typing import Any, Literal, TextIO

import structlog

from presenced.system.journal import (
    JOURNAL_SOCKET,
    Journal,
    JournalHandler,
    is_journal,
    render_entry,
)

_REPEAT_INTERVAL = 60.0
_REMEMBERED_LINES = 256

# Tracebacks have no local variables: these hold payloads, with principals and IP addresses.
_JSON = [
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    ),
    structlog.processors.JSONRenderer(),
]


def configure(
    level: str = "info",
    log_format: Literal["auto", "console", "json"] = "auto",
) -> None:
    """Send log lines to standard error as `console` text or as `json`.

    With `auto` they are entries with fields if standard error is the systemd journal, console text
    if it is a terminal, otherwise JSON.
    """
    processors: list[Any]
    if log_format == "auto" and is_journal(sys.stderr):
        journal = Journal(JOURNAL_SOCKET)
        write_line: Callable[[Any], None] = journal.write
        handler: logging.Handler = JournalHandler(journal)
        # The journal adds the time.
        processors = [structlog.processors.format_exc_info, render_entry]
    else:
        write_line = _write_line
        handler = logging.StreamHandler(sys.stderr)
        console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
        processors = [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([_console()] if console else _JSON),
        ]
    levels = ("debug", "info", "warning", "error", "critical")
    output = SimpleNamespace(**dict.fromkeys(levels, write_line))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; only their problems are of interest.
    logging.basicConfig(
        level=logging.WARNING, handlers=[handler], format="%(levelname)s %(name)s %(message)s"
    )


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,
        # Anyone can choose a client ID; quoted, it cannot send commands to the terminal.
        repr_native_str=True,
    )


def _write_line(line: str) -> None:
    write(sys.stderr, line + "\n")


def write(stream: TextIO, text: str) -> None:
    """Write complete lines; text that cannot be written is lost, and does not stop the daemon."""
    with suppress(OSError):
        stream.write(text)
        stream.flush()


def json_stream() -> TextIO | None:
    """Return the stream that log lines go to if they are JSON, None if not."""
    renderer = structlog.get_config()["processors"][-1]
    return sys.stderr if isinstance(renderer, structlog.processors.JSONRenderer) else None


def shows(level: Literal["info", "warning"]) -> bool:
    """Return whether lines of this level are written."""
    shown: bool = get_logger("").is_enabled_for(logging.getLevelName(level.upper()))
    return shown


def get_logger(name: str, **context: Any) -> Any:
    """Return a logger whose lines carry the name of their component, and the context.

    It follows later calls of `configure`; loggers made by its `bind` do not.
    """
    return structlog.get_logger(component=name, **context)


class ThrottledLogger:
    """Writes a repeated line once a minute; that line says how many were left out before it.

    Lines are repeats of each other if they have the same event and the same `key`, for example the
    client they are about. Each method returns whether the line was written. The last 256 different
    lines are remembered, so hostile input cannot fill the memory. Methods may be called from any
    thread.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._written: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def _log(self, method: str, event: str, *, key: Hashable = None, **fields: Any) -> bool:
        now = time.monotonic()
        with self._lock:
            at, left_out = self._written.get((event, key), (-math.inf, 0))
            if now - at < _REPEAT_INTERVAL:
                self._written[event, key] = (at, left_out + 1)
                return False
            self._written[event, key] = (now, 0)
            self._written.move_to_end((event, key))
            if len(self._written) > _REMEMBERED_LINES:
                self._written.popitem(last=False)
        if left_out:
            fields["repeats_left_out"] = left_out
        getattr(self._logger, method)(event, **fields)
        return True

    info = partialmethod(_log, "info")
    warning = partialmethod(_log, "warning")
    error = partialmethod(_log, "error")
    exception = partialmethod(_log, "exception")
