"""One received message."""

from collections.abc import Callable

import msgspec


class Message(msgspec.Struct, gc=False):
    """A PUBLISH packet, and the connection (client ID) that it arrived on.

    `received` is the wall clock in seconds since the epoch and `moment` the monotonic clock in
    seconds, both read when the message reached this process. `acknowledge` sends the PUBACK (MQTT 5
    section 3.4); it is None for QoS 0 and for a transport that has acknowledged already. `offset`
    is the place of a record in its partition of a Kafka topic, -1 elsewhere. A message that
    `is_snapshot` is no event: a worker of Kafka wrote it, with a part of AWS's record. `retained`
    is the RETAIN flag (MQTT 5 section 3.3.1.3): set if the broker had kept the message before the
    subscription.
    """

    topic: str
    payload: bytes
    qos: int
    received: float
    moment: float
    connection: str = ""
    acknowledge: Callable[[], None] | None = None
    offset: int = -1
    is_snapshot: bool = False
    retained: bool = False
