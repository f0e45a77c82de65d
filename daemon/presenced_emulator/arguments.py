"""The command lines of `presenced demo` and `presenced simulate`.

Imports nothing that the extra `demo` installs, so that `--help` works without it.
"""

import argparse
import asyncio
import random
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from presenced.settings import DEFAULT_CONFIG
from presenced.settings.values import DEMO_LISTEN, parse_duration, parse_listen
from presenced.system.journal import is_journal

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?%")
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def add_demo(commands: Any) -> None:
    """Add the parser of `demo` to the subparsers of the command line."""
    parser = commands.add_parser(
        "demo",
        help="run the daemon on an embedded broker",
        description="Run the daemon on an embedded broker with simulated devices. Needs no AWS"
        " account and no broker.",
    )
    parser.set_defaults(command=_demo)
    add = parser.add_argument
    add("--devices", type=_count, default=50, metavar="N", help="simulated devices (default 50)")
    add(
        "--duration",
        type=_duration_or_seconds,
        metavar="TIME",
        help="how long to run, such as 30s or 2m (default: until Ctrl-C)",
    )
    add(
        "--listen",
        type=_listen,
        default=DEMO_LISTEN,
        metavar="ADDRESS",
        help="where the daemon serves its metrics (default %(default)s)",
    )
    _add_seed(parser, "repeat the fleet of an earlier run")


def add_simulate(commands: Any) -> None:
    """Add the parser of `simulate` to the subparsers of the command line."""
    parser = commands.add_parser(
        "simulate",
        help="publish the events of a simulated fleet",
        description="Publish the events of a simulated fleet to a broker of your own, to test"
        " alerts. Not for AWS IoT Core, where no client can publish to $aws/events topics.",
    )
    parser.set_defaults(command=_simulate)
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s")
    add("--devices", type=_count, default=50, metavar="N", help="simulated devices (default 50)")
    add(
        "--duration",
        type=_duration,
        default=60.0,
        metavar="TIME",
        help="how long to run, such as 30s or 1h (default 1m); Ctrl-C ends it sooner",
    )
    add(
        "--rate",
        type=_rate,
        metavar="N",
        help="mean messages per second, storms not counted (default: about 1 for 12 devices)",
    )
    _add_behaviour(parser)
    _add_delivery(parser)
    _add_seed(parser, "repeat an earlier simulation")
    add(
        "--start",
        type=_moment,
        metavar="MOMENT",
        help="time of the first event, such as 2026-11-25T12:00:00Z (default: now); the same seed"
        " and start give the same messages, byte for byte",
    )
    add(
        "--truth",
        type=Path,
        metavar="FILE",
        help="where to write the state of each client at the end, as JSON Lines",
    )
    add(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -simulate appended)",
    )


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--flaps",
        type=_share,
        metavar="PERCENT",
        help="connections that break and are back within 2.5 s, such as 20%%",
    )
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
        type=_duration,
        default=30.0,
        metavar="TIME",
        help="how long a storm keeps devices offline (default 30s)",
    )


def _add_delivery(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--reorder",
        type=_share,
        default=0.05,
        metavar="PERCENT",
        help="messages that are late, so that others overtake them (default 5%%); unless 0%%, most"
        " disconnects of connections that were taken over are late, as on AWS",
    )
    add(
        "--duplicates",
        type=_share,
        default=0.05,
        metavar="PERCENT",
        help="messages that arrive twice (default 5%%)",
    )
    add(
        "--delay",
        type=_duration,
        default=1.5,
        metavar="TIME",
        help="the longest delay of a message (default 1500ms)",
    )


def _add_seed(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        default=random.randrange(10**6),  # noqa: S311  # not secret
        help=f"{text} (default: random)",
    )


def _demo(options: argparse.Namespace) -> int:
    try:
        from presenced_emulator.daemon import DemoError
        from presenced_emulator.demo import Demo
    except ModuleNotFoundError as error:
        return _fail(
            f"the demo needs {error.name}, which is not installed.\n"
            "Install it from the project's folder: pip install '.[demo]'"
        )
    demo = Demo(
        devices=options.devices,
        duration=options.duration,
        listen=options.listen,
        seed=options.seed,
    )
    try:
        asyncio.run(demo.run())
    except DemoError as error:
        return _fail(str(error))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from presenced_emulator.simulate.command import run_simulate
    from presenced_emulator.simulate.publisher import SimulationError

    try:
        run_simulate(options)
    except SimulationError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    # The journal takes lines for information unless they say otherwise (sd-daemon(3)).
    level = "<3>" if is_journal(sys.stderr) else ""
    sys.stderr.write(f"{level}presenced: {message}\n")
    return 1


def _reported(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Turn ValueError into the exception whose message argparse prints."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from error

    return convert


@_reported
def _number(text: str) -> int:
    if re.fullmatch("[0-9]{1,7}", text) is None or int(text) > 10**6:
        raise ValueError("is not a number from 0 to 1000000")
    return int(text)


@_reported
def _count(text: str) -> int:
    if re.fullmatch("[0-9]{1,7}", text) is None or not 1 <= int(text) <= 10**6:
        raise ValueError("is not a number from 1 to 1000000")
    return int(text)


@_reported
def _rate(text: str) -> float:
    rate = float(text)
    if not 0.001 <= rate <= 100_000:
        raise ValueError("must be from 0.001 to 100000")
    return rate


@_reported
def _share(text: str) -> float:
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("is not a share: write it as 20%")
    return float(found[1]) / 100


@_reported
def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("must be longer than 0")
    return seconds


def _duration_or_seconds(text: str) -> float:
    return float(_duration(f"{text}s" if text.isdecimal() else text))


@_reported
def _listen(text: str) -> str:
    if not parse_listen(text).port:
        raise ValueError("must have a port other than 0")
    return text


@_reported
def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a time: write it as 2026-11-25T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    if not datetime.fromtimestamp(0, UTC) <= moment <= _LATEST:
        raise ValueError("must be from 1970 to 2100")
    return moment.timestamp()
