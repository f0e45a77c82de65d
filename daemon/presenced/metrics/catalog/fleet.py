"""Metrics of the fleet: presence, and what led to it.

Metrics with a series of its own for each client.

Metrics of event messages.

Metrics of the registry, and of the event families beside it.
"""

from presenced.metrics.metric import Metric

FLEET = (
    Metric(
        "iot_clients",
        "gauge",
        ("state",),
        "Clients by presence; pending ones have disconnected and are inside their offline delay.",
        'sum(iot_clients{state=~"online|pending"}) / sum(iot_clients{state!="unknown"})',
    ),
    Metric(
        "iot_clients_unverified",
        "gauge",
        (),
        "Clients shown as online or pending of which nothing has been heard since events may "
        "have been lost (presenced_gaps_total).",
        'iot_clients_unverified / on() sum(iot_clients{state=~"online|pending"}) > 0.1',
    ),
    Metric(
        "iot_class_clients",
        "gauge",
        ("state",),
        "Clients by class, which is what the named groups of metrics.client_id_pattern hold, "
        "and presence; each group is one more label.",
        'sum(iot_class_clients{state="offline"})',
    ),
    Metric(
        "iot_client_transitions_total",
        "counter",
        ("to",),
        "Changes of clients to online or to offline; a disconnect that did not outlast its "
        "offline delay is none.",
        "sum by (to) (increase(iot_client_transitions_total[1h]))",
    ),
    Metric(
        "iot_client_disconnects_total",
        "counter",
        ("reason", "initiated_by"),
        "Disconnects, each counted once, also of connections that were taken over or replaced.",
        "topk(3, sum by (reason) (rate(iot_client_disconnects_total[5m])) * 60)",
    ),
    Metric(
        "iot_client_flaps_suppressed_total",
        "counter",
        (),
        "Disconnects that were followed by a connect within the offline delay.",
        "rate(iot_client_flaps_suppressed_total[5m]) * 60",
    ),
    Metric(
        "iot_client_connections_replaced_total",
        "counter",
        (),
        "Connects of clients that were online already.",
        "increase(iot_client_connections_replaced_total[1h])",
    ),
    Metric(
        "iot_client_connect_failures_total",
        "counter",
        ("reason",),
        "Connection attempts of clients that AWS IoT Core refused.",
        "sum by (reason) (increase(iot_client_connect_failures_total[15m])) > 0",
    ),
    Metric(
        "iot_client_session_duration_seconds",
        "histogram",
        (),
        "Length of connections, from connect to disconnect by event time.",
        "histogram_quantile(0.5, sum by (le) "
        "(rate(iot_client_session_duration_seconds_bucket[1h])))",
    ),
    Metric(
        "iot_client_offline_duration_seconds",
        "histogram",
        (),
        "Time that clients were offline until they came back online.",
        "histogram_quantile(0.9, sum by (le) "
        "(rate(iot_client_offline_duration_seconds_bucket[1d])))",
    ),
    Metric(
        "iot_clients_forgotten_total",
        "counter",
        ("reason",),
        "Clients dropped from memory, with their series.",
        'increase(iot_clients_forgotten_total{reason="expired"}[1d])',
    ),
    Metric(
        "iot_clients_supposed_online_total",
        "counter",
        (),
        "Clients first known by a subscribed event, which shows that they are online; their "
        "connect came before presenced, or was lost.",
        "increase(iot_clients_supposed_online_total[1h])",
    ),
)

CLIENTS = (
    Metric(
        "iot_client_connected",
        "gauge",
        ("client_id",),
        "1 while the client is online or pending, 0 while it is offline.",
        "iot_client_connected == 0",
    ),
    Metric(
        "iot_client_last_transition_timestamp_seconds",
        "gauge",
        ("client_id",),
        "When the client last went online or offline.",
        "time() - iot_client_last_transition_timestamp_seconds > 600 and iot_client_connected == 0",
    ),
    Metric(
        "iot_client_info",
        "gauge",
        ("client_id", "thing_type"),
        "Always 1; the labels tell what the registry says of the client: its thing type, and "
        "the attributes that metrics.thing_attributes names.",
        "iot_client_connected * on(client_id) group_left(thing_type) iot_client_info",
    ),
)

EVENTS = (
    Metric(
        "iot_events_total",
        "counter",
        ("family", "type"),
        "Event messages decoded.",
        "sum by (family) (rate(iot_events_total[5m]))",
    ),
    Metric(
        "iot_events_rejected_total",
        "counter",
        ("reason",),
        "Messages that are no event messages.",
        "sum by (reason) (increase(iot_events_rejected_total[1h])) > 0",
    ),
    Metric(
        "iot_events_ignored_total",
        "counter",
        ("reason",),
        "Event messages that were decoded but had no effect; excess is a thing in more groups, "
        "or with more types, than AWS allows.",
        "sum by (reason) (rate(iot_events_ignored_total[5m])) "
        "/ ignoring(reason) group_left sum(rate(iot_events_total[5m]))",
    ),
    Metric(
        "iot_event_topic_disagreements_total",
        "counter",
        (),
        "Event messages whose payload named another type than their topic; the payload was "
        "believed.",
        "increase(iot_event_topic_disagreements_total[1d]) > 0",
    ),
    Metric(
        "iot_event_version_resets_total",
        "counter",
        (),
        "Resets of a client's version number that were recognised.",
        "increase(iot_event_version_resets_total[1d])",
    ),
    Metric(
        "iot_events_missed_total",
        "counter",
        ("type",),
        "Lifecycle events that must have been lost, inferred from those that came.",
        "sum by (type) (increase(iot_events_missed_total[1h]))",
    ),
    Metric(
        "iot_event_delay_seconds",
        "histogram",
        ("family",),
        "Received time minus event time, not below 0; event times are approximate.",
        "histogram_quantile(0.99, sum by (le) "
        '(rate(iot_event_delay_seconds_bucket{family="presence"}[5m])))',
    ),
)

REGISTRY = (
    Metric("iot_things", "gauge", (), "Things of the registry that are known.", "iot_things"),
    Metric(
        "iot_thing_groups",
        "gauge",
        (),
        "Thing groups that are known.",
        "delta(iot_thing_groups[1d])",
    ),
    Metric("iot_thing_types", "gauge", (), "Thing types that are known.", "iot_thing_types"),
    Metric(
        "iot_registry_changes_total",
        "counter",
        ("object", "operation"),
        "Changes of the registry that events told; duplicates and stale events are none.",
        "sum by (object, operation) (increase(iot_registry_changes_total[1h])) > 0",
    ),
    Metric(
        "iot_thing_type_clients",
        "gauge",
        ("thing_type", "state"),
        "Clients by thing type and presence.",
        'sum by (thing_type) (iot_thing_type_clients{state=~"online|pending"}) / '
        "sum by (thing_type) (iot_thing_type_clients)",
    ),
    Metric(
        "iot_thing_group_clients",
        "gauge",
        ("thing_group", "state"),
        "Clients by thing group and presence. A group's subgroups are included, and a client "
        "counts once, however many ways lead to it.",
        'topk(5, iot_thing_group_clients{state="offline"})',
    ),
    Metric(
        "iot_job_events_total",
        "counter",
        ("operation",),
        "Events of jobs, each counted once.",
        'increase(iot_job_events_total{operation="canceled"}[1d])',
    ),
    Metric(
        "iot_job_executions_total",
        "counter",
        ("status",),
        "Job executions that ended, each counted once.",
        "sum by (status) (increase(iot_job_executions_total[1h]))",
    ),
    Metric(
        "iot_certificates_registered_total",
        "counter",
        (),
        "Certificates registered by just-in-time registration.",
        "increase(iot_certificates_registered_total[1d])",
    ),
    Metric(
        "iot_command_executions_total",
        "counter",
        ("status",),
        "Changes of the status of command executions, each counted once.",
        "sum by (status) (increase(iot_command_executions_total[1h]))",
    ),
)
