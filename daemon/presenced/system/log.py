"""Structured logs for people at a terminal and for programs that read a journal."""

import logging
import math
import os
import re
import sys
import threading
import time
import traceback
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
    is_journal,
    render_entry,
)

_REPEAT_INTERVAL = 60.0
_REMEMBERED_LINES = 256
_MAX_CAUSES = 5
# Their messages and exceptions may repeat requests.
_WEB_SERVER = ("aiohttp", "asyncio")

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
        write_line: Callable[[Any], None] = Journal(JOURNAL_SOCKET).write
        # The journal adds the time.
        processors = [structlog.processors.format_exc_info, render_entry]
    else:
        write_line = _write_line
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
    root = logging.getLogger()
    root.setLevel(logging.WARNING)  # of libraries only problems are of interest
    if not any(isinstance(handler, LibraryHandler) for handler in root.handlers):
        root.addHandler(LibraryHandler())


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


class LibraryHandler(logging.Handler):
    """Writes what libraries log by the standard library as lines of ours, throttled.

    Texts of exceptions, and of the web server and the event loop all but the constant beginning of
    a message, are left out: they may repeat requests, with the credentials in their headers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = ThrottledLogger(get_logger("library"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one line."""
        fields: dict[str, Any] = {"component": record.name, "detail": _detail(record)}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields["exception"] = stack_of(error)
        key = (record.name, _constant_part(str(record.msg)), type(error))
        write_line = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write_line("problem in a library", key=key, **fields)


def stack_of(error: BaseException) -> str:
    """Return the traceback of an exception, and of those that led to it, without their texts.

    What the system says about a failed call is no secret and stays.
    """
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < _MAX_CAUSES:
        frames = "".join(traceback.format_tb(each.__traceback__))
        name = f"{type(each).__module__}.{type(each).__qualname__}".removeprefix("builtins.")
        if isinstance(each, OSError) and each.errno is not None:
            name += f": {os.strerror(each.errno)}"
        parts.insert(0, f"Traceback (most recent call last):\n{frames}{name}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\nwhich led to\n".join(parts)


def _detail(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in _WEB_SERVER:
        return _constant_part(str(record.msg))
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)  # Its arguments do not fit.


def _constant_part(message: str) -> str:
    """Return the beginning of a message, up to the first value in it."""
    return re.split(r"[\n(<:%]", message, maxsplit=1)[0].strip()
