"""The command lines of `presenced demo` and `presenced simulate`.

Imports nothing that the extra `demo` installs, so that `--help` works without it.
"""

import argparse
import asyncio
import random
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from presenced.settings import DEFAULT_CONFIG
from presenced.settings.values import DEMO_LISTEN, parse_duration, parse_listen
from presenced.system.journal import is_journal

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?%")
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


class Option(NamedTuple):
    """An option of a command; `read` raises ValueError with a message for people."""

    flag: str
    read: Callable[[str], Any]
    default: Any
    metavar: str
    help: str


def _add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    for flag, read, default, metavar, text in options:
        parser.add_argument(flag, type=_reported(read), default=default, metavar=metavar, help=text)


def add_demo(commands: Any) -> None:
    """Add the parser of `demo` to the subparsers of the command line."""
    parser = commands.add_parser(
        "demo",
        help="run the daemon on an embedded broker",
        description="Run the daemon on an embedded broker with simulated devices. Needs no AWS"
        " account and no broker.",
    )
    parser.set_defaults(command=_demo)
    _add_options(parser, _DEMO)


def add_simulate(commands: Any) -> None:
    """Add the parser of `simulate` to the subparsers of the command line."""
    parser = commands.add_parser(
        "simulate",
        help="publish the events of a simulated fleet",
        description="Publish the events of a simulated fleet to a broker of your own, to test"
        " alerts. Not for AWS IoT Core, where no client can publish to $aws/events topics.",
    )
    parser.set_defaults(command=_simulate)
    _add_options(parser, _SIMULATE)


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
        seed=_seed(options),
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
        run_simulate(options, _seed(options))
    except SimulationError as error:
        return _fail(str(error))
    return 0


def _seed(options: argparse.Namespace) -> int:
    return random.randrange(10**6) if options.seed is None else int(options.seed)  # noqa: S311


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


def _number(text: str, *, least: int = 0) -> int:
    if re.fullmatch("[0-9]{1,7}", text) is None or not least <= int(text) <= 10**6:
        raise ValueError(f"is not a number from {least} to 1000000")
    return int(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.001 <= rate <= 100_000:
        raise ValueError("must be from 0.001 to 100000")
    return rate


def _share(text: str) -> float:
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("is not a share: write it as 20%")
    return float(found[1]) / 100


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("must be longer than 0")
    return seconds


def _duration_or_seconds(text: str) -> float:
    return _duration(f"{text}s" if text.isdecimal() else text)


def _listen(text: str) -> str:
    if not parse_listen(text).port:
        raise ValueError("must have a port other than 0")
    return text


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


_DEVICES = Option("--devices", partial(_number, least=1), 50, "N", "simulated devices (default 50)")
_SEED = Option(
    "--seed", _integer, None, "N", "repeat an earlier run with this seed (default: random)"
)

_DEMO = (
    _DEVICES,
    Option(
        "--duration",
        _duration_or_seconds,
        None,
        "TIME",
        "how long to run, such as 30s or 2m (default: until Ctrl-C)",
    ),
    Option(
        "--listen",
        _listen,
        DEMO_LISTEN,
        "ADDRESS",
        "where the daemon serves its metrics (default %(default)s)",
    ),
    _SEED,
)
_SIMULATE = (
    Option("--config", Path, DEFAULT_CONFIG, "FILE", "default %(default)s"),
    _DEVICES,
    Option(
        "--duration", _duration, 60.0, "TIME", "how long to run, such as 30s or 1h (default 1m)"
    ),
    Option(
        "--rate",
        _rate,
        None,
        "N",
        "mean messages per second, storms not counted (default: about 1 for 12 devices)",
    ),
    Option("--flaps", _share, None, "PERCENT", "connections that break and are back in 2.5 s"),
    Option("--takeovers", _share, None, "PERCENT", "connections that are taken over"),
    Option("--storms", _number, 0, "N", "mass disconnects (default 0)"),
    Option(
        "--storm-share", _share, 0.5, "PERCENT", "devices that a storm disconnects (default 50%%)"
    ),
    Option(
        "--outage", _duration, 30.0, "TIME", "how long a storm keeps devices offline (default 30s)"
    ),
    Option(
        "--reorder",
        _share,
        0.05,
        "PERCENT",
        "messages that are late, so that others overtake them (default 5%%); unless 0%%, most"
        " disconnects of connections that were taken over are late, as on AWS",
    ),
    Option("--duplicates", _share, 0.05, "PERCENT", "messages that come twice (default 5%%)"),
    Option("--delay", _duration, 1.5, "TIME", "the longest delay of a message (default 1500ms)"),
    _SEED,
    Option(
        "--start",
        _moment,
        None,
        "MOMENT",
        "time of the first event, such as 2026-11-25T12:00:00Z (default: now); the same seed and"
        " start give the same messages, byte for byte",
    ),
    Option("--truth", Path, None, "FILE", "where to write the clients' final states, JSON Lines"),
    Option(
        "--client-id",
        str,
        None,
        "ID",
        "MQTT client ID to connect with (default: the configured one with -simulate appended)",
    ),
)
