"""How AWS delivers event messages: some late, some twice. And a publisher that does the same.

Messages can be lost as well: a share of all, or those beyond a connection's limit.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from presenced_emulator.events import EventMessage
from presenced_emulator.lifecycle import DisconnectReason

# A subscriber has this long to act on a message before the message counts as processed.
_PROCESSING_TIME = 0.5


@dataclass(frozen=True, slots=True)
class DeliveryModel:
    """The shares of messages that are late, that come twice and that are lost; delays in seconds.

    The disconnect of a connection that was taken over has a rate of its own: mostly it comes after
    the connect that took over, because AWS drops the old connection later.
    """

    late_rate: float = 0.05
    taken_over_late_rate: float = 0.75
    duplicate_rate: float = 0.05
    loss_rate: float = 0.0
    shortest_delay: float = 0.2
    longest_delay: float = 1.5

    def delays(self, message: EventMessage, rng: random.Random) -> tuple[float, ...]:
        """Return the delay of each copy of a message; none if it is lost.

        The first is the original's.
        """
        if self.loss_rate and rng.random() < self.loss_rate:
            return ()
        taken_over = message.fields.get("disconnectReason") == DisconnectReason.DUPLICATE_CLIENTID
        late_rate = self.taken_over_late_rate if taken_over else self.late_rate
        first = self._delay(rng) if rng.random() < late_rate else 0.0
        return (first, self._delay(rng)) if rng.random() < self.duplicate_rate else (first,)

    def _delay(self, rng: random.Random) -> float:
        return rng.uniform(self.shortest_delay, self.longest_delay)


class EventPublisher:
    """Publishes messages with the delays and duplicates of a `DeliveryModel`.

    A message is in flight until its original has been delivered and processed. Second copies do not
    count: they must not change what a subscriber knows. A lost message is as long in flight as one
    that is delivered at once.
    """

    def __init__(
        self,
        rng: random.Random,
        publish: Callable[[str, bytes], Awaitable[None]],
        delivery: DeliveryModel,
    ) -> None:
        self.delivery = delivery
        self.in_flight: set[EventMessage] = set()
        self.lost = 0
        """How many messages have been lost."""
        self._rng = rng
        self._publish = publish
        self._due: asyncio.Queue[EventMessage] = asyncio.Queue()

    def send(self, message: EventMessage) -> None:
        """Schedule the copies of a message."""
        loop = asyncio.get_running_loop()
        delays = self.delivery.delays(message, self._rng)
        self.lost += not delays
        for delay in delays:
            loop.call_later(delay, self._due.put_nowait, message)
        self.in_flight.add(message)
        first = delays[0] if delays else 0.0
        loop.call_later(first + _PROCESSING_TIME, self.in_flight.discard, message)

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            message = await self._due.get()
            await self._publish(message.topic, message.payload)
