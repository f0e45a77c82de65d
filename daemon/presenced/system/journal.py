"""Log entries for the systemd journal, with priority and fields.

One datagram is one entry: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

import json
import os
import re
import socket
import time
from collections.abc import MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")

Entry = list[tuple[str, str]]

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_PLAIN = re.compile(r"[\w./:@*+#$-]+", re.ASCII)
_SEND_BUFFER = 8 * 2**20  # as sd_journal_send(3) asks for
_SEND_TIMEOUT = 0.2
_WAIT_AGAIN_AFTER = 1.0
_LONGEST_VALUE = 16 * 1024


def is_journal(stream: TextIO) -> bool:
    """Return whether a stream leads to the journal: $JOURNAL_STREAM names its device and inode.

    The variable alone is not enough: it stays set when the stream is redirected (systemd.exec(5)).
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """The socket of the journal. Entries that it does not accept in time are lost and counted."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._wait_from = 0.0
        self.lost = 0

    def write(self, entry: Entry) -> None:
        """Write one entry, preceded by one with the number of lost entries if there are any."""
        if self.lost:
            lost = _entry("warning", {"event": "log lines were lost", "lines": self.lost})
            if self._send(lost):
                self.lost = 0
        if self.lost or not self._send(entry):
            self.lost += 1

    def _send(self, entry: Entry) -> bool:
        # A burst may fill the socket for a moment; a journal that hangs must not hang the daemon.
        self._socket.settimeout(_SEND_TIMEOUT if time.monotonic() >= self._wait_from else 0)
        try:
            self._socket.sendto(b"".join(_field(*field) for field in entry), self._path)
        except OSError:
            self._wait_from = time.monotonic() + _WAIT_AGAIN_AFTER
            return False
        return True


def render_entry(_: Any, method: str, event: MutableMapping[str, Any]) -> tuple[Any, Any]:
    """Render an event as fields of the journal; the last processor of structlog.

    MESSAGE is one line for people, with everything in it. Each key is also a field, with the prefix
    PRESENCED_ to keep it apart from the journal's own fields.
    """
    return (_entry(method, event),), {}


def _entry(level: str, event: MutableMapping[str, Any]) -> Entry:
    message = str(event.pop("event", ""))
    exception = event.pop("exception", None)
    known = {key: value for key, value in event.items() if value is not None}
    shown = [f"{key}={_shown(value)}" for key, value in known.items() if key != "component"]
    if exception:
        shown.append(f"exception={_shown(exception.strip().rpartition(chr(10))[2])}")
        known["exception"] = exception
    return [
        ("MESSAGE", _one_line(" ".join([message, *shown]))),
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
    """Return a field name: at most 64 of A-Z, 0-9 and _ (systemd.journal-fields(7))."""
    return ("PRESENCED_" + re.sub("[^A-Z0-9_]", "_", key.upper()))[:64]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _shown(value: object) -> str:
    """Return the text of a value within a message, quoted unless it is a plain word."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, default=str, ensure_ascii=True)


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)
