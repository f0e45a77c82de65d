"""The command lines of `presenced demo` and `presenced simulate`.

Imports nothing that the extra `demo` installs, so that `--help` works without it.
"""

import argparse
import random
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from presenced.commands.arguments import (
    add_command,
    add_config,
    add_option,
    parse_moment,
    positive_duration,
)
from presenced.commands.output import CommandError
from presenced.settings.values import DEMO_LISTEN, parse_listen
from presenced_emulator.devices import Incident

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?%")


def add_demo(commands: Any) -> None:
    """Add the parser of `demo` to the subparsers of the command line."""
    parser = add_command(
        commands,
        "demo",
        "run the daemon on an embedded broker (needs the extra demo)",
        "Run the daemon on an embedded broker with simulated devices. Needs no AWS account and no"
        " broker, but the extra demo: pipx install '.[demo]' from the clone.",
        "presenced_emulator.demo",
    )
    parser.set_defaults(command=partial(_demo, parser.get_default("command")))
    _add_devices(parser, default=None, shown="50, or 200 with --cold")
    text = "how long to run, such as 30s or 2m (default: until Ctrl-C)"
    add_option(parser, "--duration", "TIME", text, _duration_or_seconds)
    text = "where the daemon serves its metrics (default %(default)s)"
    add_option(parser, "--listen", "ADDRESS", text, _listen, DEMO_LISTEN)
    text = (
        "connect all devices before the daemon starts; they flap and are taken over, but none stays"
        " away"
    )
    parser.add_argument("--cold", action="store_true", help=text)
    text = "event messages that the broker loses (default 0%%, or 15%% with --cold)"
    add_option(parser, "--drop-events", "PERCENT", text, _share)
    text = (
        "a broker without AWS's events: devices publish retained whether they are online, and leave"
        " Last Wills"
    )
    parser.add_argument("--status", action="store_true", help=text)
    _add_seed(parser)


def add_simulate(commands: Any) -> None:
    """Add the parser of `simulate` to the subparsers of the command line."""
    parser = add_command(
        commands,
        "simulate",
        "publish the events of a simulated fleet",
        "Publish the events of a simulated fleet to a broker of your own, to test alerts. Not for"
        " AWS IoT Core, where no client can publish to $aws/events topics.",
        "presenced_emulator.simulate.command",
    )
    add_config(parser)
    _add_devices(parser, default=50, shown="50")
    option, duration = partial(add_option, parser), positive_duration
    option("--duration", "TIME", "how long to run, such as 30s or 1h (default 1m)", duration, 60.0)
    text = (
        "mean messages per second after the start (default: about 1 for 12 devices). At the start"
        " and in storms there are more: all devices connect within a quarter of the duration, 50"
        " of them a second or more, with about 5 messages each"
    )
    option("--rate", "N", text, _number(float, 0.001, 10**5))
    option("--flaps", "PERCENT", "connections that break and are back in 2.5 s", _share)
    option("--takeovers", "PERCENT", "connections that are taken over", _share)
    option("--storms", "N", "mass disconnects (default 0)", _number(int, 0, 10**6), 0)
    text = "devices that a storm disconnects (default 50%%)"
    option("--storm-share", "PERCENT", text, _share, 0.5)
    text = "how long a storm keeps devices offline (default 30s)"
    option("--outage", "TIME", text, duration, 30.0)
    text = (
        "an incident that begins halfway through and lasts until the end: a hall loses its"
        " connections, two devices use one client ID, or a device is refused; may be repeated"
    )
    names = [str(incident) for incident in Incident]
    parser.add_argument("--incident", action="append", choices=names, default=[], help=text)
    option(
        "--reorder",
        "PERCENT",
        "messages that are late, so that others overtake them (default 5%%); unless 0%%, most"
        " disconnects of connections that were taken over are late, as on AWS",
        _share,
        0.05,
    )
    option("--duplicates", "PERCENT", "messages that come twice (default 5%%)", _share, 0.05)
    option("--delay", "TIME", "the longest delay of a message (default 1500ms)", duration, 1.5)
    _add_seed(parser)
    option(
        "--start",
        "MOMENT",
        "time of the first event, such as 2026-11-25T12:00:00Z (default: now); the same seed and"
        " start give the same messages, byte for byte",
        parse_moment,
    )
    option("--truth", "FILE", "where to write the clients' final states, JSON Lines", Path)
    text = "MQTT client ID to connect with (default: the configured one with -simulate appended)"
    option("--client-id", "ID", text)


def _add_devices(parser: argparse.ArgumentParser, *, default: int | None, shown: str) -> None:
    number = _number(int, 1, 10**6)
    add_option(parser, "--devices", "N", f"simulated devices (default {shown})", number, default)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - not secret
    text = "repeat an earlier run with this seed (default: random)"
    parser.add_argument("--seed", type=int, default=seed, metavar="N", help=text)


def _demo(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise CommandError(
            f"the demo needs the extra demo: {package} is not installed. Install it from the clone:"
            " pipx install --force '.[demo]', or pip install '.[demo]' in the virtual environment"
            " of presenced"
        ) from error


def _number(parse: Callable[[str], float], least: float, largest: int) -> Callable[[str], float]:
    """Return a parser of numbers in a range."""

    def parse_number(text: str) -> float:
        with suppress(ValueError):
            if least <= (number := parse(text)) <= largest:
                return number
        raise ValueError(f"is not a number from {least} to {largest}")

    return parse_number


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
