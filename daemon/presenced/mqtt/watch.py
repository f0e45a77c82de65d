"""The status of a connection that can be waited for."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from presenced.mqtt.faults import Fault, FaultReason
from presenced.mqtt.source import SourceOptions
from presenced.mqtt.status import ConnectionStatus

__all__ = ["Watch"]


class Watch(ConnectionStatus):
    """Keeps what a transport reports, and wakes the one who waits for it.

    `ended` is why the connection failed or was lost, `answers` what the broker said to each topic
    filter: the QoS that it granted, or a fault.
    """

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options.client_id, options.filters, endpoint=options.endpoint)
        self.accepted = False
        self.ended: Fault | None = None
        self.answers: dict[str, int | Fault] = {}
        self._news = asyncio.Event()

    async def until(self, told: Callable[[], object], limit: float) -> None:
        """Wait until `told` is true, the connection has ended, or `limit` seconds are over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not told() and self.ended is None:
                    self._news.clear()
                    await self._news.wait()

    def wake(self) -> None:
        """Have the one who waits look again."""
        self._news.set()

    def up(self, *, resumed: bool) -> None:
        """The broker accepted our CONNECT."""
        super().up(resumed=resumed)
        self.accepted = True
        self.wake()

    def failed(self, fault: Fault) -> None:
        """An attempt to connect failed."""
        super().failed(fault)
        self.ended = fault
        self.wake()

    def lost(self, fault: Fault, now: float) -> None:
        """The accepted connection ended against our will."""
        super().lost(fault, now)
        self.ended = fault
        self.wake()

    def filter_granted(self, topic_filter: str, qos: int) -> None:
        """The SUBACK granted a filter."""
        super().filter_granted(topic_filter, qos)
        self.answers[topic_filter] = qos
        self.wake()

    def filter_refused(self, topic_filter: str, detail: str) -> None:
        """The SUBACK refused a filter."""
        super().filter_refused(topic_filter, detail)
        self.answers[topic_filter] = self._refusals[topic_filter]
        self.wake()

    def subscription_unanswered(self, filters: Sequence[str], detail: str) -> None:
        """A SUBSCRIBE got no SUBACK."""
        super().subscription_unanswered(filters, detail)
        for topic_filter in filters:
            self.answers[topic_filter] = Fault(
                FaultReason.OTHER, f"the subscription to {topic_filter} got no answer ({detail})"
            )
        self.wake()
