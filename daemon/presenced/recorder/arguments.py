"""The command line of `presenced record`."""

import argparse
import re
from pathlib import Path

from presenced.settings import DEFAULT_CONFIG, parse_duration

__all__ = ["add_arguments"]

_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(rf"([0-9]{{1,15}})\s?({'|'.join(_UNITS)})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `presenced record`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the recording; must not exist yet")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="give clients, things, groups, types, sessions, principals, addresses and all other"
        " names pseudonyms, the same for the same; a replay gives the same but for the names",
    )
    parser.add_argument(
        "--max-size",
        type=_size,
        default=100 * 10**6,
        metavar="SIZE",
        help="size at which OUT.0002, then OUT.0003 and so on is begun, such as 500kB, 100MB or"
        " 2GB (default 100MB)",
    )
    parser.add_argument(
        "--duration",
        type=_duration,
        metavar="TIME",
        help="how long to record, such as 30s or 8h (default: until Ctrl-C or SIGTERM)",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -record appended)",
    )


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write it as 500kB, 100MB or 2GB")
    return int(found[1]) * _UNITS[found[2]]


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    if not seconds:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return seconds
