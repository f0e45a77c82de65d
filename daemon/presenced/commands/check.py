"""`presenced check`: validate the configuration and the files that it names."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from presenced.commands.output import DONE, WRONG, print_error
from presenced.settings import MqttSettings, Problem, SettingsError, load_settings, read_password
from presenced.settings.certificates import check_tls_files
from presenced.web.protection import read_protection


def run(options: argparse.Namespace) -> int:
    """Print every problem with its severity. Warnings leave the exit status 0."""
    settings = load_settings(options.config)
    problems = [
        *(check_tls_files(settings.mqtt.tls, now=datetime.now(UTC)) if settings.mqtt.tls else ()),
        *_password_problems(settings.mqtt),
        *_web_problems(settings.metrics.web_config),
        *_state_problems(settings.state.path),
    ]
    for problem in problems:
        print_error(f"presenced: {problem.severity}: {problem}")
    if any(problem.severity == "error" for problem in problems):
        return WRONG
    print(f"{options.config} is valid.")
    return DONE


def _password_problems(mqtt: MqttSettings) -> Sequence[Problem]:
    try:
        read_password(mqtt)
    except SettingsError as error:
        return error.problems
    return ()


def _web_problems(web_config: Path | None) -> Sequence[Problem]:
    try:
        return read_protection(web_config).warnings
    except SettingsError as error:
        return error.problems


def _state_problems(path: Path | None) -> list[Problem]:
    if path is None or path.parent.is_dir():
        return []
    message = f"there is no directory {path.parent}: create it for the user that presenced runs as"
    return [
        Problem(
            key="state.path", message=message, value=str(path), severity="warning", kind="missing"
        )
    ]
