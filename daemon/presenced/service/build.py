"""From settings, and the files that they name, to the parts of the daemon."""

from datetime import UTC, datetime

from presenced.events.status import StatusTopic
from presenced.fleet import Fleet
from presenced.presence import ClientRule, OrderingRules, PresenceRules
from presenced.presence.damping import DampingRules
from presenced.presence.name_patterns import ClientFilter
from presenced.settings import PresenceSettings, Settings
from presenced.settings.credential_files import certificate_problems, expiries
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt.options import source_options, tool_client_ids
from presenced.sources.source import SourceFiles


def read_source_files(settings: Settings, snapshot: FileSnapshot) -> SourceFiles:
    """Read the password file and the certificate files of the source.

    Raises SettingsError if the password file cannot be read.
    """
    mqtt = settings.mqtt_source
    return SourceFiles(
        connections=source_options(settings, mqtt, snapshot) if mqtt else [],
        problems=certificate_problems(settings, now=datetime.now(UTC), snapshot=snapshot),
        expiries=expiries(settings, snapshot),
    )


def new_fleet(settings: Settings, parts: int = 1) -> Fleet:
    """Return a fleet without clients; it is one of so many parts."""
    rules, pattern = presence_rules(settings.presence), settings.presence.thing_pattern
    return Fleet(rules, client_filter(settings), pattern, parts)


def status_topics(presence: PresenceSettings) -> list[StatusTopic]:
    """Return the topics of status messages."""
    return [StatusTopic(**topic.model_dump()) for topic in presence.status_topics]


def presence_rules(presence: PresenceSettings) -> PresenceRules:
    """Return the rules of presence."""
    return PresenceRules(
        offline_delay=presence.offline_delay,
        offline_delay_by_reason=dict(presence.offline_delay_by_reason),
        forget_offline_after=presence.forget_offline_after,
        client_rules=[
            ClientRule(each.match, each.offline_delay, each.forget_offline_after, each.series)
            for each in presence.clients
        ],
        ordering=OrderingRules(
            timestamp_accuracy=round(presence.timestamp_accuracy * 1000),
            version_reset_after=round(presence.version_reset_after * 1000),
        ),
    )


def damping_rules(presence: PresenceSettings) -> DampingRules | None:
    """Return the rules of damping, None if it is off."""
    damping = presence.damping
    if not damping.enabled:
        return None
    return DampingRules(damping.half_life, damping.suppress_after, damping.reuse_below)


def client_filter(settings: Settings) -> ClientFilter:
    """Return the filter of the daemon's own clients, its tools' clients, and the patterns."""
    mqtt = settings.mqtt
    own = (*mqtt.client_ids, *tool_client_ids(mqtt)) if mqtt else ()
    return ClientFilter(own, settings.presence.ignore_clients)
