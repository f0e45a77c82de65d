"""The command line: argument parsing. The module of a command is imported when it is called."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from presenced import __version__
from presenced.commands.output import FAILED, WRONG, print_error
from presenced.settings import DEFAULT_CONFIG, FLAGS, SettingsError, parse_duration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit status: 0 done, 1 failed, 2 wrong usage or configuration.
    """
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        print(end="", flush=True)  # so that a broken pipe shows here, not at exit
    except SettingsError as error:
        for problem in error.problems:
            print_error(f"presenced: {problem}")
        return WRONG
    except BrokenPipeError:
        # The reader of our output is gone. Without this, Python would report the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `command` in its result runs the chosen one."""
    parser = argparse.ArgumentParser(
        prog="presenced",
        description="Which devices of an AWS IoT Core fleet are online, as Prometheus metrics.",
    )
    parser.add_argument("--version", action="version", version=f"presenced {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _command(
        commands,
        "check",
        "validate the configuration",
        "Validate the configuration and the certificate files that it names. Connects to nothing.",
        _module("presenced.commands.check"),
    ).add_argument("--config", **_CONFIG)
    _add_doctor(commands)
    _add_record(commands)
    _add_replay(commands)
    _add_state(commands)
    for entry in entry_points(group="presenced.commands"):
        entry.load()(commands)
    return parser


def _command(
    commands: Any,
    name: str,
    summary: str,
    description: str,
    call: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description
    )
    parser.set_defaults(command=call)
    return parser


def _module(name: str) -> Callable[[argparse.Namespace], int]:
    """Return a call of a command's `run`, which imports the module first."""
    return lambda options: import_module(name).run(options)


_CONFIG: dict[str, Any] = {
    "type": Path,
    "metavar": "FILE",
    "default": DEFAULT_CONFIG,
    "help": "configuration file (default %(default)s)",
}


def _add_run(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        "run the daemon",
        "Connect to AWS IoT Core and serve presence as Prometheus metrics. Flags override the "
        "environment, the environment overrides the file. The file is optional. "
        "SIGHUP reloads the configuration, SIGTERM and Ctrl-C stop.",
        _module("presenced.commands.run"),
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration file (default {DEFAULT_CONFIG})"
    )
    helps = {
        "--endpoint": ("HOST", "host name of the AWS IoT Core data endpoint"),
        "--cert": ("FILE", "client certificate, PEM"),
        "--key": ("FILE", "private key of the client certificate, PEM"),
        "--ca": ("FILE", "CA that signed the broker's certificate, PEM"),
        "--client-id": ("ID", "MQTT client ID of the daemon"),
        "--listen": ("ADDRESS", "where to serve metrics, such as :9883 or 127.0.0.1:9883"),
    }
    for key, flag in FLAGS.items():
        metavar, text = helps[flag]
        parser.add_argument(flag, dest=key, metavar=metavar, help=text)


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands,
        "doctor",
        "test the connection step by step",
        "Connect beside a running daemon and test each step up to the first message. A failed step "
        "is printed with its cause and remedy. Exit status 1 when a step fails.",
        _module("presenced.commands.doctor.command"),
    )
    parser.add_argument("--config", **_CONFIG)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=10.0,
        metavar="TIME",
        help="how long to wait for the first message, such as 30s or 5m (default 10s); "
        "0s skips that step",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -doctor appended); "
        "stop a running daemon before you use its client ID",
    )


def _add_record(commands: Any) -> None:
    parser = _command(
        commands,
        "record",
        "write received messages to a recording",
        "Connect beside a running daemon and write each received message to a recording that "
        "replay reads. No file is overwritten. Ctrl-C and SIGTERM stop.",
        _module("presenced.commands.recorder.command"),
    )
    parser.add_argument("--config", **_CONFIG)
    parser.add_argument("out", type=Path, metavar="OUT", help="the recording; must not exist yet")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="replace names, IDs, principals and IP addresses by pseudonyms, equal ones by equal "
        "ones; a replay has the same results except for the names",
    )
    parser.add_argument(
        "--max-size",
        type=_size,
        default=100 * 10**6,
        metavar="SIZE",
        help="continue in OUT.0002, OUT.0003 and so on at this size, such as 500kB, 100MB or 2GB "
        "(default 100MB)",
    )
    parser.add_argument(
        "--duration",
        type=_positive_duration,
        metavar="TIME",
        help="how long to record, such as 30s or 8h (default: until Ctrl-C or SIGTERM)",
    )
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help="MQTT client ID to connect with (default: the configured one with -record appended)",
    )


def _add_replay(commands: Any) -> None:
    parser = _command(
        commands,
        "replay",
        "process a recording as the daemon does",
        "Run a recording (JSON Lines of received, topic and payload) through the daemon's "
        "decoding and state machine on a virtual clock. Results go to standard output.",
        _module("presenced.commands.replay"),
    )
    parser.add_argument("file", metavar="FILE", help="the recording, or - for standard input")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file to use")
    parser.add_argument(
        "--print",
        choices=("transitions", "clients", "metrics"),
        default="transitions",
        dest="shown",
        help="what to print (default %(default)s)",
    )
    parser.add_argument(
        "--no-settle",
        action="store_false",
        dest="settle",
        help="stop at the last line; otherwise time advances until no client is pending",
    )


def _add_state(commands: Any) -> None:
    parser = _command(
        commands,
        "state",
        "inspect the state file, or forget clients",
        "Inspect the state file of a running or stopped daemon, or forget clients.",
        _module("presenced.commands.state"),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for action, summary, argument in (
        ("show", "a summary, or what is known of one client", ("client_id", "?")),
        (
            "forget",
            "forget clients, as if they had never been seen; a running daemon does it in seconds",
            ("client_ids", "+"),
        ),
        ("export", "everything, as JSON Lines", None),
    ):
        parser = actions.add_parser(
            action, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if argument:
            parser.add_argument(
                argument[0], metavar="CLIENT_ID", nargs=argument[1], help=f"client to {action}"
            )
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--config", **_CONFIG)
        source.add_argument(
            "--file", type=Path, metavar="FILE", help="state file, instead of the configured one"
        )


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


def _positive_duration(text: str) -> float:
    if not (seconds := _duration(text)):
        raise argparse.ArgumentTypeError("must be longer than 0s")
    return seconds


def _size(text: str) -> int:
    units = {"": 1}
    units |= {f"{unit}B": 1000**power for power, unit in enumerate("kMGT", 1)}
    units |= {f"{unit}iB": 1024**power for power, unit in enumerate("KMGT", 1)}
    found = re.fullmatch(rf"([0-9]{{1,15}})\s?({'|'.join(units)})", text.strip())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write it as 500kB, 100MB or 2GB")
    return int(found[1]) * units[found[2]]
