"""The command line of `presenced demo`. Imports nothing that the extra `demo` brings."""

import argparse

from presenced.settings.durations import parse_duration
from presenced.settings.hosts import parse_listen

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `presenced demo`; they are the arguments of `run_demo`."""
    parser.add_argument(
        "--devices", type=_count, default=50, metavar="N", help="simulated devices (default 50)"
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
        default="127.0.0.1:9883",
        metavar="ADDRESS",
        help="where the daemon serves its metrics (default 127.0.0.1:9883)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the fleet of an earlier run")


def _count(text: str) -> int:
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
