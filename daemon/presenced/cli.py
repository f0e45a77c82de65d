"""The command line: parse, call, print."""

import argparse
import asyncio
import faulthandler
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from presenced import __version__
from presenced.commands.replay import Replay
from presenced.commands.run import serve
from presenced.settings import (
    DEFAULT_CONFIG,
    FLAGS,
    Problem,
    Settings,
    SettingsError,
    load_settings,
)
from presenced.settings.pem import check_tls_files
from presenced.sources.recording import read_recording
from presenced.store.errors import StateError
from presenced.system import log
from presenced.system.journal import is_journal
from presenced.system.progress import count_lines
from presenced.web.protection import read_protection
from presenced.web.server import ListenerError

DONE, FAILED, WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit status: 0 done, 1 failed, 2 wrong usage or configuration.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except SettingsError as error:
        for problem in error.problems:
            _say(f"presenced: {problem}")
        return WRONG
    except BrokenPipeError:
        # Whoever read our output has heard enough; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="presenced",
        description="Which devices of an AWS IoT Core fleet are online, as Prometheus metrics.",
    )
    parser.add_argument("--version", action="version", version=f"presenced {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_doctor(commands)
    _add_demo(commands)
    _add_record(commands)
    _add_replay(commands)
    _add_simulate(commands)
    _add_state(commands)
    return parser


def _add_run(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        "run the daemon",
        "Connect to AWS IoT Core and serve presence as Prometheus metrics. Flags override the "
        "environment, the environment overrides the file; the file may be left out when they "
        "suffice. SIGHUP reloads, SIGTERM and Ctrl-C stop.",
        _run,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    helps = {
        "--endpoint": ("HOST", "host name of the AWS IoT Core data endpoint"),
        "--cert": ("FILE", "client certificate, PEM"),
        "--key": ("FILE", "its private key, PEM"),
        "--ca": ("FILE", "authority that signed the broker's certificate, PEM"),
        "--client-id": ("ID", "MQTT client ID of the daemon"),
        "--listen": ("ADDRESS", "where to serve metrics, such as :9883 or 127.0.0.1:9883"),
    }
    for key, flag in FLAGS.items():
        metavar, text = helps[flag]
        parser.add_argument(flag, dest=key, metavar=metavar, help=text)


def _add_check(commands: Any) -> None:
    parser = _command(
        commands,
        "check",
        "validate the configuration",
        "Validate the configuration and the certificate files that it names. Nothing is contacted.",
        _check,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )


def _add_doctor(commands: Any) -> None:
    from presenced.commands.doctor.command import add_arguments

    parser = _command(
        commands,
        "doctor",
        "examine the connection step by step",
        "Connect as the daemon does, beside it, and tell of each step up to the first message "
        "whether it succeeds, and if not, why and what to do. Exit status 1 when a step fails.",
        _doctor,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", default=DEFAULT_CONFIG, help="default %(default)s"
    )
    add_arguments(parser)


def _add_demo(commands: Any) -> None:
    from presenced_emulator.arguments import add_demo_arguments

    parser = _command(
        commands,
        "demo",
        "show it on an embedded broker",
        "Run the daemon on an embedded broker with simulated devices. Needs nothing else.",
        _demo,
    )
    add_demo_arguments(parser)


def _add_record(commands: Any) -> None:
    from presenced.commands.recorder.command import add_arguments

    parser = _command(
        commands,
        "record",
        "write what arrives to a recording",
        "Connect as the daemon does, beside it, and write what arrives to a recording that replay"
        " reads. Nothing is overwritten. Ctrl-C and SIGTERM stop.",
        _record,
    )
    add_arguments(parser)


def _add_replay(commands: Any) -> None:
    parser = _command(
        commands,
        "replay",
        "run a recording through the daemon's pipeline",
        "Run a recording (JSON Lines of received, topic and payload) through the daemon's "
        "decoding and state machine on a virtual clock. Results go to standard output.",
        _replay,
    )
    parser.add_argument("file", metavar="FILE", help="the recording, or - for standard input")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings to run it with")
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
        help="stop at the last line, instead of letting time run on until no client is pending",
    )


def _add_simulate(commands: Any) -> None:
    from presenced_emulator.arguments import add_simulate_arguments

    parser = _command(
        commands,
        "simulate",
        "publish the events of a fleet that is made up",
        "Publish the events of a made-up fleet to a broker of your own, so that alerts can be tried"
        " out. Never to AWS IoT Core, which lets nobody publish to its $aws/events topics.",
        _simulate,
    )
    add_simulate_arguments(parser)


def _add_state(commands: Any) -> None:
    from presenced.commands.state import add_arguments

    parser = _command(
        commands,
        "state",
        "look into the state file, or forget clients",
        "Look into the state file of a running or a stopped daemon, or have clients forgotten.",
        _state,
    )
    add_arguments(parser)


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


def _run(options: argparse.Namespace) -> int:
    overrides = {key: getattr(options, key) for key in FLAGS}
    load = partial(_load_for_run, options.config, overrides)
    settings = load(("missing", "unreadable"))
    log.configure(settings.log.level, settings.log.format)
    # A watchdog ends a hung daemon by SIGABRT: then tell where every thread stood.
    faulthandler.enable()
    try:
        # At a reload a wrong file of any kind leaves the running configuration in place.
        asyncio.run(serve(settings, partial(load, None)))
    except (ListenerError, StateError) as error:
        _say(f"presenced: {error}")
        return FAILED
    return DONE


def _load_for_run(
    config: Path | None, overrides: Mapping[str, Any], fatal: Collection[str] | None
) -> Settings:
    """The settings, unless something is wrong with the certificate files; else SettingsError.

    The default file may be missing. `fatal` are the kinds of problems that count, None all. At
    start only missing files do: what is wrong inside them is no reason not to run, but a state of
    the connection, and mending it is noticed.
    """
    if config is None and DEFAULT_CONFIG.exists():
        config = DEFAULT_CONFIG
    settings = load_settings(config, overrides=overrides)
    problems = [
        problem
        for problem in _tls_problems(settings)
        if problem.severity == "error" and (fatal is None or problem.kind in fatal)
    ]
    if problems:
        raise SettingsError(problems)
    return settings


def _check(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    problems = [*_tls_problems(settings), *_web_problems(settings), *_state_problems(settings)]
    for problem in problems:
        _say(f"presenced: {problem.severity}: {problem}")
    if any(problem.severity == "error" for problem in problems):
        return WRONG
    print(f"{options.config} is valid.")
    return DONE


def _tls_problems(settings: Settings) -> list[Problem]:
    if not settings.mqtt.tls:
        return []
    return check_tls_files(settings.mqtt.tls, now=datetime.now(UTC))


def _web_problems(settings: Settings) -> Sequence[Problem]:
    try:
        return read_protection(settings.metrics.web_config).warnings
    except SettingsError as error:
        return error.problems


def _state_problems(settings: Settings) -> list[Problem]:
    path = settings.state.path
    if path is None or path.parent.is_dir():
        return []
    message = f"there is no directory {path.parent}: make it, for the user that presenced runs as"
    return [
        Problem(
            key="state.path", message=message, value=str(path), severity="warning", kind="missing"
        )
    ]


def _doctor(options: argparse.Namespace) -> int:
    from presenced.commands.doctor.command import run_doctor

    try:
        well = run_doctor(
            options.config,
            wait=options.timeout,
            client_id=options.client_id,
            as_json=options.json,
            say=partial(print, flush=True),
        )
    except KeyboardInterrupt:
        return FAILED
    return DONE if well else FAILED


def _demo(options: argparse.Namespace) -> int:
    try:
        from presenced_emulator.demo import run_demo
    except ModuleNotFoundError as error:
        _say(
            f"presenced: the demo needs {error.name}, which is not installed.\n"
            "Install it from the project's folder: pip install '.[demo]'"
        )
        return FAILED
    return asyncio.run(
        run_demo(
            devices=options.devices,
            duration=options.duration,
            listen=options.listen,
            seed=options.seed,
        )
    )


def _record(options: argparse.Namespace) -> int:
    from presenced.commands.recorder.command import run_record
    from presenced.commands.recorder.files import RecordingError

    try:
        connected = run_record(options, _say)
    except RecordingError as error:
        _say(f"presenced: {error}")
        return FAILED
    return DONE if connected else FAILED


def _replay(options: argparse.Namespace) -> int:
    settings = load_settings(options.config, require_endpoint=False)
    log.configure("warning", settings.log.format)
    bad_lines = 0

    def report(number: int, why: str) -> None:
        nonlocal bad_lines
        bad_lines += 1
        _say(f"presenced: {options.file}:{number}: left out, not a line of a recording: {why}")

    with ExitStack() as stack:
        try:
            recording = (
                sys.stdin.buffer
                if options.file == "-"
                else stack.enter_context(Path(options.file).open("rb"))
            )
        except OSError as error:
            _say(f"presenced: cannot read {options.file}: {error.strerror}")
            return FAILED
        replay = Replay(settings, sys.stdout.buffer, options.shown)
        replay.run(read_recording(count_lines(recording), report), settle=options.settle)
    sys.stdout.buffer.flush()
    return FAILED if bad_lines else DONE


def _simulate(options: argparse.Namespace) -> int:
    from presenced_emulator.simulate.command import run_simulate
    from presenced_emulator.simulate.publisher import SimulationError

    try:
        run_simulate(options, print)
    except SimulationError as error:
        _say(f"presenced: {error}")
        return FAILED
    return DONE


def _state(options: argparse.Namespace) -> int:
    from presenced.commands.state import run_state

    try:
        found_all = run_state(options, print, sys.stdout.buffer.write)
    except StateError as error:
        _say(f"presenced: {error}")
        return FAILED
    sys.stdout.flush()
    return DONE if found_all else FAILED


def _say(text: str) -> None:
    # The journal takes lines for information unless they say otherwise (sd-daemon(3)).
    level = "<3>" if is_journal(sys.stderr) else ""
    print(f"{level}{text}", file=sys.stderr)
