"""`presenced state`: inspect or export the state file, or forget clients."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from presenced.commands.output import DONE, FAILED, CommandError
from presenced.commands.state_path import is_there, read_settings, state_path
from presenced.store.errors import StateError
from presenced.store.format import VERSION
from presenced.store.tools import (
    Forgotten,
    StoredClient,
    Summary,
    client,
    export,
    forget,
    summary,
)

# What the file holds for presenced itself.
_INTERNAL = ("counted_disconnects", "meta")


def run(options: argparse.Namespace) -> int:
    """Run one action; it fails if a client is not known. Raises SettingsError and CommandError."""
    try:
        path = options.file or _configured_path(options.config)
        _refuse_directory(path)
        if options.action == "export":
            _write(export(path))
            return DONE
        if options.action == "forget":
            return _print_forgotten(forget(path, options.client_ids))
        if options.client_id is None:
            _print_summary(path, summary(path))
            return DONE
        found = client(path, options.client_id)
    except StateError as error:
        raise CommandError(str(error)) from error
    if found is None:
        print(f"{path} knows no client {_escaped(options.client_id)}.")
        return FAILED
    for name, text in _client_lines(found):
        print(f"{name:<17}{_escaped(text)}")
    return DONE


def _refuse_directory(path: Path) -> None:
    with suppress(OSError):  # the store explains why the path cannot be followed
        if path.is_dir():
            raise CommandError(f"the state file {path} is a directory: name the file in it")


def _configured_path(config: Path) -> Path:
    settings = read_settings(config)
    path = state_path(settings, config)
    if path is None and settings.source == "kafka":
        raise StateError(
            "with source: kafka there is no state file: the state is in"
            f" {settings.kafka.state_topic}. The API of a worker has the clients of its partitions"
        )
    if path is None and is_there(config):
        raise StateError(f"{config} names no state file: set state.path, or name it by --file")
    if path is None:
        raise StateError(
            f"there is no configuration {config}: name another one by --config, or the state file "
            "by --file"
        )
    return path


def _write(lines: Iterable[bytes]) -> None:
    """Write lines to standard output; raises CommandError if that fails."""
    try:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Not again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError(f"cannot write to standard output: {error.strerror}") from error


def _print_summary(path: Path, found: Summary) -> None:
    if found.holder is None:
        use = "not in use"
    else:
        use = f"in use by process {found.holder}" if found.holder else "maybe in use"
    print(f"{path}: format {VERSION}, {found.size / 1e6:,.1f} MB, {use}")
    states = ("online", "pending", "offline", "unknown")
    for name, number in (
        ("clients", sum(found.clients.values())),
        *((f"  {state}", found.clients.get(state, 0)) for state in states),
        ("  unverified", found.unverified),
        ("forgotten clients", found.forgotten),
        *(
            (table.replace("_", " "), number)
            for table, number in found.rows.items()
            if table not in _INTERNAL
        ),
    ):
        print(f"{name:<20}{number:>12,}")


def _print_forgotten(result: Forgotten) -> int:
    done = "the running daemon will forget it" if result.asked else "forgotten"
    for client_id in result.known:
        print(f"{_escaped(client_id)}: {done}")
    for client_id in result.unknown:
        print(f"{_escaped(client_id)}: not known")
    return FAILED if result.unknown else DONE


def _client_lines(found: StoredClient) -> Iterator[tuple[str, str]]:
    """Yield what is known of a client, in the words of the API."""
    row = found.row
    yield "client", row.client_id
    yield "state", "forgotten" if row.departed else row.state
    for name, seconds in (("since", row.since), ("last transition", row.transition)):
        if seconds is not None and not row.departed:
            yield name, _time_text(seconds)
    if row.state == "pending" and row.deadline is not None:
        yield "goes offline", _time_text(row.deadline)
    for name, text in (("reason", row.reason), ("thing", row.thing_name)):
        if text is not None:
            yield name, text
    if row.event_time >= 0:
        kind = "connected" if row.connected else "disconnected"
        yield "last event", f"{kind}, {_time_text(row.event_time / 1000)}"
        yield "version", "-" if row.version is None else str(row.version)
        yield "session", row.session or "-"
    if not found.is_verified:
        yield "verified", "no: events may have been lost since its last event"
    if found.awaited:
        yield "still awaited", f"{found.awaited} disconnects of replaced connections"


def _time_text(seconds: float) -> str:
    try:
        text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)
    return text.replace("+00:00", "Z")


def _escaped(text: str) -> str:
    """Escape control characters, which a terminal might obey: clients choose their names."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
