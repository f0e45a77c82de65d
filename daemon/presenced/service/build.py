"""From settings to the parts of the daemon."""

from presenced.fleet import ClientFilter
from presenced.presence import OrderingRules, PresenceRules
from presenced.settings import PresenceSettings, Settings
from presenced.sources.options import tool_client_ids


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
    own = (*settings.mqtt.client_ids, *tool_client_ids(settings.mqtt))
    return ClientFilter(own, settings.presence.ignore_clients)
