"""Check the files with certificates, keys and passwords that the settings name and use."""

from datetime import datetime

from presenced.settings.certificates import check_tls_files
from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import read_kafka_password
from presenced.settings.model import Settings
from presenced.settings.mqtt import read_password
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


def password_problems(settings: Settings, snapshot: FileSnapshot | None = None) -> list[Problem]:
    """Return what is wrong with the password file of the source, and with that of a PIN."""
    if (
        (mqtt := settings.mqtt_source)
        and mqtt.tls
        and (problems := pkcs11_problems(mqtt.tls.pkcs11, snapshot))
    ):
        return problems
    try:
        if mqtt:
            read_password(mqtt, snapshot)
        elif settings.source == "kafka":
            read_kafka_password(settings.kafka.security, snapshot)
    except SettingsError as error:
        return list(error.problems)
    return []
