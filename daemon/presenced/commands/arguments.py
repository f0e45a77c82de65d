"""What the command lines of several commands have in common."""

import argparse
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from presenced.settings import DEFAULT_CONFIG, parse_duration

_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_SIZES = {"": 1}
_SIZES |= {f"{unit}B": 1000**power for power, unit in enumerate("kMGT", 1)}
_SIZES |= {f"{unit}iB": 1024**power for power, unit in enumerate("KMGT", 1)}


def add_command(
    commands: Any, name: str, summary: str, description: str, module: str
) -> argparse.ArgumentParser:
    """Add the parser of a command, whose module is imported when it runs."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description
    )
    parser.set_defaults(command=lambda options: import_module(module).run(options))
    return parser


def add_config(parser: Any) -> None:
    """Add the option for the configuration file."""
    text = "configuration file (default %(default)s)"
    add_option(parser, "--config", "FILE", text, Path, DEFAULT_CONFIG)


def add_option(
    parser: Any,
    flag: str,
    metavar: str,
    text: str,
    parse: Callable[[str], Any] = str,
    default: Any = None,
) -> None:
    """Add an option; `parse` raises ValueError with a message for people."""

    def convert(value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{value!r} {error}") from error

    parser.add_argument(flag, type=convert, default=default, metavar=metavar, help=text)


def positive_duration(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError, also for 0."""
    if not (seconds := parse_duration(text)):
        raise ValueError("must be longer than 0s")
    return seconds


def check_url(text: str) -> str:
    """Return the URL of a daemon. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not a URL: write it as http://localhost:9883")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have neither user name nor query: use --user and --password-file")
    return text


def parse_moment(text: str) -> float:
    """Return the seconds since the epoch of a time such as `2026-11-25T12:00:00Z`.

    Without offset it is local time. Raises ValueError.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time: write it as 2026-11-25T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    if not datetime.fromtimestamp(0, UTC) <= moment <= _LATEST:
        raise ValueError("must be from 1970 to 2100")
    return round(moment.timestamp(), 3)


def parse_start(text: str) -> float:
    """Return the seconds since the epoch of `beginning`, of a moment, or of a duration ago.

    Raises ValueError.
    """
    if text == "beginning":
        return 0.0
    with suppress(ValueError):
        return time.time() - parse_duration(text)
    with suppress(ValueError):
        return parse_moment(text)
    raise ValueError("is not a start: write it as 2h, 2026-11-25T12:00:00Z or beginning")


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `500kB`. Raises ValueError."""
    found = re.fullmatch(rf"([0-9]{{1,15}})\s?({'|'.join(_SIZES)})", text.strip())
    if found is None or not int(found[1]):
        raise ValueError("is not a size: write it as 500kB, 100MB or 2GB")
    return int(found[1]) * _SIZES[found[2]]


def parse_count(text: str) -> int:
    """Return a whole number greater than 0. Raises ValueError."""
    if re.fullmatch("[1-9][0-9]{0,4}", text) is None:
        raise ValueError("is not a whole number from 1 to 99999")
    return int(text)
