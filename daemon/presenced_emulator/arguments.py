"""The command line of `presenced demo`. Imports nothing that the extra `demo` brings.

The command line of `presenced simulate`.
"""

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from presenced.settings import DEFAULT_CONFIG
from presenced.settings.values import DEMO_LISTEN, parse_duration, parse_listen


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `presenced demo`; they are the arguments of `run_demo`."""
    parser.add_argument(
        "--devices", type=_devices, default=50, metavar="N", help="simulated devices (default 50)"
    )
    parser.add_argument(
        "--duration",
        type=_duration,
        metavar="TIME",
        help="how long to run, such as 30s or 2m (default: until Ctrl-C)",
    )
    parser.add_argument(
        "--listen",
        type=_listen,
        default=DEMO_LISTEN,
        metavar="ADDRESS",
        help="where the daemon serves its metrics (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the fleet of an earlier run")


def _devices(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of devices")
    return int(text)


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(f"{text}s" if text.isdecimal() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    if not seconds:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return seconds


def _listen(text: str) -> str:
    try:
        address = parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    if not address.port:
        raise argparse.ArgumentTypeError(f"{text!r} must have a port of its own, not 0")
    return text


_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?%")
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `presenced simulate`."""
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s")
    add("--devices", type=_count, default=50, metavar="N", help="how many (default 50)")
    add(
        "--duration",
        type=_time,
        default=60.0,
        metavar="TIME",
        help="how long, such as 30s or 1h (default 1m); Ctrl-C ends it sooner",
    )
    add(
        "--rate",
        type=_rate,
        metavar="N",
        help="messages a second, on average and without storms (default: about one a second for 12"
        " devices)",
    )
    _add_happenings(parser)
    _add_delivery(parser)
    add("--seed", type=int, metavar="N", help="repeat an earlier simulation")
    add(
        "--start",
        type=_moment,
        metavar="MOMENT",
        help="event times count from here, such as 2026-11-25T12:00:00Z (default: now); with the"
        " same seed and start the messages are the same, byte for byte",
    )
    add(
        "--truth",
        type=Path,
        metavar="FILE",
        help="where to write who is online at the end: JSON Lines, one for each client",
    )
    add(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -simulate appended)",
    )


def _add_happenings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--flaps", type=_share, metavar="PERCENT", help="connections that end in a flap, as 20%%")
    add("--takeovers", type=_share, metavar="PERCENT", help="connections that are taken over")
    add("--storms", type=_number, default=0, metavar="N", help="mass disconnects (default 0)")
    add(
        "--storm-share",
        type=_share,
        default=0.5,
        metavar="PERCENT",
        help="devices that a storm disconnects (default 50%%)",
    )
    add(
        "--outage",
        type=_time,
        default=30.0,
        metavar="TIME",
        help="how long a storm keeps them away (default 30s)",
    )


def _add_delivery(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--reorder",
        type=_share,
        default=0.05,
        metavar="PERCENT",
        help="messages that are late, so that others overtake them (default 5%%); with any, most"
        " disconnects of connections that were taken over are late, as on AWS",
    )
    add(
        "--duplicates",
        type=_share,
        default=0.05,
        metavar="PERCENT",
        help="messages that come twice (default 5%%)",
    )
    add(
        "--delay",
        type=_time,
        default=1.5,
        metavar="TIME",
        help="how late a message is at most (default 1500ms)",
    )


def _complains(read: Callable[[str], float]) -> Callable[[str], float]:
    """What argparse calls: it tells people the message of no other exception."""

    def convert(text: str) -> float:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from error

    return convert


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000")
    return int(text)


def _count(text: str) -> int:
    if not (count := _number(text)):
        raise argparse.ArgumentTypeError("must be at least one")
    return count


@_complains
def _rate(text: str) -> float:
    rate = float(text)
    if not 0.001 <= rate <= 100_000:
        raise ValueError("must be from 0.001 to 100000")
    return rate


@_complains
def _share(text: str) -> float:
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("is not a share: write it as 20%")
    return float(found[1]) / 100


@_complains
def _time(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("must be longer than nothing")
    return seconds


@_complains
def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a moment: write it as 2026-11-25T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    if not datetime.fromtimestamp(0, UTC) <= moment <= _LATEST:
        raise ValueError("must be from 1970 to 2100")
    return moment.timestamp()
