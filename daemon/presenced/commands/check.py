"""`presenced check`: validate the configuration and the files that it names."""

import argparse
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from presenced.commands.output import DONE, WRONG, print_error
from presenced.settings import MqttSettings, Problem, SettingsError, load_settings
from presenced.settings.authorizer import masked_user_name
from presenced.settings.credential_files import certificate_problems, password_problems
from presenced.settings.problems import Kind
from presenced.sources.kafka.installed import missing_client
from presenced.sources.mqtt.connection_options import ALPN_PORT, ConnectionOptions
from presenced.sources.mqtt.options import source_options
from presenced.web.protection import read_protection


def run(options: argparse.Namespace) -> int:
    """Print every problem with its severity. Warnings leave the exit status 0."""
    settings = load_settings(options.config)
    missing = missing_client() if settings.source == "kafka" else None
    problems = [
        *([missing] if missing else []),
        *certificate_problems(settings, now=datetime.now(UTC)),
        *password_problems(settings),
        *_authorizer_problems(settings.mqtt_source),
        *_web_problems(settings.metrics.web_config),
        *_state_problems(settings.state.path),
    ]
    for problem in problems:
        print_error(f"presenced: {problem.severity}: {problem}")
    if any(problem.severity == "error" for problem in problems):
        return WRONG
    if settings.signing_region is not None:
        print(
            "mqtt.auth is sigv4: MQTT uses no client certificate. Its handshakes are signed for"
            f" {settings.signing_region} with credentials of the environment variables, the shared"
            " configuration files, the container or the instance."
        )
    if settings.tls_files and settings.tls_files.pkcs11.library is not None:
        print(
            "The private key is in hardware, which is not asked here: `presenced doctor` does it."
        )
    print(f"{options.config} is valid.")
    if settings.mqtt_source and settings.mqtt_source.auth == "custom":
        print(_authorizer_request(source_options(settings, settings.mqtt_source)[0]))
    return DONE


def _authorizer_problems(mqtt: MqttSettings | None) -> list[Problem]:
    if mqtt is None or mqtt.auth != "custom" or mqtt.port == ALPN_PORT:
        return []
    message = (
        f"is not {ALPN_PORT}: on other ports AWS IoT Core asks a custom authorizer only if the"
        " domain configuration has the authentication type CUSTOM_AUTH and the application protocol"
        " SECURE_MQTT"
    )
    return [Problem(key="mqtt.port", value=str(mqtt.port), message=message, severity="warning")]


def _authorizer_request(options: ConnectionOptions) -> str:
    """Return what AWS IoT Core gets of a client with a custom authorizer, without secrets."""
    alpn = f"the ALPN protocol {options.alpn[0]}" if options.alpn else "no ALPN protocol"
    password = "a password" if options.password else "no password"
    user_name = masked_user_name(options.username or "")
    return f"It sends {alpn} to {options.address}, the user name {user_name} and {password}."


def _web_problems(web_config: Path | None) -> Sequence[Problem]:
    try:
        return read_protection(web_config).warnings
    except SettingsError as error:
        return error.problems


def _state_problems(path: Path | None) -> list[Problem]:
    if path is None:
        return []
    directory = path.parent
    kind: Kind = "unreadable"
    message = (
        f"this user may not write the directory {directory}: make sure that the user that presenced"
        " runs as may"
    )
    with suppress(PermissionError):
        if not_a_file := _why_not_a_file(path):
            message = f"{not_a_file}: set state.path to a file"
        elif not directory.is_dir():
            kind = "missing"
            message = (
                f"there is no directory {directory}: create it for the user that presenced runs as"
            )
        elif os.access(directory, os.W_OK | os.X_OK):
            return []
    return [
        Problem(key="state.path", message=message, value=str(path), severity="warning", kind=kind)
    ]


def _why_not_a_file(path: Path) -> str | None:
    """Return what is in the place of a file, None if that is nothing. Raises PermissionError."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except OSError as error:
        return str(error.strerror)
    if stat.S_ISDIR(mode):
        return "is a directory"
    return None if stat.S_ISREG(mode) else "is not a regular file"
