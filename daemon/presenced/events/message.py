"""One MQTT message on its way to the pipeline."""

from collections.abc import Callable

import msgspec


class Message(msgspec.Struct, gc=False):
    """One received MQTT PUBLISH.

    `received` is the wall clock in seconds since the epoch and `moment` the monotonic clock in
    seconds, both read when the message reached this process. `acknowledge` sends the PUBACK
    (MQTT 5 section 3.4) and is None where there is nothing to send: QoS 0, or a transport that
    has acknowledged already.
    """

    topic: str
    payload: bytes
    qos: int
    received: float
    moment: float
    connection: str = ""
    acknowledge: Callable[[], None] | None = None
