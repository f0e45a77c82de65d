"""The command line of `presenced doctor`."""

import argparse

from presenced.settings import parse_duration

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `presenced doctor` other than `--config`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=10.0,
        metavar="TIME",
        help="how long to wait for the first message, such as 30s or 5m (default 10s); "
        "0s leaves that step out",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -doctor appended); "
        "with that of a running daemon, stop the daemon first",
    )


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
