"""The dashboard presenced: the state of the daemons."""

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards.frame import board
from boards.parts import GOOD_IF_NONE, lines, number, query, stacked, timeline, words
from boards.queries import of, rate, readiness, seen

_DAY = 86400.0
_UP = {"1": ("up", "green"), "0": ("down", "red")}
_NO_MQTT = "No answer, or another source"
_NO_SQS = "Another source than SQS"
_NOT_ASKED = "AWS is not asked (reconcile.enabled)"
_GRANTED = {"1": ("granted", "green"), "0": ("not granted", "red")}


def dashboard() -> Dashboard:
    """Build the dashboard; it does not require the series of each client."""
    made = board(
        "presenced-daemon",
        "presenced",
        "State of the daemons: connections, message rates and AWS's limit, queue, "
        "delays, backlog, requests to AWS, state file, memory.",
        span="6h",
    ).with_variable(
        building.TextBoxVariable("limit")
        .label("Messages a second allowed")
        .description("mqtt.max_message_rate; the limit of AWS IoT Core is 100 for each connection.")
        .default_value("100")
    )
    _now(made)
    _connections(made)
    _traffic(made)
    _queue(made)
    _delays(made)
    _aws(made)
    _state(made)
    _process(made)
    return made.build()


def _now(made: building.Dashboard) -> None:
    made.with_panel(
        words(
            "Ready",
            "Whether every daemon is ready, as /-/ready says.",
            f"min({readiness()})",
            {"1": ("all ready", "green"), "0": ("not ready", "red")},
        ).span(4)
    )
    made.with_panel(
        words(
            "Connections and filters",
            "Whether all MQTT connections are up, and the broker has granted every topic filter.",
            f"min({of('presenced_mqtt_connected')})"
            f" * min({of('presenced_mqtt_subscription_granted')})",
            {"1": ("all up", "green"), "0": ("down", "red")},
        )
        .no_value(_NO_MQTT)
        .span(4)
    )
    made.with_panel(
        number(
            "Gaps",
            "Number of times in which events may have been lost, in the selected time.",
            f"sum(increase({of('presenced_gaps_total')}[$__range]))",
            steps=GOOD_IF_NONE,
        )
        .decimals(0)
        .span(4)
    )
    made.with_panel(
        number(
            "Clients without series",
            "Clients beyond metrics.max_clients, or with an ID of over 128 bytes: only in totals.",
            f"max(sum without (partition) ({of('presenced_clients_without_series')}))",
            steps=GOOD_IF_NONE,
        ).span(4)
    )
    made.with_panel(
        number(
            "Certificate expires in",
            "The earliest expiry of all client and CA certificates.",
            f"min({of('presenced_certificate_expiry_timestamp_seconds')}) - time()",
            "s",
            (("red", None), ("orange", 7 * _DAY), ("green", 30 * _DAY)),
        ).span(4)
    )
    made.with_panel(
        words(
            "Configuration",
            "Whether the configuration was valid when it was last read.",
            f"min({of('presenced_config_last_reload_successful')})",
            {"1": ("valid", "green"), "0": ("invalid", "red")},
        ).span(4)
    )


def _connections(made: building.Dashboard) -> None:
    made.with_panel(
        timeline(
            "MQTT connections",
            "When each connection was up.",
            _UP,
            query(of("presenced_mqtt_connected"), "{{instance}} {{connection}}"),
        )
    )
    made.with_panel(
        timeline(
            "Topic filters",
            "When each filter was granted.",
            _GRANTED,
            query(
                of("presenced_mqtt_subscription_granted"), "{{instance}} {{connection}} {{filter}}"
            ),
        )
    )
    failures = "presenced_mqtt_connection_failures_total"
    made.with_panel(
        lines(
            "Connection failures per minute, by reason",
            "Refused attempts, lost connections, refused filters. taken_over: a second client uses "
            "this client ID.",
            "cpm",
            query(seen(failures, "instance, reason", times=60), "{{instance}} {{reason}}"),
        )
    )
    made.with_panel(
        lines(
            "Connects per minute, by session",
            "A resumed session lost nothing; a new session may be a gap.",
            "cpm",
            query(
                f"sum by (instance, session) ({rate('presenced_mqtt_connects_total')}) * 60",
                "{{instance}} {{session}}",
            ),
        )
    )


def _traffic(made: building.Dashboard) -> None:
    messages = rate("presenced_mqtt_messages_total")
    made.with_panel(
        lines(
            "Messages per second against the limit",
            "For each connection. AWS IoT Core discards messages beyond the limit. Bursts within a "
            "scrape interval exceed the average shown.",
            "mps",
            query(f"sum by (instance, connection) ({messages})", "{{instance}} {{connection}}"),
            query("vector($limit)", "limit"),
        )
    )
    made.with_panel(
        lines(
            "Share of time at the limit",
            "For each connection. Above 0, AWS IoT Core has probably discarded messages.",
            "percentunit",
            query(rate("presenced_mqtt_saturated_seconds_total"), "{{instance}} {{connection}}"),
        )
    )
    made.with_panel(
        stacked(
            lines(
                "Events per second, by family",
                "Decoded events.",
                "eps",
                query(seen("iot_events_total", "family"), "{{family}}"),
            )
        )
    )
    made.with_panel(
        lines(
            "Events without effect, per minute",
            "Ignored events (duplicates, stale events, ignored clients), rejected messages, and "
            "events that must have been lost.",
            "cpm",
            query(seen("iot_events_ignored_total", "reason", times=60), "{{reason}}"),
            query(seen("iot_events_rejected_total", "reason", times=60), "rejected: {{reason}}"),
            query(seen("iot_events_missed_total", "type", times=60), "missed: {{type}}"),
        )
    )


def _queue(made: building.Dashboard) -> None:
    made.with_panel(
        lines(
            "Age of messages in the queue",
            "The oldest message that was received in the last minute.",
            "s",
            query(of("presenced_sqs_message_age_seconds"), "{{instance}}"),
        ).no_value(_NO_SQS)
    )
    made.with_panel(
        lines(
            "Messages from the queue per second, by result",
            "Received from SQS, with results that did not occur left out.",
            "mps",
            query(
                seen("presenced_sqs_messages_total", "instance, result"), "{{instance}} {{result}}"
            ),
        ).no_value(_NO_SQS)
    )


def _delays(made: building.Dashboard) -> None:
    buckets = rate("iot_event_delay_seconds_bucket", 'family="presence",')
    made.with_panel(
        lines(
            "Delay of lifecycle events",
            "Received time minus event time, p50 and p99. Event times are approximate.",
            "s",
            query(
                f"histogram_quantile(0.5, sum by (instance, le) ({buckets}))", "{{instance}} p50"
            ),
            query(
                f"histogram_quantile(0.99, sum by (instance, le) ({buckets}))",
                "{{instance}} p99",
            ),
        )
    )
    made.with_panel(
        lines(
            "Backlog",
            "Largest number of messages received but not yet applied, and QoS 0 messages dropped "
            "because the backlog was full.",
            "short",
            query(
                f"sum by (instance) ({_backlog()})",
                "{{instance}} waiting",
            ),
            query(
                f"increase({of('presenced_mqtt_messages_dropped_total')}[$__rate_interval])",
                "{{instance}} {{connection}} dropped",
            ),
        )
    )


def _backlog() -> str:
    return f"max_over_time({of('presenced_pipeline_backlog_messages')}[$__rate_interval])"


def _aws(made: building.Dashboard) -> None:
    age = f"time() - {of('presenced_aws_last_snapshot_timestamp_seconds')}"
    made.with_panel(
        lines(
            "Age of the last snapshot of AWS's record",
            "Time since AWS's record of the whole fleet was read completely "
            "(reconcile.snapshot_every).",
            "s",
            query(age, "{{instance}}"),
        ).no_value(_NOT_ASKED)
    )
    requests = "presenced_aws_requests_total"
    failed = seen(requests, "operation, result", times=60, more='result!="ok",')
    made.with_panel(
        lines(
            "Requests to AWS per minute",
            "Answered requests by operation, and those that failed by operation and result.",
            "cpm",
            query(seen(requests, "operation", times=60, more='result="ok",'), "{{operation}}"),
            query(failed, "{{operation}}: {{result}}"),
        ).no_value(_NOT_ASKED)
    )


def _state(made: building.Dashboard) -> None:
    failures = "presenced_state_commit_failures_total"
    made.with_panel(
        lines(
            "Commits to the state file per second",
            "0 without a state file. Failures are shown by cause.",
            "cps",
            query(rate("presenced_state_commits_total"), "{{instance}} commits"),
            query(seen(failures, "instance, cause"), "{{instance}} failed: {{cause}}"),
        )
    )
    buckets = rate("presenced_state_commit_duration_seconds_bucket")
    made.with_panel(
        lines(
            "Duration of commits",
            "Time until commits are on disk, p50 and p99.",
            "s",
            query(
                f"histogram_quantile(0.5, sum by (instance, le) ({buckets}))", "{{instance}} p50"
            ),
            query(
                f"histogram_quantile(0.99, sum by (instance, le) ({buckets}))",
                "{{instance}} p99",
            ),
        )
    )


def _process(made: building.Dashboard) -> None:
    made.with_panel(
        lines(
            "Memory",
            "Resident memory of the process.",
            "bytes",
            query(of("process_resident_memory_bytes"), "{{instance}}"),
        )
    )
    made.with_panel(
        lines(
            "CPU",
            "CPU seconds per second. presenced applies messages on one core.",
            "percentunit",
            query(rate("process_cpu_seconds_total"), "{{instance}}"),
        )
    )
