"""A source with its inbox, as the service has them, for tests of the transports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from presenced.events.message import Message
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.connections import build_source
from presenced.sources.mqtt.status import ConnectionStatus

# Transport and MQTT version.
KINDS = [("awscrt", "5"), ("aiomqtt", "5"), ("aiomqtt", "3.1.1")]
FILTER = "$aws/events/#"


class KeptSession:
    """A listener that knows of a session with filters that are not wanted any more."""

    def __init__(self, *held: str) -> None:
        self.held = list(held)

    def up(self, client_id: str, *, resumed: bool) -> None: ...

    def down(self, client_id: str) -> None: ...

    def granted(self, client_id: str, topic_filter: str, qos: int) -> None: ...

    def unwanted(self, client_id: str) -> list[str]:
        return self.held

    def unsubscribed(self, client_id: str, topic_filter: str) -> None:
        self.held = [each for each in self.held if each != topic_filter]


class SourceHarness:
    """A source and what it has delivered; `holding` keeps the acknowledgements back."""

    def __init__(
        self,
        kind: tuple[str, str],
        port: int,
        *,
        capacity: int = 100_000,
        session: KeptSession | None = None,
        inbox: Inbox | None = None,
        **options: Any,
    ) -> None:
        transport, protocol = kind
        settings = {
            "endpoint": "localhost",
            "client_id": "presenced",
            "filters": [FILTER],
            "tls": None,
            "reconnect_min": 0.05,
            "reconnect_max": 0.3,
            **options,
        }
        self.options = ConnectionOptions(port=port, protocol=protocol, **settings)
        self.received: list[Message] = []
        self.holding = False
        self.on_batch: Callable[[list[Message]], None] = lambda batch: None
        self.inbox = inbox or Inbox(asyncio.get_running_loop(), self._deliver, capacity=capacity)
        self.status = ConnectionStatus(
            self.options.client_id,
            self.options.filters,
            endpoint=self.options.endpoint,
            listener=session,
        )
        self.source = build_source(transport, self.options, self.inbox, self.status)

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.received]

    @property
    def ready(self) -> bool:
        return self.status.problem is None

    def failures(self) -> dict[str, int]:
        return {str(reason): count for reason, count in self.status.failures.items() if count}

    def acknowledge_all(self) -> None:
        """Let go of what was held, and hold nothing from now on."""
        self.holding = False
        for message in self.received:
            if message.acknowledge is not None:
                message.acknowledge()

    def _deliver(self, batch: list[Message]) -> None:
        self.on_batch(batch)
        self.received.extend(batch)
        for message in batch:
            if message.acknowledge is not None and not self.holding:
                message.acknowledge()


@contextlib.asynccontextmanager
async def running(kind: tuple[str, str], port: int, **options: Any) -> AsyncIterator[SourceHarness]:
    """A source harness that is started and, however the test ends, stopped."""
    harness = SourceHarness(kind, port, **options)
    await harness.source.start()
    try:
        yield harness
    finally:
        await harness.source.stop()
