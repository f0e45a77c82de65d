"""From settings, and the files that they name, to the parts of the daemon."""

from datetime import UTC, datetime

from presenced.fleet import ClientFilter
from presenced.presence import OrderingRules, PresenceRules
from presenced.settings import PresenceSettings, Settings
from presenced.settings.certificates import certificate_expiries, check_tls_files
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt.options import source_options, tool_client_ids
from presenced.sources.source import SourceFiles


def read_source_files(settings: Settings, snapshot: FileSnapshot) -> SourceFiles:
    """Read the password file and the certificate files of the source.

    Raises SettingsError if the password file cannot be read.
    """
    mqtt, tls = settings.mqtt_source, settings.tls_files
    options = source_options(settings, mqtt, snapshot) if mqtt else []
    now = datetime.now(UTC)
    problems = check_tls_files(tls, now=now, snapshot=snapshot) if tls else []
    expiries = certificate_expiries(tls, snapshot)
    return SourceFiles(connections=options, problems=problems, expiries=expiries)


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
