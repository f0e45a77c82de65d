"""Metrics of event messages."""

from presenced.metrics.catalog.metric import Metric

__all__ = ["EVENTS"]

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
