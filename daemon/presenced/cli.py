"""The command line: argument parsing. The module of a command is imported when it is called."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from presenced import __version__
from presenced.commands.arguments import (
    add_command,
    add_config,
    add_option,
    check_url,
    parse_count,
    parse_size,
    parse_start,
    positive_duration,
)
from presenced.commands.output import FAILED, WRONG, CommandError, print_error
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
    except CommandError as error:
        print_error(f"presenced: {error}")
        return FAILED
    except KeyboardInterrupt:
        return FAILED
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
    _add_reload(commands)
    _add_check(commands)
    _add_doctor(commands)
    _add_record(commands)
    _add_replay(commands)
    _add_state(commands)
    _add_top(commands)
    _add_kafka(commands)
    for entry in entry_points(group="presenced.commands"):
        entry.load()(commands)
    return parser


def _add_run(commands: Any) -> None:
    parser = add_command(
        commands,
        "run",
        "run the daemon",
        "Connect to AWS IoT Core and serve presence as Prometheus metrics. Flags override the "
        "environment, the environment overrides the file. The file is optional. "
        "SIGHUP and `presenced reload` reload the configuration, SIGTERM and Ctrl-C stop.",
        "presenced.commands.run",
    )
    add_option(parser, "--config", "FILE", f"configuration file (default {DEFAULT_CONFIG})", Path)
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


def _add_reload(commands: Any) -> None:
    parser = add_command(
        commands,
        "reload",
        "reload the configuration of the running daemon",
        "Have the running daemon read its configuration again, and print what is wrong with it. "
        "The daemon is found by the lock of its state file; without one, by "
        "metrics.enable_reload_endpoint. Exit status 2 if the configuration is not valid: the "
        "running one stays.",
        "presenced.commands.reload",
    )
    add_config(parser)


def _add_check(commands: Any) -> None:
    parser = add_command(
        commands,
        "check",
        "validate the configuration",
        "Validate the configuration and the files that it names. Connects to nothing.",
        "presenced.commands.check",
    )
    add_config(parser)


def _add_doctor(commands: Any) -> None:
    parser = add_command(
        commands,
        "doctor",
        "test the connection step by step",
        "Connect beside a running daemon and test each step up to the first message. A failed step "
        "is printed with its cause and remedy. Exit status 1 when a step fails.",
        "presenced.commands.doctor.command",
    )
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    text = "how long to wait for the first message, such as 30s or 5m (default 10s); 0s skips that "
    add_option(parser, "--timeout", "TIME", f"{text}step", parse_duration, 10.0)
    add_option(
        parser,
        "--client-id",
        "ID",
        "MQTT client ID to connect with (default: the configured one with -doctor appended); "
        "stop a running daemon before you use its client ID",
    )


def _add_record(commands: Any) -> None:
    parser = add_command(
        commands,
        "record",
        "write received messages to a recording",
        "Connect beside a running daemon and write each received message to a recording that "
        "replay reads; if reconcile.enabled is set, also AWS's record of who is connected. Topics "
        "of Kafka are read without a group; a queue of SQS cannot be recorded. No file is "
        "overwritten. Ctrl-C and SIGTERM stop.",
        "presenced.commands.recorder.command",
    )
    add_config(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="the recording; must not exist yet")
    parser.add_argument(
        "--anonymize",
        action="store_true",
        help="replace names, IDs, principals and IP addresses by pseudonyms, equal ones by equal "
        "ones; a replay has the same results except for the names",
    )
    text = "continue in OUT.0002, OUT.0003 and so on at this size, such as 500kB, 100MB or 2GB "
    add_option(parser, "--max-size", "SIZE", f"{text}(default 100MB)", parse_size, 100 * 10**6)
    text = "how long to record, such as 30s or 8h (default: until Ctrl-C or SIGTERM)"
    add_option(parser, "--duration", "TIME", text, positive_duration)
    text = (
        "with Kafka: record what entered the topics since 2h ago (2h), since a moment "
        "(2026-11-25T12:00:00Z), or since the beginning; --duration counts from then (default: now)"
    )
    add_option(parser, "--start", "TIME", text, parse_start)
    text = "MQTT client ID to connect with (default: the configured one with -record appended)"
    add_option(parser, "--client-id", "ID", text)


def _add_replay(commands: Any) -> None:
    parser = add_command(
        commands,
        "replay",
        "process a recording as the daemon does",
        "Run a recording (JSON Lines of messages, and of answers of AWS) through the daemon's "
        "decoding and state machine on a virtual clock. Results go to standard output. No request "
        "to AWS is made.",
        "presenced.commands.replay",
    )
    parser.add_argument("file", metavar="FILE", help="the recording, or - for standard input")
    add_option(parser, "--config", "FILE", "configuration file to use", Path)
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
    parser = add_command(
        commands,
        "state",
        "inspect the state file, or forget clients",
        "Inspect the state file of a running or stopped daemon, or forget clients.",
        "presenced.commands.state",
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
        add_config(source)
        add_option(source, "--file", "FILE", "state file, instead of the configured one", Path)


def _add_top(commands: Any) -> None:
    parser = add_command(
        commands,
        "top",
        "show the state of a running daemon and its fleet in the terminal",
        "Ask the API of a running daemon, and show whether it receives events, how many clients "
        "are online now, an hour ago and a day ago, why others are offline, and which went offline "
        "last. Times are in UTC. Ctrl-C stops. Into a pipe it prints once. A password is read from "
        "--password-file or the environment variable PRESENCED_TOP_PASSWORD.",
        "presenced.commands.top.command",
    )
    text = "where the daemon listens (default %(default)s)"
    add_option(parser, "--url", "URL", text, check_url, "http://localhost:9883")
    parser.add_argument("--once", action="store_true", help="print once and exit")
    text = "how often to ask, such as 5s (default 2s)"
    add_option(parser, "--interval", "TIME", text, positive_duration, 2.0)
    add_option(parser, "--user", "NAME", "user name, if the listener wants one")
    add_option(parser, "--password-file", "FILE", "file with the password of the user", Path)
    text = "authority of the listener's certificate, PEM (default: those of the system)"
    add_option(parser, "--ca", "FILE", text, Path)


def _add_kafka(commands: Any) -> None:
    parser = commands.add_parser(
        "kafka", help="prepare Kafka", description="Prepare Kafka as a source of events."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    parser = add_command(
        actions,
        "create-topics",
        "create the topics that are missing",
        "Create the topics that the section kafka names and that do not exist, with the settings "
        "that presenced needs. If an existing topic is wrong, nothing is created. A second run "
        "changes nothing.",
        "presenced.commands.kafka.command",
    )
    add_config(parser)
    text = "partitions of kafka.topic and kafka.state_topic (default: those of an existing topic, "
    add_option(parser, "--partitions", "N", f"{text}else 24); can never change", parse_count)
    text = "brokers that keep each record (default: that of the cluster); 3 where there are enough"
    add_option(parser, "--replication-factor", "N", text, parse_count)
