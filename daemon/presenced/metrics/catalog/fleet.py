"""Metrics of the fleet: presence, and what led to it."""

from presenced.metrics.catalog.metric import Metric

__all__ = ["FLEET"]

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
