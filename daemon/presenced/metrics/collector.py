"""Totals of the daemon, read from where they are kept, when Prometheus asks."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from presenced import __version__
from presenced.events.model import CONNECT_FAILURE_REASONS, DISCONNECT_REASONS
from presenced.metrics.catalog import CATALOG
from presenced.metrics.series import ClassCounts, ClientSeries
from presenced.pipeline import Pipeline
from presenced.presence.counts import Distribution
from presenced.sources.gaps import GapReason
from presenced.sources.status import ConnectionStatus
from presenced.store.writer import WriterCounts


def _no_backlog() -> int:
    return 0


@dataclass(slots=True)
class MetricSources:
    """What metrics are read from. `certificate_expiry` and `reloaded_at` are epoch seconds."""

    pipeline: Pipeline
    series: ClientSeries
    transport: str
    classes: ClassCounts = field(default_factory=ClassCounts)
    connections: Sequence[ConnectionStatus] = ()
    backlog: Callable[[], int] = _no_backlog
    gaps: Mapping[GapReason, int] = field(default_factory=lambda: dict.fromkeys(GapReason, 0))
    state: WriterCounts = field(default_factory=WriterCounts)
    certificate_expiry: dict[str, float] = field(default_factory=dict)
    reload_successful: bool = True
    reloaded_at: float = field(default_factory=time.time)

    @property
    def clients_without_series(self) -> int:
        """Clients that should have series of their own and have none for want of room."""
        known = self.pipeline.presence.counts.known
        return max(0, known - self.series.shown) if self.series.enabled else 0


Samples = Iterable[tuple[tuple[str, ...], float]]
Label = TypeVar("Label", bound=str)


class TotalsCollector(Collector):
    """Everything that is not per client, in the order of the catalog."""

    def __init__(self, view: MetricSources) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """The families of the catalog with their present values."""
        for name, read in _READERS.items():
            yield _simple(name, read(self._view))
        if groups := self._view.classes.labels:
            labels = (*groups, "state")
            yield _simple("iot_class_clients", self._view.classes.samples(), labels)
        presence = self._view.pipeline.presence.counts
        for name, distribution in (
            ("iot_client_session_duration_seconds", presence.session_duration),
            ("iot_client_offline_duration_seconds", presence.offline_duration),
        ):
            yield _histogram(name, {(): distribution})
        delays = self._view.pipeline.counts.delays
        yield _histogram(
            "presenced_state_commit_duration_seconds", {(): self._view.state.durations}
        )
        yield _histogram(
            "iot_event_delay_seconds", {(family,): delay for family, delay in delays.items()}
        )


def _simple(name: str, samples: Samples, labels: tuple[str, ...] | None = None) -> Metric:
    metric = CATALOG[name]
    family_type = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
    family = family_type(name, metric.help, labels=labels or metric.labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(name: str, distributions: Mapping[tuple[str, ...], Distribution]) -> Metric:
    metric = CATALOG[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, distribution in distributions.items():
        bounds = [*map(floatToGoString, distribution.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(distribution.buckets), strict=True))
        family.add_metric(labels, buckets, distribution.sum)
    return family


def _one(value: float) -> Samples:
    return [((), value)]


def _by_label(values: Mapping[Label, int]) -> Samples:
    return [((str(label),), value) for label, value in values.items()]


def _disconnects(view: MetricSources) -> Samples:
    counted = view.pipeline.presence.counts.disconnects
    return [
        ((reason, by), counted[reason, by])
        for reason in (*DISCONNECT_REASONS, "other")
        for by in ("client", "server")
    ]


def _connect_failures(view: MetricSources) -> Samples:
    counted = view.pipeline.counts.connect_failures
    return [((reason,), counted[reason]) for reason in (*CONNECT_FAILURE_REASONS, "other")]


def _ignored(view: MetricSources) -> Samples:
    ignored = Counter(view.pipeline.counts.ignored)
    ignored.update(view.pipeline.presence.counts.ignored)
    return _by_label(ignored)


def _tallied(view: MetricSources, family: str) -> Samples:
    return _by_label(view.pipeline.counts.tallied[family])


def _build_info(view: MetricSources) -> Samples:
    return [((__version__, platform.python_version(), view.transport), 1)]


def _connects(view: MetricSources) -> Samples:
    return [
        ((status.client_id, session), count)
        for status in view.connections
        for session, count in status.connects.items()
    ]


def _failures(view: MetricSources) -> Samples:
    return [
        ((status.client_id, reason.value), count)
        for status in view.connections
        for reason, count in status.failures.items()
    ]


def _granted(view: MetricSources) -> Samples:
    return [
        ((status.client_id, topic_filter), granted)
        for status in view.connections
        for topic_filter, granted in status.granted.items()
    ]


def _messages(view: MetricSources) -> Samples:
    return [
        ((connection, str(qos)), count)
        for connection, traffic in view.pipeline.traffic.items()
        for qos, count in traffic.messages.items()
    ]


def _last_message(view: MetricSources) -> Samples:
    return [((c,), traffic.last_message or 0) for c, traffic in view.pipeline.traffic.items()]


def _saturated(view: MetricSources) -> Samples:
    return [((c,), traffic.saturated_seconds) for c, traffic in view.pipeline.traffic.items()]


_READERS: dict[str, Callable[[MetricSources], Samples]] = {
    "iot_clients": lambda v: _by_label(v.pipeline.presence.counts.clients),
    "iot_clients_unverified": lambda v: _one(v.pipeline.presence.counts.unverified),
    "iot_client_transitions_total": lambda v: _by_label(v.pipeline.presence.counts.transitions),
    "iot_client_disconnects_total": _disconnects,
    "iot_client_flaps_suppressed_total": lambda v: _one(
        v.pipeline.presence.counts.flaps_suppressed
    ),
    "iot_client_connections_replaced_total": lambda v: _one(
        v.pipeline.presence.counts.connections_replaced
    ),
    "iot_client_connect_failures_total": _connect_failures,
    "iot_clients_forgotten_total": lambda v: _by_label(v.pipeline.presence.counts.forgotten),
    "iot_clients_supposed_online_total": lambda v: _one(v.pipeline.presence.counts.supposed_online),
    "iot_events_total": lambda v: list(v.pipeline.counts.decoded.items()),
    "iot_events_rejected_total": lambda v: _by_label(v.pipeline.counts.rejected),
    "iot_events_ignored_total": _ignored,
    "iot_event_topic_disagreements_total": lambda v: _one(v.pipeline.counts.topic_disagreements),
    "iot_event_version_resets_total": lambda v: _one(v.pipeline.presence.counts.version_resets),
    "iot_events_missed_total": lambda v: _by_label(v.pipeline.presence.counts.missed),
    "iot_things": lambda v: _one(len(v.pipeline.fleet.inventory.things.live)),
    "iot_thing_groups": lambda v: _one(len(v.pipeline.fleet.inventory.groups.live)),
    "iot_thing_types": lambda v: _one(len(v.pipeline.fleet.inventory.types.live)),
    "iot_registry_changes_total": lambda v: list(v.pipeline.counts.registry_changes.items()),
    "iot_thing_type_clients": lambda v: v.pipeline.fleet.thing_types.samples(
        v.pipeline.fleet.inventory.types.live
    ),
    "iot_thing_group_clients": lambda v: v.pipeline.fleet.thing_groups.samples(
        v.pipeline.fleet.inventory.groups.live
    ),
    "iot_job_events_total": lambda v: _tallied(v, "job"),
    "iot_job_executions_total": lambda v: _tallied(v, "job_execution"),
    "iot_certificates_registered_total": lambda v: _one(v.pipeline.counts.certificates_registered),
    "iot_command_executions_total": lambda v: _tallied(v, "command_execution"),
    "presenced_build_info": _build_info,
    "presenced_mqtt_connected": lambda v: [((s.client_id,), s.connected) for s in v.connections],
    "presenced_mqtt_connects_total": _connects,
    "presenced_mqtt_connection_failures_total": _failures,
    "presenced_mqtt_subscription_granted": _granted,
    "presenced_mqtt_messages_total": _messages,
    "presenced_mqtt_messages_dropped_total": lambda v: [
        ((s.client_id,), s.messages_dropped) for s in v.connections
    ],
    "presenced_mqtt_callback_errors_total": lambda v: [
        ((s.client_id,), s.callback_errors) for s in v.connections
    ],
    "presenced_mqtt_last_message_timestamp_seconds": _last_message,
    "presenced_mqtt_saturated_seconds_total": _saturated,
    "presenced_gaps_total": lambda v: _by_label(v.gaps),
    "presenced_pipeline_backlog_messages": lambda v: _one(v.backlog()),
    "presenced_pipeline_faults_total": lambda v: _one(v.pipeline.counts.faults),
    "presenced_clients_without_series": lambda v: _one(v.clients_without_series),
    "presenced_state_unavailable": lambda v: _one(v.state.unavailable),
    "presenced_state_commits_total": lambda v: _one(v.state.commits),
    "presenced_state_commit_failures_total": lambda v: _by_label(v.state.failures),
    "presenced_state_last_commit_timestamp_seconds": lambda v: _one(v.state.last_commit),
    "presenced_certificate_expiry_timestamp_seconds": lambda v: [
        ((which,), at) for which, at in v.certificate_expiry.items()
    ],
    "presenced_config_last_reload_successful": lambda v: _one(v.reload_successful),
    "presenced_config_last_reload_success_timestamp_seconds": lambda v: _one(v.reloaded_at),
}
