"""Publishes event messages with AWS's manners and knows which are still under way."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from presenced.emulator.delivery import delays
from presenced.emulator.event import Event

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
        self._clients: Counter[str] = Counter()
        self._things: Counter[str] = Counter()

    @property
    def clients_in_flight(self) -> frozenset[str]:
        """The clients of which a connect or disconnect is not, or only just, delivered.

        Second copies do not count: they must not change what anyone knows.
        """
        return frozenset(self._clients)

    @property
    def things_in_flight(self) -> frozenset[str]:
        """The things of which a change is not, or only just, delivered."""
        return frozenset(self._things)

    def send(self, event: Event) -> None:
        """Publish an event, as soon as it is its turn."""
        loop = asyncio.get_running_loop()
        first, *copies = delays(event, self._rng)
        for delay in copies:
            loop.call_later(delay, self._due.put_nowait, event)
        loop.call_later(first, self._due.put_nowait, event)
        self._clients.update(event.clients)
        self._things.update(event.things)
        loop.call_later(first + GRACE, self._arrived, event)

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            event = await self._due.get()
            await self._publish(event.topic, event.payload)

    def _arrived(self, event: Event) -> None:
        for names, under_way in ((event.clients, self._clients), (event.things, self._things)):
            for name in names:
                under_way[name] -= 1
                if not under_way[name]:
                    del under_way[name]
