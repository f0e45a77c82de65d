"""From settings to the parts of the daemon."""

import os
from collections.abc import Iterable

from presenced.fleet import ClientFilter
from presenced.pipeline import Pipeline
from presenced.presence import OrderingRules, PresenceRules
from presenced.settings import PresenceSettings, Settings, StateSettings
from presenced.sources.gap_detector import GapDetector
from presenced.sources.options import tool_client_ids
from presenced.store.file import default_path
from presenced.store.state_store import StateStore
from presenced.store.totals import Total
from presenced.system.loop import Clocks


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


def state_store(
    state: StateSettings,
    pipeline: Pipeline,
    gap_detector: GapDetector,
    totals: Iterable[Total],
    clocks: Clocks,
) -> StateStore | None:
    """Return the store of the state file, None if there is to be none."""
    path = state.path or default_path(os.environ)
    if path is None:
        return None
    return StateStore(path, pipeline, gap_detector, totals, state.on_error, clocks)
