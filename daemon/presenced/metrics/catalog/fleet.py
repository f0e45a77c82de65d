"""Metrics of the fleet: presence, event messages, the registry and the event families beside it."""

from collections import Counter

from presenced.events.model import CONNECT_FAILURE_REASONS, DISCONNECT_REASONS
from presenced.metrics.declaration import (
    Attribute,
    CollectedMetric,
    CounterMetric,
    FleetSources,
    GaugeMetric,
    KeptCounter,
    KeptHistogram,
    Values,
)
from presenced.presence import State
from presenced.presence.record import OPERATIONS


def _disconnects(sources: FleetSources) -> Values:
    counted = sources.presence.disconnects
    return {
        (reason, initiated_by): counted[reason, initiated_by]
        for reason in (*DISCONNECT_REASONS, "other")
        for initiated_by in ("client", "server")
    }


def _connect_failures(sources: FleetSources) -> Values:
    counted = sources.events.connect_failures
    return {reason: counted[reason] for reason in (*CONNECT_FAILURE_REASONS, "other")}


def _corrections(sources: FleetSources) -> Values:
    counted = sources.presence.corrections
    return {
        (to, operation): counted[to, operation]
        for to in (State.ONLINE, State.OFFLINE)
        for operation in OPERATIONS
    }


def _ignored(sources: FleetSources) -> Values:
    ignored = Counter(sources.events.ignored)
    ignored.update(sources.presence.ignored)
    return ignored


FLEET: tuple[CollectedMetric[FleetSources], ...] = (
    GaugeMetric(
        "iot_clients",
        "Clients by presence; a pending client has disconnected and its offline delay still runs.",
        'sum(iot_clients{state=~"online|pending"}) / sum(iot_clients{state!="unknown"})',
        labels=("state",),
        read=lambda s: s.presence.clients,
    ),
    GaugeMetric(
        "iot_things_by_presence",
        "Things by the presence of their clients: online if any of them is, else pending, offline "
        "or unknown. Things are those of the registry, and those that presence.thing_pattern or "
        "lifecycle events name. Without any, all are 0.",
        'sum(iot_things_by_presence{state="offline"})',
        labels=("state",),
        read=lambda s: s.pipeline.fleet.thing_counts.states,
    ),
    GaugeMetric(
        "iot_clients_unverified",
        "Online or pending clients whose state no event and no answer from AWS has confirmed since "
        "the last gap (presenced_gaps_total).",
        'iot_clients_unverified / on() sum(iot_clients{state=~"online|pending"}) > 0.1',
        read=lambda s: s.presence.unverified_connected,
    ),
    GaugeMetric(
        "iot_clients_offline_unverified",
        "Offline clients whose state is unconfirmed in the same way: a connect may have been lost.",
        "iot_clients_offline_unverified",
        read=lambda s: s.presence.unverified[State.OFFLINE],
    ),
    KeptCounter(
        "iot_client_transitions_total",
        "Changes of clients to online or to offline; a disconnect shorter than its offline delay "
        "is not counted.",
        "sum by (to) (increase(iot_client_transitions_total[1h]))",
        labels=("to",),
        read=lambda s: s.presence.transitions,
    ),
    KeptCounter(
        "iot_client_disconnects_total",
        "Disconnects, each counted once, including those of connections that were taken over or "
        "replaced.",
        "topk(3, sum by (reason) (rate(iot_client_disconnects_total[5m])) * 60)",
        labels=("reason", "initiated_by"),
        read=_disconnects,
        totals=lambda s: s.presence.disconnects,
    ),
    KeptCounter(
        "iot_client_flaps_suppressed_total",
        "Disconnects that were followed by a connect within the offline delay.",
        "rate(iot_client_flaps_suppressed_total[5m]) * 60",
        read=lambda s: Attribute(s.presence, "flaps_suppressed"),
    ),
    KeptCounter(
        "iot_client_connections_replaced_total",
        "Connects of clients that were already online.",
        "increase(iot_client_connections_replaced_total[1h])",
        read=lambda s: Attribute(s.presence, "connections_replaced"),
    ),
    KeptCounter(
        "iot_client_connect_failures_total",
        "Connection attempts of clients that AWS IoT Core refused.",
        "sum by (reason) (increase(iot_client_connect_failures_total[15m])) > 0",
        labels=("reason",),
        read=_connect_failures,
        totals=lambda s: s.events.connect_failures,
    ),
    KeptCounter(
        "iot_clients_forgotten_total",
        "Clients removed from memory, with their series.",
        'increase(iot_clients_forgotten_total{reason="expired"}[1d])',
        labels=("reason",),
        read=lambda s: s.presence.forgotten,
    ),
    KeptCounter(
        "iot_clients_supposed_online_total",
        "Clients first known by a subscribed event, which shows that they are online; their "
        "connect was before presenced started, or was lost.",
        "increase(iot_clients_supposed_online_total[1h])",
        read=lambda s: Attribute(s.presence, "supposed_online"),
    ),
    KeptCounter(
        "iot_clients_adopted_total",
        "Clients first known by AWS's record of who is connected, or by a retained status message.",
        "sum by (state) (increase(iot_clients_adopted_total[1d]))",
        labels=("state",),
        read=lambda s: s.presence.adopted,
    ),
    KeptCounter(
        "iot_client_corrections_total",
        "Clients whose state was wrong here by AWS's record: events were lost.",
        "sum by (to) (increase(iot_client_corrections_total[1h]))",
        labels=("to", "operation"),
        read=_corrections,
        totals=lambda s: s.presence.corrections,
    ),
    KeptCounter(
        "iot_client_offline_prevented_total",
        "Lookups before a client would go offline that found it connected.",
        "increase(iot_client_offline_prevented_total[1h])",
        read=lambda s: Attribute(s.presence, "offline_prevented"),
    ),
    KeptCounter(
        "iot_status_contradictions_total",
        "Status messages (presence.status_topics) that still contradicted the state of their "
        "client at the end of the offline delay, with no lifecycle event since.",
        "sum by (status) (increase(iot_status_contradictions_total[1h])) > 0",
        labels=("status",),
        read=lambda s: s.presence.status_contradictions,
    ),
    KeptCounter(
        "iot_events_total",
        "Event messages decoded.",
        "sum by (family) (rate(iot_events_total[5m]))",
        labels=("family", "type"),
        read=lambda s: s.events.decoded,
    ),
    KeptCounter(
        "iot_events_rejected_total",
        "Messages that are not valid event messages.",
        "sum by (reason) (increase(iot_events_rejected_total[1h])) > 0",
        labels=("reason",),
        read=lambda s: s.events.rejected,
    ),
    KeptCounter(
        "iot_events_ignored_total",
        "Event messages that were decoded but had no effect; excess: the thing is in more groups, "
        "or has more types, than AWS allows.",
        "sum by (reason) (rate(iot_events_ignored_total[5m])) "
        "/ ignoring(reason) group_left sum(rate(iot_events_total[5m]))",
        labels=("reason",),
        read=_ignored,
        totals=lambda s: s.events.ignored,
    ),
    KeptCounter(
        "iot_event_topic_disagreements_total",
        "Event messages whose payload named another type than their topic; the payload decided.",
        "increase(iot_event_topic_disagreements_total[1d]) > 0",
        read=lambda s: Attribute(s.events, "topic_disagreements"),
    ),
    KeptCounter(
        "iot_events_dated_ahead_total",
        "Event messages with an event time further ahead of the received time than "
        "presence.timestamp_accuracy; they count as just received.",
        "increase(iot_events_dated_ahead_total[1h]) > 0",
        read=lambda s: Attribute(s.events, "dated_ahead"),
    ),
    KeptCounter(
        "iot_event_version_resets_total",
        "Resets of a client's version number that were recognised.",
        "increase(iot_event_version_resets_total[1d])",
        read=lambda s: Attribute(s.presence, "version_resets"),
    ),
    KeptCounter(
        "iot_events_missed_total",
        "Lifecycle events that must have been lost, inferred from those that were received.",
        "sum by (type) (increase(iot_events_missed_total[1h]))",
        labels=("type",),
        read=lambda s: s.presence.missed,
    ),
    GaugeMetric(
        "iot_things",
        "Things known from the registry.",
        "iot_things",
        read=lambda s: len(s.inventory.things.live),
    ),
    GaugeMetric(
        "iot_thing_groups",
        "Thing groups known from the registry.",
        "delta(iot_thing_groups[1d])",
        read=lambda s: len(s.inventory.groups.live),
        global_=True,
    ),
    GaugeMetric(
        "iot_thing_types",
        "Thing types known from the registry.",
        "iot_thing_types",
        read=lambda s: len(s.inventory.types.live),
        global_=True,
    ),
    KeptCounter(
        "iot_registry_changes_total",
        "Changes of the registry by its events, without duplicate and stale events.",
        "sum by (object, operation) (increase(iot_registry_changes_total[1h])) > 0",
        labels=("object", "operation"),
        read=lambda s: s.events.registry_changes,
    ),
    GaugeMetric(
        "iot_thing_type_clients",
        "Things that have clients, by thing type and presence; a thing with several clients counts "
        "once.",
        'sum by (thing_type) (iot_thing_type_clients{state=~"online|pending"}) / '
        "sum by (thing_type) (iot_thing_type_clients)",
        labels=("thing_type", "state"),
        read=lambda s: dict(s.pipeline.fleet.thing_counts.types.samples(s.inventory.types.live)),
    ),
    GaugeMetric(
        "iot_thing_group_clients",
        "Things that have clients, by thing group and presence. The things of subgroups are "
        "included; a thing counts once, even if it has several clients or is in several subgroups. "
        "metrics.thing_groups chooses the groups.",
        'topk(5, iot_thing_group_clients{state="offline"})',
        labels=("thing_group", "state"),
        read=lambda s: dict(
            s.pipeline.fleet.thing_counts.groups.samples(
                filter(s.clients.groups.match, s.inventory.groups.live)
            )
        ),
    ),
    KeptCounter(
        "iot_job_events_total",
        "Events of jobs, each counted once.",
        'increase(iot_job_events_total{operation="canceled"}[1d])',
        labels=("operation",),
        read=lambda s: s.events.tallied["job"],
    ),
    KeptCounter(
        "iot_job_executions_total",
        "Job executions that ended, each counted once.",
        "sum by (status) (increase(iot_job_executions_total[1h]))",
        labels=("status",),
        read=lambda s: s.events.tallied["job_execution"],
    ),
    KeptCounter(
        "iot_certificates_registered_total",
        "Certificates registered by just-in-time registration.",
        "increase(iot_certificates_registered_total[1d])",
        read=lambda s: Attribute(s.events, "certificates_registered"),
    ),
    KeptCounter(
        "iot_command_executions_total",
        "Changes of the status of command executions, each counted once.",
        "sum by (status) (increase(iot_command_executions_total[1h]))",
        labels=("status",),
        read=lambda s: s.events.tallied["command_execution"],
    ),
)

CLASS_CLIENTS: GaugeMetric[FleetSources] = GaugeMetric(
    "iot_class_clients",
    "Clients by class and presence. The class is the text that the named groups of "
    "metrics.client_id_pattern match; each group is one more label.",
    'sum(iot_class_clients{state="offline"})',
    labels=("state",),
    read=lambda s: dict(s.clients.classes.samples()),
    by_class=True,
)

SESSION_DURATION = KeptHistogram(
    "iot_client_session_duration_seconds",
    "Length of connections, from connect to disconnect by event time.",
    "histogram_quantile(0.5, sum by (le) (rate(iot_client_session_duration_seconds_bucket[1h])))",
    read=lambda s: s.presence.session_duration,
)

OFFLINE_DURATION = KeptHistogram(
    "iot_client_offline_duration_seconds",
    "How long clients were offline until they came back online.",
    "histogram_quantile(0.9, sum by (le) (rate(iot_client_offline_duration_seconds_bucket[1d])))",
    read=lambda s: s.presence.offline_duration,
)

EVENT_DELAY = KeptHistogram(
    "iot_event_delay_seconds",
    "Time of reception minus event time, not below 0; event times are approximate.",
    "histogram_quantile(0.99, sum by (le) "
    '(rate(iot_event_delay_seconds_bucket{family="presence"}[5m])))',
    labels=("family",),
    read=lambda s: s.events.delays,
)

PIPELINE: tuple[CollectedMetric[FleetSources], ...] = (
    KeptCounter(
        "presenced_gaps_total",
        "Times in which events may have been lost: the session was lost, had expired, is not kept "
        "(clean_session) or did not have a new filter yet (filters_changed), messages arrived at "
        "the rate limit, the backlog was full, or Kafka had deleted records that were not read "
        "(offset_out_of_range) or the state of a partition (state_lost).",
        "sum by (reason) (increase(presenced_gaps_total[1h])) > 0",
        labels=("reason",),
        read=lambda s: s.gaps,
    ),
    GaugeMetric(
        "presenced_pipeline_backlog_messages",
        "Messages received but not yet applied.",
        "max_over_time(presenced_pipeline_backlog_messages[5m])",
        read=lambda s: s.inbox.backlog if s.inbox else 0,
    ),
    CounterMetric(
        "presenced_pipeline_faults_total",
        "Messages not applied because of an error inside presenced; the log has it.",
        "increase(presenced_pipeline_faults_total[1h]) > 0",
        read=lambda s: s.events.faults + (s.inbox.undelivered if s.inbox else 0),
    ),
    GaugeMetric(
        "presenced_clients_without_series",
        "Clients beyond metrics.max_clients, or with an ID of more than 128 bytes, which have no "
        "series of their own. Those of presence.clients with series: false are not counted.",
        "presenced_clients_without_series > 0",
        read=lambda s: (
            max(0, s.presence.known - s.clients.series.shown - s.clients.series.left_out)
            if s.clients.series.enabled
            else 0
        ),
    ),
)
