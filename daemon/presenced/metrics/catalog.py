"""Every metric: its name, type, labels and meaning. The only place that names them."""

from typing import Literal, NamedTuple

__all__ = ["CATALOG", "PER_CLIENT", "Metric"]


class Metric(NamedTuple):
    """A metric as Prometheus knows it; `name` is that of its samples."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str


_CONNECTION = ("connection",)

CATALOG: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "iot_clients",
            "gauge",
            ("state",),
            "Clients by presence; pending ones have disconnected and are inside their offline "
            "delay.",
        ),
        Metric(
            "iot_class_clients",
            "gauge",
            ("state",),
            "Clients by class, which is what the named groups of metrics.client_id_pattern hold, "
            "and presence; each group is one more label.",
        ),
        Metric(
            "iot_client_transitions_total",
            "counter",
            ("to",),
            "Changes of clients to online or to offline; a disconnect that did not outlast its "
            "offline delay is none.",
        ),
        Metric(
            "iot_client_disconnects_total",
            "counter",
            ("reason", "initiated_by"),
            "Disconnects, each counted once, also of connections that were taken over or replaced.",
        ),
        Metric(
            "iot_client_flaps_suppressed_total",
            "counter",
            (),
            "Disconnects that were followed by a connect within the offline delay.",
        ),
        Metric(
            "iot_client_connections_replaced_total",
            "counter",
            (),
            "Connects of clients that were online already.",
        ),
        Metric(
            "iot_client_connect_failures_total",
            "counter",
            ("reason",),
            "Connection attempts of clients that AWS IoT Core refused.",
        ),
        Metric(
            "iot_client_session_duration_seconds",
            "histogram",
            (),
            "Length of connections, from connect to disconnect by event time.",
        ),
        Metric(
            "iot_client_offline_duration_seconds",
            "histogram",
            (),
            "Time that clients were offline until they came back online.",
        ),
        Metric(
            "iot_clients_forgotten_total",
            "counter",
            ("reason",),
            "Clients dropped from memory, with their series.",
        ),
        Metric("iot_events_total", "counter", ("family", "type"), "Event messages decoded."),
        Metric(
            "iot_events_rejected_total",
            "counter",
            ("reason",),
            "Messages that are no event messages.",
        ),
        Metric(
            "iot_events_ignored_total",
            "counter",
            ("reason",),
            "Event messages that were decoded but had no effect.",
        ),
        Metric(
            "iot_event_topic_disagreements_total",
            "counter",
            (),
            "Event messages whose payload named another type than their topic; the payload was "
            "believed.",
        ),
        Metric(
            "iot_event_version_resets_total",
            "counter",
            (),
            "Resets of a client's version number that were recognised.",
        ),
        Metric(
            "iot_events_missed_total",
            "counter",
            ("type",),
            "Lifecycle events that must have been lost, inferred from those that came.",
        ),
        Metric(
            "iot_event_delay_seconds",
            "histogram",
            ("family",),
            "Received time minus event time, not below 0; event times are approximate.",
        ),
        Metric(
            "presenced_build_info",
            "gauge",
            ("version", "python_version", "transport"),
            "Always 1; the labels tell what is running.",
        ),
        Metric(
            "presenced_mqtt_connected",
            "gauge",
            _CONNECTION,
            "Whether the MQTT connection is up.",
        ),
        Metric(
            "presenced_mqtt_connects_total",
            "counter",
            ("connection", "session"),
            "Connects that the broker accepted, with a new or a resumed session.",
        ),
        Metric(
            "presenced_mqtt_connection_failures_total",
            "counter",
            ("connection", "reason"),
            "Connection attempts refused, connections lost, and subscriptions refused.",
        ),
        Metric(
            "presenced_mqtt_subscription_granted",
            "gauge",
            ("connection", "filter"),
            "Whether the broker has granted the subscription to a topic filter.",
        ),
        Metric(
            "presenced_mqtt_messages_total",
            "counter",
            ("connection", "qos"),
            "Messages taken from the MQTT connection.",
        ),
        Metric(
            "presenced_mqtt_messages_dropped_total",
            "counter",
            _CONNECTION,
            "QoS 0 messages dropped because the backlog was full.",
        ),
        Metric(
            "presenced_mqtt_callback_errors_total",
            "counter",
            _CONNECTION,
            "Faults of presenced itself in callbacks of the MQTT library; the log has each.",
        ),
        Metric(
            "presenced_mqtt_last_message_timestamp_seconds",
            "gauge",
            _CONNECTION,
            "When the last message came; 0 before the first.",
        ),
        Metric(
            "presenced_mqtt_saturated_seconds_total",
            "counter",
            _CONNECTION,
            "Seconds in which messages came at mqtt.max_message_rate or more: AWS IoT Core has "
            "probably discarded some.",
        ),
        Metric(
            "presenced_pipeline_backlog_messages",
            "gauge",
            (),
            "Messages received but not yet applied.",
        ),
        Metric(
            "presenced_pipeline_faults_total",
            "counter",
            (),
            "Messages that could not be applied for a fault of presenced itself; the log has it.",
        ),
        Metric(
            "presenced_clients_without_series",
            "gauge",
            (),
            "Clients beyond metrics.max_clients, which have no series of their own.",
        ),
        Metric(
            "presenced_certificate_expiry_timestamp_seconds",
            "gauge",
            ("certificate",),
            "When the certificate expires; of several in the file, the first to do so.",
        ),
        Metric(
            "presenced_config_last_reload_successful",
            "gauge",
            (),
            "Whether the configuration was good when it was last read.",
        ),
        Metric(
            "presenced_config_last_reload_success_timestamp_seconds",
            "gauge",
            (),
            "When a good configuration was last read.",
        ),
    )
}

PER_CLIENT: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "iot_client_connected",
            "gauge",
            ("client_id",),
            "1 while the client is online or pending, 0 while it is offline.",
        ),
        Metric(
            "iot_client_last_transition_timestamp_seconds",
            "gauge",
            ("client_id",),
            "When the client last went online or offline.",
        ),
    )
}
