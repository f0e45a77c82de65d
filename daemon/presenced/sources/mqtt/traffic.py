"""Count the messages of one MQTT connection."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from presenced.events.message import Message

_LIFECYCLE = "$aws/events/presence/"
_qos_of = attrgetter("qos")


@dataclass(slots=True)
class Traffic:
    """The messages of one connection, counted. A `max_message_rate` of None is no limit.

    `lifecycle_at_qos_0` is how many batches contained a lifecycle event at QoS 0.
    """

    max_message_rate: int | None = None
    messages: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    last_message: float | None = None
    saturated_seconds: int = 0
    lifecycle_at_qos_0: int = 0
    _second: int = -1
    _in_second: int = 0

    def count(self, messages: Sequence[Message]) -> None:
        """Count messages, at least one, in the order of their arrival.

        The message that reaches the rate limit makes its second a saturated one.
        """
        by_qos = Counter(map(_qos_of, messages))
        for qos, number in by_qos.items():
            self.messages[qos] = self.messages.get(qos, 0) + number
        if 0 in by_qos and any(m.qos == 0 and m.topic.startswith(_LIFECYCLE) for m in messages):
            self.lifecycle_at_qos_0 += 1
        last = messages[-1]
        self.last_message = last.received
        if int(messages[0].moment) == int(last.moment):
            self._count_in(int(last.moment), len(messages))
        else:
            for message in messages:
                self._count_in(int(message.moment), 1)

    def is_saturated(self, now: float) -> bool:
        """Return whether this second or the one before has reached the limit."""
        limit = self.max_message_rate
        return limit is not None and self._in_second >= limit and now - self._second < 2

    def _count_in(self, second: int, number: int) -> None:
        if second != self._second:
            self._second, self._in_second = second, 0
        before, limit = self._in_second, self.max_message_rate
        self._in_second += number
        if limit is not None and before < limit <= self._in_second:
            self.saturated_seconds += 1
