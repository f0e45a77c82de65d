"""Metrics of the fleet: presence, event messages, the registry and the event families beside it."""

from collections import Counter

from presenced.events.model import CONNECT_FAILURE_REASONS, DISCONNECT_REASONS
from presenced.metrics.declaration import Attribute, CollectedMetric, MetricSources, Values


def _disconnects(sources: MetricSources) -> Values:
    counted = sources.presence.disconnects
    return {
        (reason, initiated_by): counted[reason, initiated_by]
        for reason in (*DISCONNECT_REASONS, "other")
        for initiated_by in ("client", "server")
    }


def _connect_failures(sources: MetricSources) -> Values:
    counted = sources.events.connect_failures
    return {reason: counted[reason] for reason in (*CONNECT_FAILURE_REASONS, "other")}


def _ignored(sources: MetricSources) -> Values:
    ignored = Counter(sources.events.ignored)
    ignored.update(sources.presence.ignored)
    return ignored


FLEET = (
    CollectedMetric(
        "iot_clients",
        "gauge",
        ("state",),
        "Clients by presence; a pending client has disconnected and its offline delay still runs.",
        'sum(iot_clients{state=~"online|pending"}) / sum(iot_clients{state!="unknown"})',
        read=lambda s: s.presence.clients,
    ),
    CollectedMetric(
        "iot_clients_unverified",
        "gauge",
        (),
        "Online or pending clients without an event since events may have been lost "
        "(presenced_gaps_total).",
        'iot_clients_unverified / on() sum(iot_clients{state=~"online|pending"}) > 0.1',
        read=lambda s: s.presence.unverified,
    ),
    CollectedMetric(
        "iot_client_transitions_total",
        "counter",
        ("to",),
        "Changes of clients to online or to offline; a disconnect shorter than its offline delay "
        "is not counted.",
        "sum by (to) (increase(iot_client_transitions_total[1h]))",
        read=lambda s: s.presence.transitions,
        kept=True,
    ),
    CollectedMetric(
        "iot_client_disconnects_total",
        "counter",
        ("reason", "initiated_by"),
        "Disconnects, each counted once, including those of connections that were taken over or "
        "replaced.",
        "topk(3, sum by (reason) (rate(iot_client_disconnects_total[5m])) * 60)",
        read=_disconnects,
        kept=True,
        totals=lambda s: s.presence.disconnects,
    ),
    CollectedMetric(
        "iot_client_flaps_suppressed_total",
        "counter",
        (),
        "Disconnects that were followed by a connect within the offline delay.",
        "rate(iot_client_flaps_suppressed_total[5m]) * 60",
        read=lambda s: Attribute(s.presence, "flaps_suppressed"),
        kept=True,
    ),
    CollectedMetric(
        "iot_client_connections_replaced_total",
        "counter",
        (),
        "Connects of clients that were already online.",
        "increase(iot_client_connections_replaced_total[1h])",
        read=lambda s: Attribute(s.presence, "connections_replaced"),
        kept=True,
    ),
    CollectedMetric(
        "iot_client_connect_failures_total",
        "counter",
        ("reason",),
        "Connection attempts of clients that AWS IoT Core refused.",
        "sum by (reason) (increase(iot_client_connect_failures_total[15m])) > 0",
        read=_connect_failures,
        kept=True,
        totals=lambda s: s.events.connect_failures,
    ),
    CollectedMetric(
        "iot_clients_forgotten_total",
        "counter",
        ("reason",),
        "Clients removed from memory, with their series.",
        'increase(iot_clients_forgotten_total{reason="expired"}[1d])',
        read=lambda s: s.presence.forgotten,
        kept=True,
    ),
    CollectedMetric(
        "iot_clients_supposed_online_total",
        "counter",
        (),
        "Clients first known by a subscribed event, which shows that they are online; their "
        "connect was before presenced started, or was lost.",
        "increase(iot_clients_supposed_online_total[1h])",
        read=lambda s: Attribute(s.presence, "supposed_online"),
        kept=True,
    ),
    CollectedMetric(
        "iot_events_total",
        "counter",
        ("family", "type"),
        "Event messages decoded.",
        "sum by (family) (rate(iot_events_total[5m]))",
        read=lambda s: s.events.decoded,
        kept=True,
    ),
    CollectedMetric(
        "iot_events_rejected_total",
        "counter",
        ("reason",),
        "Messages that are not valid event messages.",
        "sum by (reason) (increase(iot_events_rejected_total[1h])) > 0",
        read=lambda s: s.events.rejected,
        kept=True,
    ),
    CollectedMetric(
        "iot_events_ignored_total",
        "counter",
        ("reason",),
        "Event messages that were decoded but had no effect; excess: the thing is in more groups, "
        "or has more types, than AWS allows.",
        "sum by (reason) (rate(iot_events_ignored_total[5m])) "
        "/ ignoring(reason) group_left sum(rate(iot_events_total[5m]))",
        read=_ignored,
        kept=True,
        totals=lambda s: s.events.ignored,
    ),
    CollectedMetric(
        "iot_event_topic_disagreements_total",
        "counter",
        (),
        "Event messages whose payload named another type than their topic; the payload decided.",
        "increase(iot_event_topic_disagreements_total[1d]) > 0",
        read=lambda s: Attribute(s.events, "topic_disagreements"),
        kept=True,
    ),
    CollectedMetric(
        "iot_event_version_resets_total",
        "counter",
        (),
        "Resets of a client's version number that were recognised.",
        "increase(iot_event_version_resets_total[1d])",
        read=lambda s: Attribute(s.presence, "version_resets"),
        kept=True,
    ),
    CollectedMetric(
        "iot_events_missed_total",
        "counter",
        ("type",),
        "Lifecycle events that must have been lost, inferred from those that were received.",
        "sum by (type) (increase(iot_events_missed_total[1h]))",
        read=lambda s: s.presence.missed,
        kept=True,
    ),
    CollectedMetric(
        "iot_things",
        "gauge",
        (),
        "Things known from the registry.",
        "iot_things",
        read=lambda s: len(s.inventory.things.live),
    ),
    CollectedMetric(
        "iot_thing_groups",
        "gauge",
        (),
        "Thing groups known from the registry.",
        "delta(iot_thing_groups[1d])",
        read=lambda s: len(s.inventory.groups.live),
    ),
    CollectedMetric(
        "iot_thing_types",
        "gauge",
        (),
        "Thing types known from the registry.",
        "iot_thing_types",
        read=lambda s: len(s.inventory.types.live),
    ),
    CollectedMetric(
        "iot_registry_changes_total",
        "counter",
        ("object", "operation"),
        "Changes of the registry by its events, without duplicate and stale events.",
        "sum by (object, operation) (increase(iot_registry_changes_total[1h])) > 0",
        read=lambda s: s.events.registry_changes,
        kept=True,
    ),
    CollectedMetric(
        "iot_thing_type_clients",
        "gauge",
        ("thing_type", "state"),
        "Clients by thing type and presence.",
        'sum by (thing_type) (iot_thing_type_clients{state=~"online|pending"}) / '
        "sum by (thing_type) (iot_thing_type_clients)",
        read=lambda s: dict(s.pipeline.fleet.thing_types.samples(s.inventory.types.live)),
    ),
    CollectedMetric(
        "iot_thing_group_clients",
        "gauge",
        ("thing_group", "state"),
        "Clients by thing group and presence. The clients of subgroups are included; a client "
        "counts once, even if it is in several subgroups.",
        'topk(5, iot_thing_group_clients{state="offline"})',
        read=lambda s: dict(s.pipeline.fleet.thing_groups.samples(s.inventory.groups.live)),
    ),
    CollectedMetric(
        "iot_job_events_total",
        "counter",
        ("operation",),
        "Events of jobs, each counted once.",
        'increase(iot_job_events_total{operation="canceled"}[1d])',
        read=lambda s: s.events.tallied["job"],
        kept=True,
    ),
    CollectedMetric(
        "iot_job_executions_total",
        "counter",
        ("status",),
        "Job executions that ended, each counted once.",
        "sum by (status) (increase(iot_job_executions_total[1h]))",
        read=lambda s: s.events.tallied["job_execution"],
        kept=True,
    ),
    CollectedMetric(
        "iot_certificates_registered_total",
        "counter",
        (),
        "Certificates registered by just-in-time registration.",
        "increase(iot_certificates_registered_total[1d])",
        read=lambda s: Attribute(s.events, "certificates_registered"),
        kept=True,
    ),
    CollectedMetric(
        "iot_command_executions_total",
        "counter",
        ("status",),
        "Changes of the status of command executions, each counted once.",
        "sum by (status) (increase(iot_command_executions_total[1h]))",
        read=lambda s: s.events.tallied["command_execution"],
        kept=True,
    ),
)

CLASS_CLIENTS = CollectedMetric(
    "iot_class_clients",
    "gauge",
    ("state",),
    "Clients by class and presence. The class is the text that the named groups of "
    "metrics.client_id_pattern match; each group is one more label.",
    'sum(iot_class_clients{state="offline"})',
    read=lambda s: dict(s.clients.classes.samples()),
    by_class=True,
)

SESSION_DURATION = CollectedMetric(
    "iot_client_session_duration_seconds",
    "histogram",
    (),
    "Length of connections, from connect to disconnect by event time.",
    "histogram_quantile(0.5, sum by (le) (rate(iot_client_session_duration_seconds_bucket[1h])))",
    read=lambda s: {(): s.presence.session_duration},
    kept=True,
)

OFFLINE_DURATION = CollectedMetric(
    "iot_client_offline_duration_seconds",
    "histogram",
    (),
    "How long clients were offline until they came back online.",
    "histogram_quantile(0.9, sum by (le) (rate(iot_client_offline_duration_seconds_bucket[1d])))",
    read=lambda s: {(): s.presence.offline_duration},
    kept=True,
)

EVENT_DELAY = CollectedMetric(
    "iot_event_delay_seconds",
    "histogram",
    ("family",),
    "Time of reception minus event time, not below 0; event times are approximate.",
    "histogram_quantile(0.99, sum by (le) "
    '(rate(iot_event_delay_seconds_bucket{family="presence"}[5m])))',
    read=lambda s: s.events.delays,
    kept=True,
)
