"""The configuration of librdkafka, the client of Kafka, from the settings.

Its keys are those of librdkafka's CONFIGURATION.md. The values contain the password and the private
key: it must not be printed.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError

from presenced.settings.files import FileSnapshot
from presenced.settings.kafka import IAM, KafkaSecurity, KafkaSettings, read_kafka_password
from presenced.sources.kafka.library_errors import printable
from presenced.system.log import ThrottledLogger, get_logger

Tokens = Callable[[str | None], tuple[str, float]]
"""Returns a token for AWS_MSK_IAM, and when it expires in seconds since the epoch."""

_SECTION = "kafka.security"
_PEM_KEYS = {"ca": "ssl.ca.pem", "cert": "ssl.certificate.pem", "key": "ssl.key.pem"}
# Of syslog, which librdkafka counts by. A closed idle connection is a notice.
_LOG_WARNINGS = 4


def client_config(
    kafka: KafkaSettings,
    snapshot: FileSnapshot,
    report: Callable[[KafkaError], None],
    *,
    client_id: str = "presenced",
    tokens: Tokens | None = None,
) -> dict[str, Any]:
    """Return what all clients of the cluster have in common.

    Files are read from `snapshot`. `report` is called with the errors of connections, in the thread
    that polls the client. `client_id` is for the logs and metrics of the brokers. `tokens` is
    needed for AWS_MSK_IAM. Raises SettingsError if a file cannot be read.
    """
    security = kafka.security
    return {
        "bootstrap.servers": ",".join(kafka.bootstrap_servers),
        "client.id": client_id,
        "security.protocol": security.protocol,
        "socket.keepalive.enable": True,
        "log_level": _LOG_WARNINGS,
        "logger": _LibraryLog(),
        "error_cb": report,
        **_files(security, snapshot),
        **_login(security, snapshot, tokens),
    }


def reader_config(kafka: KafkaSettings, connection: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a consumer of committed records that commits no position.

    `connection` is what all clients have in common.
    """
    return {
        **connection,
        "group.id": kafka.group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }


def _files(security: KafkaSecurity, snapshot: FileSnapshot) -> dict[str, str]:
    paths = {name: getattr(security, name) for name in _PEM_KEYS}
    return {
        _PEM_KEYS[name]: snapshot.read(path, f"{_SECTION}.{name}").decode(errors="replace")
        for name, path in paths.items()
        if path is not None
    }


def _login(
    security: KafkaSecurity, snapshot: FileSnapshot, tokens: Tokens | None
) -> dict[str, Any]:
    if security.mechanism is None:
        return {}
    if security.mechanism == IAM:
        return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": tokens}
    return {
        "sasl.mechanism": security.mechanism,
        "sasl.username": security.username,
        "sasl.password": read_kafka_password(security, snapshot),
    }


class _LibraryLog:
    """Writes what librdkafka logs as lines of ours, throttled, without addresses and secrets.

    It stands for a logger of the standard library, of which the client calls one method.
    """

    def __init__(self) -> None:
        self._log = ThrottledLogger(get_logger("presenced.kafka"))

    def log(self, level: int, _format: str, facility: str, _client: str, text: str) -> None:
        """Write one line, as `logging.Logger.log` with the arguments that the client gives."""
        write = self._log.warning if level >= logging.WARNING else self._log.info
        detail = printable(text.partition("]: ")[2] or text)
        write("problem in the Kafka client", key=facility, facility=facility, detail=detail)
