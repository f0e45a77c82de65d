"""Metrics of the daemon itself."""

import platform
from collections.abc import Callable

from presenced import __version__
from presenced.metrics.declaration import (
    CollectedMetric,
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
    MetricSources,
    Values,
)


def _snapshot(attribute: str) -> Callable[[MetricSources], Values]:
    """Return how a number of the last snapshot is read; without one there is no sample."""

    def read(sources: MetricSources) -> Values:
        snapshots = sources.reconciler.snapshots if sources.reconciler else None
        value = getattr(snapshots, attribute) if snapshots else None
        return {} if value is None else {(): value}

    return read


DAEMON: tuple[CollectedMetric[MetricSources], ...] = (
    GaugeMetric(
        "presenced_build_info",
        "Always 1; the labels name the versions and the transport in use.",
        "count by (version) (presenced_build_info)",
        labels=("version", "python_version", "transport"),
        read=lambda s: {(__version__, platform.python_version(), s.transport): 1},
    ),
    GaugeMetric(
        "presenced_ready",
        "Whether /-/ready answers 200: events are received, and none that had waited is left.",
        "presenced_ready == 0",
        read=lambda s: s.is_ready(),
    ),
    GaugeMetric(
        "presenced_aws_last_snapshot_timestamp_seconds",
        "When AWS's record of the whole fleet was last read completely; with Kafka only "
        "on the owner of partition 0.",
        "time() - presenced_aws_last_snapshot_timestamp_seconds > 86400",
        read=_snapshot("completed_at"),
    ),
    GaugeMetric(
        "presenced_aws_snapshot_duration_seconds",
        "How long the last complete reading of AWS's record took.",
        "presenced_aws_snapshot_duration_seconds",
        read=_snapshot("duration"),
    ),
    GaugeMetric(
        "presenced_aws_snapshot_things",
        "Things in the last complete reading of AWS's record.",
        "presenced_aws_snapshot_things",
        read=_snapshot("things"),
    ),
    GaugeMetric(
        "presenced_mqtt_connected",
        "Whether the MQTT connection is up.",
        "presenced_mqtt_connected == 0",
        labels=("connection",),
        read=lambda s: {status.client_id: status.connected for status in s.statuses},
    ),
    CounterMetric(
        "presenced_mqtt_connects_total",
        "Connects that the broker accepted, with a new or a resumed session.",
        'increase(presenced_mqtt_connects_total{session="new"}[1h]) > 0',
        labels=("connection", "session"),
        read=lambda s: {status.client_id: status.connects for status in s.statuses},
    ),
    CounterMetric(
        "presenced_mqtt_connection_failures_total",
        "Connection attempts refused, connections lost, and subscriptions refused.",
        "increase(presenced_mqtt_connection_failures_total[15m]) > 0",
        labels=("connection", "reason"),
        read=lambda s: {status.client_id: status.failures for status in s.statuses},
    ),
    GaugeMetric(
        "presenced_mqtt_subscription_granted",
        "Whether the broker has granted the subscription to a topic filter.",
        "presenced_mqtt_subscription_granted == 0",
        labels=("connection", "filter"),
        read=lambda s: {status.client_id: status.granted for status in s.statuses},
    ),
    CounterMetric(
        "presenced_mqtt_messages_total",
        "Messages received over the MQTT connection and taken in.",
        "sum by (connection) (rate(presenced_mqtt_messages_total[1m]))",
        labels=("connection", "qos"),
        read=lambda s: {name: traffic.messages for name, traffic in s.traffic.items()},
    ),
    CounterMetric(
        "presenced_mqtt_messages_dropped_total",
        "QoS 0 messages dropped because the backlog was full.",
        "increase(presenced_mqtt_messages_dropped_total[1h]) > 0",
        labels=("connection",),
        read=lambda s: {status.client_id: status.messages_dropped for status in s.statuses},
    ),
    CounterMetric(
        "presenced_mqtt_callback_errors_total",
        "Errors inside presenced in callbacks of the MQTT library; the log has each.",
        "increase(presenced_mqtt_callback_errors_total[1h]) > 0",
        labels=("connection",),
        read=lambda s: {status.client_id: status.callback_errors for status in s.statuses},
    ),
    GaugeMetric(
        "presenced_mqtt_last_message_timestamp_seconds",
        "When the last message was received; 0 before the first.",
        "time() - presenced_mqtt_last_message_timestamp_seconds > 3600",
        labels=("connection",),
        read=lambda s: {name: traffic.last_message or 0 for name, traffic in s.traffic.items()},
    ),
    CounterMetric(
        "presenced_mqtt_saturated_seconds_total",
        "Seconds with mqtt.max_message_rate or more messages: AWS IoT Core has probably "
        "discarded some. Always 0 without a limit.",
        "increase(presenced_mqtt_saturated_seconds_total[5m]) > 0",
        labels=("connection",),
        read=lambda s: {name: traffic.saturated_seconds for name, traffic in s.traffic.items()},
    ),
    CounterMetric(
        "presenced_sqs_messages_total",
        "Messages of the queue by what became of them: deleted after their effect was kept; "
        "poison, deleted because they have no topic; returned to the queue at a stop; not_deleted, "
        "applied but still in the queue.",
        'increase(presenced_sqs_messages_total{result="poison"}[1h]) > 0',
        labels=("result",),
        read=lambda s: s.sqs.counts.messages if s.sqs else {},
    ),
    CounterMetric(
        "presenced_sqs_messages_redelivered_total",
        "Messages of the queue that had been received before; some are usual after a crash.",
        "rate(presenced_sqs_messages_redelivered_total[15m])",
        read=lambda s: {(): s.sqs.counts.redelivered} if s.sqs else {},
    ),
    GaugeMetric(
        "presenced_sqs_message_age_seconds",
        "How long the oldest message received in the last minute had been in the queue; 0 if none "
        "came.",
        "presenced_sqs_message_age_seconds > 60",
        read=lambda s: {(): s.sqs.oldest_age} if s.sqs else {},
    ),
    GaugeMetric(
        "presenced_partition_owned",
        "Whether this worker has a partition, for all partitions of kafka.topic.",
        "max by (partition) (presenced_partition_owned) == 0",
        labels=("partition",),
        read=lambda s: dict(s.kafka.ownership) if s.kafka else {},
    ),
    GaugeMetric(
        "presenced_kafka_lag_messages",
        "Records of a partition of this worker that are not applied yet.",
        "sum by (partition) (presenced_kafka_lag_messages)",
        labels=("partition",),
        read=lambda s: dict(s.kafka.lag) if s.kafka else {},
    ),
    CounterMetric(
        "presenced_records_misplaced_total",
        "Events in another partition than their client's or thing's: the rule sets another key.",
        "increase(presenced_records_misplaced_total[1h]) > 0",
        read=lambda s: {(): s.kafka.misplaced} if s.kafka else {},
    ),
    GaugeMetric(
        "presenced_state_unavailable",
        "Whether the state file could not be opened at start, so that nothing is kept.",
        "presenced_state_unavailable == 1",
        read=lambda s: s.state.unavailable,
    ),
    CounterMetric(
        "presenced_state_commits_total",
        "Commits to the state file, or transactions with Kafka.",
        "rate(presenced_state_commits_total[5m])",
        read=lambda s: s.state.commits,
    ),
    CounterMetric(
        "presenced_state_commit_failures_total",
        "Failed attempts to open or write the state file, or transactions with Kafka that failed; "
        "the log has cause and remedy.",
        "sum by (cause) (increase(presenced_state_commit_failures_total[15m])) > 0",
        labels=("cause",),
        read=lambda s: s.state.failures,
    ),
    GaugeMetric(
        "presenced_state_last_commit_timestamp_seconds",
        "When the state was last written; 0 before the first time, or without a state file.",
        "time() - presenced_state_last_commit_timestamp_seconds > 60 "
        "and presenced_state_last_commit_timestamp_seconds > 0",
        read=lambda s: s.state.last_commit,
    ),
    CounterMetric(
        "presenced_aws_requests_total",
        "Requests to AWS, each attempt counted; denied: a permission is missing, or AWS does not "
        "accept the credentials or the clock. Only if reconcile.enabled is set.",
        'sum by (operation, result) (rate(presenced_aws_requests_total{result!="ok"}[5m])) > 0',
        labels=("operation", "result"),
        read=lambda s: s.aws_requests.requests if s.aws_requests else {},
    ),
    GaugeMetric(
        "presenced_certificate_expiry_timestamp_seconds",
        "When the certificate expires; of several in one file, the first to expire.",
        "presenced_certificate_expiry_timestamp_seconds - time() < 30 * 86400",
        labels=("certificate",),
        read=lambda s: s.certificate_expiry,
    ),
    GaugeMetric(
        "presenced_config_last_reload_successful",
        "Whether the configuration was valid when it was last read.",
        "presenced_config_last_reload_successful == 0",
        read=lambda s: s.reload_successful,
    ),
    GaugeMetric(
        "presenced_config_last_reload_success_timestamp_seconds",
        "When a valid configuration was last read.",
        "time() - presenced_config_last_reload_success_timestamp_seconds",
        read=lambda s: s.reloaded_at,
    ),
)

COMMIT_DURATION: HistogramMetric[MetricSources] = HistogramMetric(
    "presenced_state_commit_duration_seconds",
    "How long commits took until they were on the disk, or transactions with Kafka in all.",
    "histogram_quantile(0.99, sum by (le) "
    "(rate(presenced_state_commit_duration_seconds_bucket[5m])))",
    read=lambda s: s.state.durations,
)
