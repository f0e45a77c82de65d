"""Check the files with certificates, keys and passwords that the settings name and use."""

from collections.abc import Callable
from datetime import datetime

from presenced.settings.certificates import certificate_expiries, check_tls_files
from presenced.settings.connection_secrets import (
    read_aws_proxy,
    read_mqtt_proxy,
    read_password,
    read_user_name,
)
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import read_kafka_password
from presenced.settings.model import Settings
from presenced.settings.pkcs11 import pkcs11_problems
from presenced.settings.problems import Problem, SettingsError


def certificate_problems(
    settings: Settings, *, now: datetime, snapshot: FileSnapshot | None = None
) -> list[Problem]:
    """Return everything that is wrong at `now`, which has a zone, with the certificates and keys.

    These are the files of `mqtt.tls` and, with `source: kafka`, those of `kafka.security`.
    """
    snapshot = snapshot or FileSnapshot()
    problems = []
    if tls := settings.tls_files:
        problems += check_tls_files(tls, now=now, snapshot=snapshot)
    if settings.source == "kafka":
        security, section = settings.kafka.security, "kafka.security"
        problems += check_tls_files(security, now=now, snapshot=snapshot, section=section)
    return problems


def expiries(settings: Settings, snapshot: FileSnapshot | None = None) -> dict[str, float]:
    """Return when the certificates of a configuration expire, in seconds since the epoch.

    Those of `mqtt.tls` are `client` and `ca`; with `source: kafka` those of `kafka.security` are
    `kafka_client` and `kafka_ca`.
    """
    found = certificate_expiries(settings.tls_files, snapshot)
    if settings.source == "kafka":
        of_kafka = certificate_expiries(settings.kafka.security, snapshot)
        found |= {f"kafka_{name}": end for name, end in of_kafka.items()}
    return found


def password_problems(settings: Settings, snapshot: FileSnapshot | None = None) -> list[Problem]:
    """Return what is wrong with the files of passwords, tokens, signatures and PINs in use."""
    problems: list[Problem] = []
    snapshot = snapshot or FileSnapshot()
    reads: list[Callable[[], object]] = [
        lambda: read_aws_proxy(settings.aws, settings.mqtt, snapshot)
    ]
    if mqtt := settings.mqtt_source:
        reads += [
            lambda: read_password(mqtt, snapshot),
            lambda: read_user_name(mqtt, snapshot),
            lambda: read_mqtt_proxy(mqtt, snapshot),
        ]
        problems += pkcs11_problems(mqtt.tls.pkcs11, snapshot) if mqtt.tls else []
    elif settings.source == "kafka":
        reads.append(lambda: read_kafka_password(settings.kafka.security, snapshot))
    for read in reads:
        try:
            read()
        except SettingsError as error:
            problems += [each for each in error.problems if each not in problems]
    return problems
