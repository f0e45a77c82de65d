"""From settings, and the files that they name, to the parts of the daemon."""

from dataclasses import dataclass
from datetime import UTC, datetime

from presenced.fleet import ClientFilter
from presenced.presence import OrderingRules, PresenceRules
from presenced.settings import MqttSettings, PresenceSettings, Problem, Settings
from presenced.settings.certificates import certificate_expiries, check_tls_files
from presenced.settings.files import FileSnapshot
from presenced.sources.options import source_options, tool_client_ids
from presenced.sources.source import SourceOptions


@dataclass(frozen=True, slots=True)
class MqttFiles:
    """What was read from the files of the section `mqtt`.

    `options` are those of each connection, `problems` those of the certificate files.
    """

    options: list[SourceOptions]
    problems: list[Problem]
    expiries: dict[str, float]


def read_mqtt_files(mqtt: MqttSettings | None, snapshot: FileSnapshot) -> MqttFiles:
    """Read the password file and the certificate files; none without the section.

    Raises SettingsError if the password file cannot be read.
    """
    if mqtt is None:
        return MqttFiles([], [], {})
    options = source_options(mqtt, snapshot)
    now = datetime.now(UTC)
    problems = check_tls_files(mqtt.tls, now=now, snapshot=snapshot) if mqtt.tls else []
    return MqttFiles(options, problems, certificate_expiries(mqtt.tls, snapshot))


def presence_rules(presence: PresenceSettings) -> PresenceRules:
    """Return the rules of presence."""
    return PresenceRules(
        offline_delay=presence.offline_delay,
        offline_delay_by_reason=dict(presence.offline_delay_by_reason),
        forget_offline_after=presence.forget_offline_after,
        ordering=OrderingRules(
            timestamp_accuracy=round(presence.timestamp_accuracy * 1000),
            version_reset_after=round(presence.version_reset_after * 1000),
        ),
    )


def client_filter(settings: Settings) -> ClientFilter:
    """Return the filter of the daemon's own clients, its tools' clients, and the patterns."""
    mqtt = settings.mqtt
    own = (*mqtt.client_ids, *tool_client_ids(mqtt)) if mqtt else ()
    return ClientFilter(own, settings.presence.ignore_clients)
