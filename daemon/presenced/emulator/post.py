"""Publishes event messages with AWS's manners and knows which are still under way."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from presenced.emulator.delivery import delays
from presenced.emulator.lifecycle import Event, has_lifecycle_events

__all__ = ["Post"]

# A subscriber is given this long to act on a message before it counts as arrived.
GRACE = 0.5


class Post:
    """Takes events and publishes each once or twice, some of them late."""

    def __init__(
        self, rng: random.Random, publish: Callable[[str, bytes], Awaitable[None]]
    ) -> None:
        self._rng = rng
        self._publish = publish
        self._due: asyncio.Queue[Event] = asyncio.Queue()
        self._under_way: Counter[str] = Counter()

    @property
    def in_flight(self) -> frozenset[str]:
        """The clients of which a connect or disconnect is not, or only just, delivered.

        Second copies do not count: they must not change what anyone knows.
        """
        return frozenset(self._under_way)

    def send(self, event: Event) -> None:
        """Publish an event, as soon as it is its turn."""
        if not has_lifecycle_events(event.client_id):
            return
        loop = asyncio.get_running_loop()
        first, *copies = delays(event, self._rng)
        for delay in copies:
            loop.call_later(delay, self._due.put_nowait, event)
        loop.call_later(first, self._due.put_nowait, event)
        if event.is_presence:
            self._under_way[event.client_id] += 1
            loop.call_later(first + GRACE, self._arrived, event.client_id)

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            event = await self._due.get()
            await self._publish(event.topic, event.payload)

    def _arrived(self, client_id: str) -> None:
        self._under_way[client_id] -= 1
        if not self._under_way[client_id]:
            del self._under_way[client_id]
