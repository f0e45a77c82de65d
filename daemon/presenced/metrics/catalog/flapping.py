"""Metrics of clients that flap, fight over a client ID or are refused, with the ID as a label."""

from collections.abc import Callable, Iterable
from heapq import nlargest
from itertools import islice

from presenced.metrics.declaration import (
    CollectedMetric,
    FleetSources,
    GaugeMetric,
    Values,
    WorstClientsMetric,
)
from presenced.metrics.metric import is_long
from presenced.pipeline.flapping import LEAST_SHOWN, MAX_SHOWN
from presenced.presence.recent_counts import Counts

# More than of the others: alerts leave out a client by its series.
_MAX_HELD = 1000

_BOUND = (
    f"The {MAX_SHOWN} highest, from {LEAST_SHOWN} on, also without metrics.per_client; those of "
    "presence.clients with series: false have none."
)


def _may_have_series(sources: FleetSources, client_id: str) -> bool:
    presence = sources.pipeline.fleet.presence
    client = presence.clients.get(client_id)
    rule = presence.find_rule(client_id) if client is None else client.rule
    excluded = rule is not None and not rule.series
    return not (excluded or is_long(client_id))


def _highest(sources: FleetSources, number_of: Callable[[Counts], int]) -> Values:
    counts = sources.pipeline.flapping.recent.at_least(LEAST_SHOWN, sources.clock())
    shown = [
        (client_id, number)
        for client_id, each in counts.items()
        if (number := number_of(each)) >= LEAST_SHOWN and _may_have_series(sources, client_id)
    ]
    return dict(nlargest(MAX_SHOWN, shown, key=lambda each: each[1]))


def _held(sources: FleetSources) -> Iterable[str]:
    damping = sources.pipeline.flapping.damping
    return [] if damping is None else damping.held(sources.clock())


def _flapping(sources: FleetSources) -> Values:
    shown = (each for each in _held(sources) if _may_have_series(sources, each))
    return dict.fromkeys(islice(shown, _MAX_HELD), 1)


FLAPPING: tuple[CollectedMetric[FleetSources], ...] = (
    WorstClientsMetric(
        "iot_client_flaps_recent",
        "Connections of the client that ended within the last hour, by another reason than a "
        f"takeover. {_BOUND}",
        "topk(10, max without (instance, partition) (iot_client_flaps_recent))",
        labels=("client_id",),
        read=lambda s: _highest(s, lambda counts: counts.flaps),
        limit=MAX_SHOWN,
    ),
    WorstClientsMetric(
        "iot_client_takeovers_recent",
        "Connections of the client that another one with the same client ID took over within the "
        f"last hour. {_BOUND}",
        "topk(10, max without (instance, partition) (iot_client_takeovers_recent))",
        labels=("client_id",),
        read=lambda s: _highest(s, lambda counts: counts.takeovers),
        limit=MAX_SHOWN,
    ),
    WorstClientsMetric(
        "iot_client_connect_failures_recent",
        f"Connects of the client that were refused within the last hour. {_BOUND}",
        "topk(10, max without (instance, partition) (iot_client_connect_failures_recent))",
        labels=("client_id",),
        read=lambda s: _highest(s, lambda counts: counts.refused),
        limit=MAX_SHOWN,
    ),
    WorstClientsMetric(
        "iot_client_short_sessions_recent",
        "Connections of the client that ended within the last hour after less than a minute, by "
        f"event time. {_BOUND}",
        "topk(10, max without (instance, partition) (iot_client_short_sessions_recent))",
        labels=("client_id",),
        read=lambda s: _highest(s, lambda counts: counts.short_sessions),
        limit=MAX_SHOWN,
    ),
    WorstClientsMetric(
        "iot_client_flapping",
        "Always 1; the client is held as flapping (presence.damping). At most "
        f"{_MAX_HELD} clients, those with the highest penalties.",
        "max without (instance, partition) (iot_client_flapping)",
        labels=("client_id",),
        read=_flapping,
        limit=_MAX_HELD,
    ),
    GaugeMetric(
        "iot_clients_flapping",
        "Clients that are held as flapping; no sample if presence.damping is off.",
        "iot_clients_flapping > 0",
        read=lambda s: {} if s.pipeline.flapping.damping is None else {(): len([*_held(s)])},
    ),
)
