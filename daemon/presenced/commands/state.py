"""The `state` command, from its options to its output.

The command line of `presenced state`.
"""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from presenced.settings import DEFAULT_CONFIG, load_settings
from presenced.store.errors import StateError
from presenced.store.file import default_path
from presenced.store.schema import ClientRow
from presenced.store.tools import Forgotten, Summary, client, export, forget, summary

_TIMES = {"since", "transition", "deadline"}
_FLAGS = {"connected", "departed"}


def run_state(
    options: argparse.Namespace, say: Callable[[str], None], write: Callable[[bytes], object]
) -> bool:
    """Run an action of `presenced state`; whether all that it was asked for was found.

    Text for people goes to `say`, line by line, and an export to `write`. Raises StateError and
    SettingsError.
    """
    path = options.file or _configured(options.config)
    if options.action == "export":
        for lines in export(path):
            write(lines)
        return True
    if options.action == "forget":
        return _tell_forgotten(forget(path, options.client_ids), say)
    if options.client_id is None:
        _tell_summary(path, summary(path), say)
        return True
    row = client(path, options.client_id)
    if row is None:
        say(f"{path} knows no client {_printable(options.client_id)}.")
        return False
    _tell_client(row, say)
    return True


def _configured(config: Path) -> Path:
    # As with `presenced run`, the environment may say all: in a container it often does.
    is_left_out = config == DEFAULT_CONFIG and not config.exists()
    settings = load_settings(None if is_left_out else config, require_endpoint=False)
    path = settings.state.path or default_path(os.environ)
    if path is None:
        raise StateError(
            f"{config} names no state file: set state.path, or name the file by --file; that of "
            "the systemd service is /var/lib/presenced/presenced.db"
        )
    return path


def _tell_summary(path: Path, found: Summary, say: Callable[[str], None]) -> None:
    if found.holder is None:
        use = "not in use"
    else:
        use = f"in use by process {found.holder}" if found.holder else "maybe in use"
    say(f"{path}: format {found.version}, {found.size / 1e6:,.1f} MB, {use}")
    _tell_number("clients", sum(found.clients.values()), say)
    for state in ("online", "pending", "offline", "unknown"):
        _tell_number(f"  {state}", found.clients.get(state, 0), say)
    _tell_number("  unverified", found.unverified, say)
    _tell_number("forgotten clients", found.departed, say)
    for table, number in found.rows.items():
        _tell_number(table.replace("_", " "), number, say)


def _tell_number(what: str, number: int, say: Callable[[str], None]) -> None:
    say(f"{what:<20}{number:>12,}")


def _tell_client(row: ClientRow, say: Callable[[str], None]) -> None:
    for column, value in row._asdict().items():
        say(f"{column:<12}{_in_words(column, value)}")


def _in_words(column: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    if column in _FLAGS:
        return "yes" if value else "no"
    if column in _TIMES and isinstance(value, float):
        return _moment(value)
    if column == "event_time" and isinstance(value, int):
        return _moment(value / 1000)
    return _printable(str(value))


def _printable(text: str) -> str:
    """Text with what a terminal might obey escaped: names come from whoever may connect."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _tell_forgotten(result: Forgotten, say: Callable[[str], None]) -> bool:
    for client_id in result.known:
        done = "the running daemon will forget it" if result.asked else "forgotten"
        say(f"{_printable(client_id)}: {done}")
    for client_id in result.unknown:
        say(f"{_printable(client_id)}: not known")
    return not result.unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `presenced state` and their arguments."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    show = _add(actions, "show", "a summary, or what is known of one client")
    show.add_argument("client_id", metavar="CLIENT_ID", nargs="?", help="the client to show")
    forget = _add(
        actions,
        "forget",
        "forget clients, as if they had never been seen; a running daemon does it within seconds",
    )
    forget.add_argument("client_ids", metavar="CLIENT_ID", nargs="+", help="clients to forget")
    _add(actions, "export", "everything, as JSON Lines")


def _add(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )
    where.add_argument(
        "--file", type=Path, metavar="FILE", help="the state file, where no configuration tells it"
    )
    return parser
