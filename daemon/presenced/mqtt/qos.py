"""Why messages come at QoS 0 though QoS 1 was asked for, in words that people understand.

The QoS of a message is the lower of that at which it was published and that which the broker
granted (MQTT 5 section 3.8.4). A session keeps messages of QoS 1 only (section 4.1).
"""

from typing import NamedTuple

__all__ = ["Shortfall", "granted_qos_0", "published_at_qos_0"]

_MEANS = "nothing of it is kept while presenced is away, and each outage is a gap"


class Shortfall(NamedTuple):
    """What is worse than was asked for, and what to do about it."""

    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.detail}. {self.remedy}"


def granted_qos_0(topic_filter: str) -> Shortfall:
    """The broker granted a filter, but at QoS 0 only."""
    return Shortfall(
        f"the broker granted {topic_filter} at QoS 0 only, though mqtt.qos is 1: {_MEANS}",
        "Have the broker grant QoS 1; its configuration limits it (mosquitto: max_qos)",
    )


def published_at_qos_0(topic_filter: str) -> Shortfall:
    """The broker granted a filter at QoS 1, and its messages come at QoS 0."""
    return Shortfall(
        f"events on {topic_filter} come at QoS 0, though the broker granted QoS 1: {_MEANS}",
        "Have them published at QoS 1, where that is in your hands; AWS IoT Core does not say at"
        " which QoS it publishes",
    )
