"""The command lines of `presenced demo` and `presenced simulate`.

Imports nothing that the extra `demo` installs, so that `--help` works without it.
"""

import argparse
import asyncio
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from presenced.commands.arguments import argument_type, positive_duration
from presenced.commands.output import DONE, FAILED, print_error
from presenced.settings import DEFAULT_CONFIG
from presenced.settings.values import DEMO_LISTEN, parse_listen

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
    option = partial(_add_option, parser)
    _add_devices(parser)
    option(
        "--duration",
        _duration_or_seconds,
        "TIME",
        "how long to run, such as 30s or 2m (default: until Ctrl-C)",
    )
    text = "where the daemon serves its metrics (default %(default)s)"
    option("--listen", _listen, "ADDRESS", text, DEMO_LISTEN)
    _add_seed(parser)


def add_simulate(commands: Any) -> None:
    """Add the parser of `simulate` to the subparsers of the command line."""
    parser = commands.add_parser(
        "simulate",
        help="publish the events of a simulated fleet",
        description="Publish the events of a simulated fleet to a broker of your own, to test"
        " alerts. Not for AWS IoT Core, where no client can publish to $aws/events topics.",
    )
    parser.set_defaults(command=_simulate)
    option = partial(_add_option, parser)
    option("--config", Path, "FILE", "default %(default)s", DEFAULT_CONFIG)
    _add_devices(parser)
    duration = positive_duration
    option("--duration", duration, "TIME", "how long to run, such as 30s or 1h (default 1m)", 60.0)
    option(
        "--rate",
        _rate,
        "N",
        "mean messages per second, storms not counted (default: about 1 for 12 devices)",
    )
    option("--flaps", _share, "PERCENT", "connections that break and are back in 2.5 s")
    option("--takeovers", _share, "PERCENT", "connections that are taken over")
    option("--storms", _number, "N", "mass disconnects (default 0)", 0)
    option(
        "--storm-share", _share, "PERCENT", "devices that a storm disconnects (default 50%%)", 0.5
    )
    option(
        "--outage", duration, "TIME", "how long a storm keeps devices offline (default 30s)", 30.0
    )
    option(
        "--reorder",
        _share,
        "PERCENT",
        "messages that are late, so that others overtake them (default 5%%); unless 0%%, most"
        " disconnects of connections that were taken over are late, as on AWS",
        0.05,
    )
    option("--duplicates", _share, "PERCENT", "messages that come twice (default 5%%)", 0.05)
    option("--delay", duration, "TIME", "the longest delay of a message (default 1500ms)", 1.5)
    _add_seed(parser)
    option(
        "--start",
        _moment,
        "MOMENT",
        "time of the first event, such as 2026-11-25T12:00:00Z (default: now); the same seed and"
        " start give the same messages, byte for byte",
    )
    option("--truth", Path, "FILE", "where to write the clients' final states, JSON Lines")
    option(
        "--client-id",
        str,
        "ID",
        "MQTT client ID to connect with (default: the configured one with -simulate appended)",
    )


def _add_option(
    parser: argparse.ArgumentParser,
    flag: str,
    parse: Callable[[str], Any],
    metavar: str,
    text: str,
    default: Any = None,
) -> None:
    """Add an option; `parse` raises ValueError with a message for people."""
    parser.add_argument(
        flag, type=argument_type(parse), default=default, metavar=metavar, help=text
    )


def _add_devices(parser: argparse.ArgumentParser) -> None:
    at_least_one = partial(_number, least=1)
    _add_option(parser, "--devices", at_least_one, "N", "simulated devices (default 50)", 50)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    text = "repeat an earlier run with this seed (default: random)"
    _add_option(parser, "--seed", _integer, "N", text)


def _demo(options: argparse.Namespace) -> int:
    try:
        from presenced_emulator.daemon import DemoError
        from presenced_emulator.demo import run_demo
    except ModuleNotFoundError as error:
        print_error(
            f"presenced: the demo needs {error.name}, which is not installed.\n"
            "Install it from the project's folder: pip install '.[demo]'"
        )
        return FAILED
    try:
        asyncio.run(
            run_demo(
                devices=options.devices,
                duration=options.duration,
                listen=options.listen,
                seed=_seed(options),
            )
        )
    except DemoError as error:
        print_error(f"presenced: {error}")
        return FAILED
    return DONE


def _simulate(options: argparse.Namespace) -> int:
    from presenced_emulator.simulate.command import run_simulate
    from presenced_emulator.simulate.publisher import SimulationError

    try:
        run_simulate(options, _seed(options))
    except SimulationError as error:
        print_error(f"presenced: {error}")
        return FAILED
    return DONE


def _seed(options: argparse.Namespace) -> int:
    return random.randrange(10**6) if options.seed is None else int(options.seed)  # noqa: S311


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
    try:
        rate = float(text)
    except ValueError:
        raise ValueError("is not a number") from None
    if not 0.001 <= rate <= 100_000:
        raise ValueError("must be from 0.001 to 100000")
    return rate


def _share(text: str) -> float:
    found = _PERCENT.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise ValueError("is not a share: write it as 20%")
    return float(found[1]) / 100


def _duration_or_seconds(text: str) -> float:
    return positive_duration(f"{text}s" if text.isdecimal() else text)


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
