"""`presenced state`: inspect or export the state file, or forget clients."""

import argparse
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from presenced.commands.output import DONE, FAILED, CommandError
from presenced.settings import DEFAULT_CONFIG, load_settings
from presenced.store.errors import StateError
from presenced.store.file import default_path
from presenced.store.format import VERSION
from presenced.store.tools import Forgotten, Summary, client, export, forget, summary


def run(options: argparse.Namespace) -> int:
    """Run one action; it fails if a client is not known. Raises SettingsError and CommandError."""
    try:
        path = options.file or _configured_path(options.config)
        _refuse_directory(path)
        if options.action == "export":
            sys.stdout.buffer.writelines(export(path))
            return DONE
        if options.action == "forget":
            return _print_forgotten(forget(path, options.client_ids))
        if options.client_id is None:
            _print_summary(path, summary(path))
            return DONE
        row = client(path, options.client_id)
    except StateError as error:
        raise CommandError(str(error)) from error
    if row is None:
        print(f"{path} knows no client {_escaped(options.client_id)}.")
        return FAILED
    for column, value in row._asdict().items():
        print(f"{column:<12}{_column_text(column, value)}")
    return DONE


def _refuse_directory(path: Path) -> None:
    with suppress(OSError):  # the store explains why the path cannot be followed
        if path.is_dir():
            raise CommandError(f"the state file {path} is a directory: name the file in it")


def _configured_path(config: Path) -> Path:
    # As with `presenced run`, the environment alone may be the configuration.
    is_left_out = config == DEFAULT_CONFIG and not config.exists()
    settings = load_settings(None if is_left_out else config, require_endpoint=False)
    path = settings.state.path or default_path(os.environ)
    if path is None:
        raise StateError(
            f"{config} names no state file: set state.path, or name the file by --file; that of "
            "the systemd service is /var/lib/presenced/presenced.db"
        )
    return path


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
        *((table.replace("_", " "), number) for table, number in found.rows.items()),
    ):
        print(f"{name:<20}{number:>12,}")


def _print_forgotten(result: Forgotten) -> int:
    done = "the running daemon will forget it" if result.asked else "forgotten"
    for client_id in result.known:
        print(f"{_escaped(client_id)}: {done}")
    for client_id in result.unknown:
        print(f"{_escaped(client_id)}: not known")
    return FAILED if result.unknown else DONE


def _column_text(column: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return _escaped(value)
    if column in ("connected", "departed"):
        return "yes" if value else "no"
    if column in ("since", "transition", "deadline"):
        return _time_text(value)
    return _time_text(value / 1000) if column == "event_time" else str(value)


def _time_text(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _escaped(text: str) -> str:
    """Escape control characters, which a terminal might obey: clients choose their names."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
