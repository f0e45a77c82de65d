"""Metrics of the registry, and of the event families beside it."""

from presenced.metrics.catalog.metric import Metric

__all__ = ["REGISTRY"]

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
