"""Structured logs for people on a terminal and for programs in a journal."""

import logging
import math
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog

from presenced.system.journal import (
    Journal,
    JournalHandler,
    JournalLogger,
    is_journal,
    render_entry,
)

_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(level: str = "info", log_format: Literal["auto", "console", "json"] = "auto") -> None:
    """Send log lines to standard error, as `console` text or `json`.

    `auto` is entries with fields where standard error is the systemd journal, console text where it
    is a terminal, else json.
    """
    if log_format == "auto" and is_journal(sys.stderr):
        _configure_journal(level, Journal())
        return
    # Tracebacks without local variables: those hold payloads, with principals and IP addresses.
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
            # Client IDs are anybody's; quoted, they cannot command a terminal.
            repr_native_str=True,
        )
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if console else [structlog.processors.ExceptionRenderer(_TRACEBACK)]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _StreamLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; only what went wrong in them is of interest.
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def _configure_journal(level: str, journal: Journal) -> None:
    """Entries of the journal. It adds the time, and its standard traceback has no variables."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, render_entry],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: JournalLogger(journal),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[JournalHandler(journal)])


class _StreamLogger:
    """What structlog wraps: writes lines. One that cannot be written must not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        write(self._stream, line + "\n")

    debug = info = warning = error = critical = msg


def json_stream() -> TextIO | None:
    """Where lines go, if they are json; None where they have another format."""
    renderer = structlog.get_config()["processors"][-1]
    return sys.stderr if isinstance(renderer, structlog.processors.JSONRenderer) else None


def shows(level: Literal["info", "warning"]) -> bool:
    """Whether lines of this level are written."""
    shown: bool = get_logger("").is_enabled_for(logging.getLevelName(level.upper()))
    return shown


def write(stream: TextIO, text: str) -> None:
    """Write text that ends with a line; what cannot be written is lost."""
    with suppress(OSError):
        stream.write(text)
        stream.flush()


def get_logger(name: str, **context: Any) -> Any:
    """A logger whose lines carry the name of the part they come from, and its context.

    It follows later calls of `configure`; what its own `bind` makes does not.
    """
    return structlog.get_logger(component=name, **context)


class ThrottledLogger:
    """Writes a repeated line once per interval; that line says how many were left out before it.

    Lines are repeats of each other if they have the same event and the same `key`, for example the
    client they are about. `interval` is in seconds. At most `capacity` different lines are
    remembered, so that hostile input cannot fill the memory; the one written longest ago is
    forgotten first. May be called from any thread.
    """

    def __init__(
        self,
        logger: Any,
        interval: float = 60.0,
        *,
        capacity: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._written: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def info(self, event: str, *, key: Hashable = None, **fields: Any) -> bool:
        """Write an info line unless it is a repeat; return whether it was written."""
        return self._write(self._logger.info, event, key, fields)

    def warning(self, event: str, *, key: Hashable = None, **fields: Any) -> bool:
        """Write a warning unless it is a repeat; return whether it was written."""
        return self._write(self._logger.warning, event, key, fields)

    def error(self, event: str, *, key: Hashable = None, **fields: Any) -> bool:
        """Write an error unless it is a repeat; return whether it was written."""
        return self._write(self._logger.error, event, key, fields)

    def exception(self, event: str, *, key: Hashable = None, **fields: Any) -> bool:
        """Write an error with the exception being handled, unless it is a repeat.

        Return whether it was written.
        """
        return self._write(self._logger.exception, event, key, fields)

    def _write(
        self, write: Callable[..., None], event: str, key: Hashable, fields: dict[str, Any]
    ) -> bool:
        now = self._clock()
        with self._lock:
            at, left_out = self._written.get((event, key), (-math.inf, 0))
            if now - at < self._interval:
                self._written[event, key] = (at, left_out + 1)
                return False
            self._written[event, key] = (now, 0)
            self._written.move_to_end((event, key))
            if len(self._written) > self._capacity:
                self._written.popitem(last=False)
        if left_out:
            fields["repeats_left_out"] = left_out
        write(event, **fields)
        return True
