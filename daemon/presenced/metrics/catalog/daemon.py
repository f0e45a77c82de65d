"""Metrics of the daemon itself."""

from presenced.metrics.metric import Metric

_CONNECTION = ("connection",)

DAEMON = (
    Metric(
        "presenced_build_info",
        "gauge",
        ("version", "python_version", "transport"),
        "Always 1; the labels tell what is running.",
        "count by (version) (presenced_build_info)",
    ),
    Metric(
        "presenced_mqtt_connected",
        "gauge",
        _CONNECTION,
        "Whether the MQTT connection is up.",
        "presenced_mqtt_connected == 0",
    ),
    Metric(
        "presenced_mqtt_connects_total",
        "counter",
        ("connection", "session"),
        "Connects that the broker accepted, with a new or a resumed session.",
        'increase(presenced_mqtt_connects_total{session="new"}[1h]) > 0',
    ),
    Metric(
        "presenced_mqtt_connection_failures_total",
        "counter",
        ("connection", "reason"),
        "Connection attempts refused, connections lost, and subscriptions refused.",
        "increase(presenced_mqtt_connection_failures_total[15m]) > 0",
    ),
    Metric(
        "presenced_mqtt_subscription_granted",
        "gauge",
        ("connection", "filter"),
        "Whether the broker has granted the subscription to a topic filter.",
        "presenced_mqtt_subscription_granted == 0",
    ),
    Metric(
        "presenced_mqtt_messages_total",
        "counter",
        ("connection", "qos"),
        "Messages taken from the MQTT connection.",
        "sum by (connection) (rate(presenced_mqtt_messages_total[1m]))",
    ),
    Metric(
        "presenced_mqtt_messages_dropped_total",
        "counter",
        _CONNECTION,
        "QoS 0 messages dropped because the backlog was full.",
        "increase(presenced_mqtt_messages_dropped_total[1h]) > 0",
    ),
    Metric(
        "presenced_mqtt_callback_errors_total",
        "counter",
        _CONNECTION,
        "Faults of presenced itself in callbacks of the MQTT library; the log has each.",
        "increase(presenced_mqtt_callback_errors_total[1h]) > 0",
    ),
    Metric(
        "presenced_mqtt_last_message_timestamp_seconds",
        "gauge",
        _CONNECTION,
        "When the last message came; 0 before the first.",
        "time() - presenced_mqtt_last_message_timestamp_seconds > 3600",
    ),
    Metric(
        "presenced_mqtt_saturated_seconds_total",
        "counter",
        _CONNECTION,
        "Seconds in which messages came at mqtt.max_message_rate or more: AWS IoT Core has "
        "probably discarded some. Always 0 where there is no limit.",
        "increase(presenced_mqtt_saturated_seconds_total[5m]) > 0",
    ),
    Metric(
        "presenced_gaps_total",
        "counter",
        ("reason",),
        "Times in which events may have been lost: the session was lost, has expired, or is "
        "not kept (clean_session) or not for a filter that is new (filters_changed), messages "
        "came at the rate limit, or the backlog was full.",
        "sum by (reason) (increase(presenced_gaps_total[1h])) > 0",
    ),
    Metric(
        "presenced_pipeline_backlog_messages",
        "gauge",
        (),
        "Messages received but not yet applied.",
        "max_over_time(presenced_pipeline_backlog_messages[5m])",
    ),
    Metric(
        "presenced_pipeline_faults_total",
        "counter",
        (),
        "Messages that could not be applied for a fault of presenced itself; the log has it.",
        "increase(presenced_pipeline_faults_total[1h]) > 0",
    ),
    Metric(
        "presenced_clients_without_series",
        "gauge",
        (),
        "Clients beyond metrics.max_clients, which have no series of their own.",
        "presenced_clients_without_series > 0",
    ),
    Metric(
        "presenced_state_unavailable",
        "gauge",
        (),
        "Whether presenced runs from memory until its next start, because the state file could not "
        "be opened.",
        "presenced_state_unavailable == 1",
    ),
    Metric(
        "presenced_state_commits_total",
        "counter",
        (),
        "Commits to the state file.",
        "rate(presenced_state_commits_total[5m])",
    ),
    Metric(
        "presenced_state_commit_failures_total",
        "counter",
        ("cause",),
        "Attempts to open or write the state file that failed; the log has cause and remedy.",
        "sum by (cause) (increase(presenced_state_commit_failures_total[15m])) > 0",
    ),
    Metric(
        "presenced_state_commit_duration_seconds",
        "histogram",
        (),
        "How long commits took, until they were on the disk.",
        "histogram_quantile(0.99, sum by (le) "
        "(rate(presenced_state_commit_duration_seconds_bucket[5m])))",
    ),
    Metric(
        "presenced_state_last_commit_timestamp_seconds",
        "gauge",
        (),
        "When the state file was last written; 0 before the first time, or without one.",
        "time() - presenced_state_last_commit_timestamp_seconds > 60 "
        "and presenced_state_last_commit_timestamp_seconds > 0",
    ),
    Metric(
        "presenced_certificate_expiry_timestamp_seconds",
        "gauge",
        ("certificate",),
        "When the certificate expires; of several in the file, the first to do so.",
        "presenced_certificate_expiry_timestamp_seconds - time() < 30 * 86400",
    ),
    Metric(
        "presenced_config_last_reload_successful",
        "gauge",
        (),
        "Whether the configuration was good when it was last read.",
        "presenced_config_last_reload_successful == 0",
    ),
    Metric(
        "presenced_config_last_reload_success_timestamp_seconds",
        "gauge",
        (),
        "When a good configuration was last read.",
        "time() - presenced_config_last_reload_success_timestamp_seconds",
    ),
)
