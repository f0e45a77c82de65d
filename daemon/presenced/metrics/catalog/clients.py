"""Metrics with a series of its own for each client."""

from presenced.metrics.catalog.metric import Metric

__all__ = ["CLIENTS"]

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
