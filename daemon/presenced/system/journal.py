"""Log lines for the systemd journal, with a priority and fields of their own.

The protocol is that of https://systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram is one entry.
"""

import json
import logging
import os
import re
import socket
import time
import traceback
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

SOCKET = Path("/run/systemd/journal/socket")

Entry = list[tuple[str, str]]

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_PLAIN = re.compile(r"[\w./:@*+#$-]+", re.ASCII)
_SEND_BUFFER = 8 * 2**20  # as sd_journal_send(3) asks for
_PATIENCE = 0.2
_PATIENT_AGAIN_AFTER = 1.0
_LONGEST_VALUE = 16 * 1024


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream leads to the journal: then $JOURNAL_STREAM names its device and inode.

    That it is set proves nothing: it stays so when the stream is redirected (systemd.exec(5)).
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """The journal's socket. Entries that it does not take in time are left out and counted."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._patient_from = 0.0
        self.lost = 0

    def write(self, entry: Entry) -> None:
        """Write one entry, after one that tells how many before it were lost."""
        if self.lost:
            lost = _entry("warning", {"event": "log lines were lost", "lines": self.lost})
            if self._send(lost):
                self.lost = 0
        if self.lost or not self._send(entry):
            self.lost += 1

    def _send(self, entry: Entry) -> bool:
        # A burst may fill the socket for a moment; a journal that hangs must not hang the daemon.
        self._socket.settimeout(_PATIENCE if time.monotonic() >= self._patient_from else 0)
        try:
            self._socket.sendto(b"".join(_field(*field) for field in entry), self._path)
        except OSError:
            self._patient_from = time.monotonic() + _PATIENT_AGAIN_AFTER
            return False
        return True


class JournalLogger:
    """What structlog wraps: takes rendered entries. Their level is one of their fields."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def msg(self, entry: Entry) -> None:
        """Write one entry."""
        self._journal.write(entry)

    debug = info = warning = error = critical = msg


class JournalHandler(logging.Handler):
    """Writes what libraries log through the standard library."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as an entry."""
        event = {"event": record.getMessage(), "component": record.name}
        if record.exc_info and record.exc_info[0]:
            event["exception"] = "".join(traceback.format_exception(*record.exc_info))
        level = logging.getLevelName(record.levelno).lower()
        self._journal.write(_entry(level, event))


def render_entry(_: Any, method: str, event: MutableMapping[str, Any]) -> tuple[Any, Any]:
    """The last processor of structlog: an event as the journal's fields.

    MESSAGE is one line for people, with everything in it. Each key is a field of its own, too, with
    PRESENCED_ before its name, because the journal has names of its own.
    """
    return (_entry(method, event),), {}


def _entry(level: str, event: MutableMapping[str, Any]) -> Entry:
    message = str(event.pop("event", ""))
    exception = event.pop("exception", None)
    known = {key: value for key, value in event.items() if value is not None}
    told = [f"{key}={_shown(value)}" for key, value in known.items() if key != "component"]
    if exception:
        told.append(f"exception={_shown(exception.strip().rpartition(chr(10))[2])}")
        known["exception"] = exception
    return [
        ("MESSAGE", _one_line(" ".join([message, *told]))),
        ("PRIORITY", str(_PRIORITIES.get(level, _PRIORITIES["info"]))),
        ("SYSLOG_IDENTIFIER", "presenced"),
        *((_name(key), _text(value)) for key, value in known.items()),
    ]


def _field(name: str, value: str) -> bytes:
    data = value[:_LONGEST_VALUE].encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


@lru_cache(maxsize=256)
def _name(key: str) -> str:
    """A field name: capitals, digits and underscores, at most 64 (systemd.journal-fields(7))."""
    return ("PRESENCED_" + re.sub("[^A-Z0-9_]", "_", key.upper()))[:64]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _shown(value: object) -> str:
    """The value as it stands in a message; quoted where it is not a plain word."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, default=str, ensure_ascii=True)


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)
